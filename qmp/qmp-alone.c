/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The backend of a server that stands alone: the few commands of a QMP server that are not about
 * migrations.
 */
#include <stdio.h>

#include "qmp/hmp.h"
#include "qmp/qmp-context.h"
#include "qmp/qmp-error.h"
#include "qmp/qmp-list.h"

/* A node that owns OBJECT. */
static JsonNode *node_of(JsonObject *object)
{
    JsonNode *node = json_node_alloc();

    json_node_init_object(node, object);
    json_object_unref(object);
    return node;
}

static JsonNode *version(QmpContext *context, gpointer opaque)
{
    JsonObject *object = json_object_new(), *triple = json_object_new();
    g_autofree char *package = g_strdup_printf("snprelay %s", snprelay_version());
    int major = 0, minor = 0, micro = 0;

    (void)context;
    (void)opaque;
    sscanf(snprelay_version(), "%d.%d.%d", &major, &minor, &micro);
    json_object_set_int_member(triple, "micro", micro);
    json_object_set_int_member(triple, "minor", minor);
    json_object_set_int_member(triple, "major", major);
    json_object_set_object_member(object, "qemu", triple);
    json_object_set_string_member(object, "package", package);
    return node_of(object);
}

static void run_version(QmpContext *context, QmpRequest *request)
{
    qmp_request_return(request, version(context, NULL));
}

static void run_name(QmpContext *context, QmpRequest *request)
{
    (void)context;
    qmp_request_return(request, NULL); /* the guest's name is not known */
}

static void run_status(QmpContext *context, QmpRequest *request)
{
    JsonObject *object = json_object_new();

    (void)context;
    json_object_set_string_member(object, "status", "running");
    json_object_set_boolean_member(object, "singlestep", FALSE);
    json_object_set_boolean_member(object, "running", TRUE);
    qmp_request_return(request, node_of(object));
}

static void return_list(QmpRequest *request, void (*list)(JsonArray *array, gboolean own_only))
{
    g_autoptr(JsonArray) array = json_array_new();

    list(array, FALSE);
    qmp_request_return(request, json_node_init_array(json_node_alloc(), array));
}

static void run_commands(QmpContext *context, QmpRequest *request)
{
    (void)context;
    return_list(request, qmp_list_commands);
}

static void run_events(QmpContext *context, QmpRequest *request)
{
    (void)context;
    return_list(request, qmp_list_events);
}

static void run_schema(QmpContext *context, QmpRequest *request)
{
    (void)context;
    return_list(request, qmp_list_schema);
}

static void run_getfd(QmpContext *context, QmpRequest *request)
{
    const char *name = json_object_get_string_member(qmp_request_arguments(request), "fdname");
    int fd = qmp_request_take_fd(request);
    GError *error = NULL;

    if (fd < 0) {
        error =
            g_error_new(QMP_ERROR, QMP_ERROR_GENERIC, "No file descriptor supplied via SCM_RIGHTS");
    } else if (snprelay_add_fd(context->relay, name, fd, &error)) {
        qmp_request_return(request, NULL);
        return;
    }
    qmp_request_fail(request, error);
}

static void run_closefd(QmpContext *context, QmpRequest *request)
{
    const char *name = json_object_get_string_member(qmp_request_arguments(request), "fdname");
    GError *error = NULL;

    if (snprelay_remove_fd(context->relay, name, &error)) {
        qmp_request_return(request, NULL);
    } else {
        qmp_request_fail(request, error);
    }
}

static void run_quit(QmpContext *context, QmpRequest *request)
{
    qmp_request_return(request, NULL);
    if (context->hooks.quit) {
        context->hooks.quit(context->hooks.opaque);
    }
}

/* qmp_capabilities is the session's own (qmp-session.c). */
static const QmpCommand commands[] = {
    {"query-version", run_version},
    {"query-name", run_name},
    {"query-status", run_status},
    {"query-commands", run_commands},
    {"query-events", run_events},
    {"query-qmp-schema", run_schema},
    {"human-monitor-command", qmp_run_human},
    {"getfd", run_getfd},
    {"closefd", run_closefd},
    {"quit", run_quit},
    {NULL, NULL},
};

static void execute(QmpContext *context, QmpRequest *request, gpointer opaque)
{
    (void)opaque;
    if (!qmp_context_run_from(context, commands, request)) {
        qmp_request_fail(request, g_error_new(QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND,
                                              "The command %s has not been found",
                                              qmp_request_command(request)));
    }
}

static void human(QmpContext *context, HmpRequest *request, const char *line, gpointer opaque)
{
    (void)opaque;
    hmp_execute_alone(context, request, line);
}

const QmpBackend qmp_alone_backend = {
    .version = version,
    .execute = execute,
    .human = human,
};
