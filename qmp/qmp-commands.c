/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Our own commands on the relay's public interface; their arguments were checked against the
 * schema.
 */
#include "qmp/hmp.h"
#include "qmp/qmp-context.h"
#include "qmp/qmp-info.h"
#include "qmp/qmp-resume.h"

/* Answers a command that took hold (ERROR NULL) or was refused. */
static void answer(QmpRequest *request, const GError *error)
{
    if (error) {
        qmp_request_fail(request, g_error_copy(error));
    } else {
        qmp_request_return(request, NULL);
    }
}

static void on_ready(SnprelayRelay *relay, const GError *error, gpointer opaque)
{
    (void)relay;
    answer(opaque, error);
}

static gboolean is_set(JsonObject *arguments, const char *name)
{
    return json_object_get_boolean_member_with_default(arguments, name, FALSE);
}

static SnprelayFlags flags_of(JsonObject *arguments)
{
    return is_set(arguments, "force") ? SNPRELAY_FLAG_FORCE : SNPRELAY_FLAG_NONE;
}

static void run_migrate(QmpContext *context, QmpRequest *request)
{
    JsonObject *arguments = qmp_request_arguments(request);
    const char *uri = json_object_get_string_member(arguments, "uri");
    guint64 address = json_object_get_int_member(arguments, "address");

    if (is_set(arguments, "resume")) {
        g_autoptr(GError) error = NULL;

        qmp_resume(context->relay, uri, &address, &error);
        answer(request, error);
    } else {
        snprelay_migrate(context->relay, uri, address, flags_of(arguments), on_ready, request);
    }
}

static void run_incoming(QmpContext *context, QmpRequest *request)
{
    JsonObject *arguments = qmp_request_arguments(request);

    snprelay_migrate_incoming(context->relay, json_object_get_string_member(arguments, "uri"),
                              json_object_get_int_member(arguments, "address"), flags_of(arguments),
                              on_ready, request);
}

static void run_cancel(QmpContext *context, QmpRequest *request)
{
    snprelay_cancel(context->relay);
    answer(request, NULL);
}

static void run_pause(QmpContext *context, QmpRequest *request)
{
    g_autoptr(GError) error = NULL;

    snprelay_pause(context->relay, &error);
    answer(request, error);
}

static void run_recover(QmpContext *context, QmpRequest *request)
{
    const char *uri = json_object_get_string_member(qmp_request_arguments(request), "uri");

    snprelay_recover(context->relay, uri, on_ready, request);
}

static void run_set_parameters(QmpContext *context, QmpRequest *request)
{
    g_autoptr(GError) error = NULL;

    qmp_parameters_from_json(context->relay, qmp_request_arguments(request), &error);
    answer(request, error);
}

static void run_query_parameters(QmpContext *context, QmpRequest *request)
{
    qmp_request_return(request, qmp_parameters_to_json(context->relay));
}

static void run_query(QmpContext *context, QmpRequest *request)
{
    g_autoptr(SnprelayInfo) info = snprelay_query(context->relay);

    qmp_request_return(request, qmp_info_to_json(info));
}

/* The human monitor's text, with the line ends that QEMU gives. */
static void on_human_done(const char *text, gpointer opaque)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    g_auto(GStrv) lines = g_strsplit(valid, "\n", -1);
    g_autofree char *result = g_strjoinv("\r\n", lines);

    qmp_request_return(opaque, json_node_init_string(json_node_alloc(), result));
}

void qmp_run_human(QmpContext *context, QmpRequest *request)
{
    JsonObject *arguments = qmp_request_arguments(request);
    g_autofree char *line = g_strdup(json_object_get_string_member(arguments, "command-line"));

    hmp_execute(context, line, hmp_request_new(on_human_done, request));
}

const QmpCommand qmp_own_commands[] = {
    {"snp-migrate", run_migrate},
    {"snp-migrate-incoming", run_incoming},
    {"snp-migrate-cancel", run_cancel},
    {"snp-migrate-pause", run_pause},
    {"snp-migrate-recover", run_recover},
    {"snp-migrate-set-parameters", run_set_parameters},
    {"query-snp-migrate-parameters", run_query_parameters},
    {"query-snp-migrate", run_query},
    {NULL, NULL},
};
