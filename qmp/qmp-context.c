/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Resolving commands. */
#include "qmp/qmp-context.h"

#include <string.h>

#include "qmp/hmp-waiter.h"
#include "qmp/qmp-error.h"
#include "qmp/qmp-schema.h"

const char *const qmp_command_aliases[][2] = {
    {"snp_migrate", "snp-migrate"},
    {"snp_migrate_incoming", "snp-migrate-incoming"},
    {"snp_migrate_cancel", "snp-migrate-cancel"},
    {NULL, NULL},
};

QmpContext *qmp_context_new(SnprelayRelay *relay, const QmpHooks *hooks)
{
    QmpContext *context = g_rc_box_new0(QmpContext);

    context->relay = relay;
    context->commands = qmp_own_commands;
    context->backend = &qmp_alone_backend;
    if (hooks) {
        context->hooks = *hooks;
    }
    context->waiters = g_ptr_array_new();
    return context;
}

QmpContext *qmp_context_ref(QmpContext *context)
{
    return g_rc_box_acquire(context);
}

static void clear_context(gpointer data)
{
    QmpContext *context = data;

    g_ptr_array_unref(context->waiters);
}

void qmp_context_unref(QmpContext *context)
{
    g_rc_box_release_full(context, clear_context);
}

const char *qmp_command_canonical(const char *name)
{
    for (guint i = 0; qmp_command_aliases[i][0]; i++) {
        if (strcmp(qmp_command_aliases[i][0], name) == 0) {
            return qmp_command_aliases[i][1];
        }
    }
    return name;
}

gboolean qmp_context_run_from(QmpContext *context, const QmpCommand *commands, QmpRequest *request)
{
    const char *name = qmp_command_canonical(qmp_request_command(request));

    for (; commands->name; commands++) {
        GError *error = NULL;

        if (strcmp(commands->name, name) != 0) {
            continue;
        }
        if (qmp_request_is_oob(request)) {
            qmp_request_fail(request, g_error_new(QMP_ERROR, QMP_ERROR_GENERIC,
                                                  "The command %s does not support OOB",
                                                  qmp_request_command(request)));
        } else if (qmp_schema_check(qmp_schema_find(name), qmp_request_arguments(request),
                                    &error)) {
            commands->run(context, request);
        } else {
            qmp_request_fail(request, error);
        }
        return TRUE;
    }
    return FALSE;
}

void qmp_context_execute(QmpContext *context, QmpRequest *request)
{
    if (!qmp_context_run_from(context, context->commands, request)) {
        context->backend->execute(context, request, context->backend_opaque);
    }
}
