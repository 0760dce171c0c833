/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Commands go to QEMU as they came; only what concerns both of us is looked at. */
#include "qmp/qemu-backend.h"

#include <string.h>

#include "qmp/hmp.h"
#include "qmp/qmp-error.h"
#include "qmp/qmp-schema.h"

static JsonNode *version(QmpContext *context, gpointer opaque)
{
    QmpQemuBackend *backend = opaque;
    JsonObject *greeting = qmp_qemu_get_greeting(backend->qemu);
    JsonNode *found =
        json_object_get_member(json_object_get_object_member(greeting, "QMP"), "version");

    (void)context;
    return found ? json_node_copy(found) : json_node_new(JSON_NODE_NULL);
}

/* ---- QMP ------------------------------------------------------------------------------------------- */

void qmp_qemu_answer(QmpRequest *request, JsonObject *reply, const GError *error)
{
    GError *reason = NULL;
    JsonNode *result = qmp_qemu_result(reply, error, &reason);

    if (result) {
        qmp_request_return(request, json_node_ref(result));
    } else {
        qmp_request_fail(request, reason);
    }
}

void qmp_qemu_backend_ask(QmpQemuBackend *backend, const char *name, JsonObject *arguments,
                          QmpQemuFunc done, gpointer opaque)
{
    JsonObject *command = json_object_new();

    json_object_set_string_member(command, "execute", name);
    if (arguments) {
        json_object_set_object_member(command, "arguments", arguments);
    }
    qmp_qemu_queue_push(backend->queue, command, -1, done, opaque);
}

static void on_passed(JsonObject *reply, const GError *error, gpointer opaque)
{
    qmp_qemu_answer(opaque, reply, error);
}

static void pass(QmpQemuBackend *backend, QmpRequest *request)
{
    JsonObject *command = json_object_new(), *arguments = qmp_request_arguments(request);

    json_object_set_string_member(command, qmp_request_is_oob(request) ? "exec-oob" : "execute",
                                  qmp_request_command(request));
    if (json_object_get_size(arguments) > 0) {
        json_object_set_object_member(command, "arguments", json_object_ref(arguments));
    }
    qmp_qemu_queue_push(backend->queue, command, qmp_request_take_fd(request), on_passed, request);
}

/* Ours, or a list of both; anything else, wrong arguments too, is QEMU's to answer. */
static void run_human(QmpQemuBackend *backend, QmpRequest *request)
{
    JsonObject *arguments = qmp_request_arguments(request);
    const char *line, *topic;

    if (qmp_schema_check(qmp_schema_find("human-monitor-command"), arguments, NULL)) {
        line = json_object_get_string_member(arguments, "command-line");
        if (hmp_is_own(line) || hmp_is_listing(line, &topic)) {
            qmp_run_human(backend->context, request);
            return;
        }
    }
    pass(backend, request);
}

static const struct {
    const char *name;
    void (*run)(QmpQemuBackend *backend, QmpRequest *request);
} shared[] = {
    {"human-monitor-command", run_human},
    {"query-commands", qmp_qemu_backend_run_commands},
    {"query-events", qmp_qemu_backend_run_events},
    {"query-qmp-schema", qmp_qemu_backend_run_schema},
    {"getfd", qmp_qemu_backend_run_getfd},
    {"closefd", qmp_qemu_backend_run_closefd},
};

/* QEMU keeps a descriptor that one client sent in vain, and gives it to the next that sends none. */
static gboolean lacks_fd(const QmpRequest *request)
{
    const char *command = qmp_request_command(request);

    return (strcmp(command, "getfd") == 0 || strcmp(command, "add-fd") == 0) &&
           !qmp_request_has_fd(request);
}

static void execute(QmpContext *context, QmpRequest *request, gpointer opaque)
{
    QmpQemuBackend *backend = opaque;

    (void)context;
    if (lacks_fd(request)) {
        qmp_request_fail(request, g_error_new(QMP_ERROR, QMP_ERROR_GENERIC,
                                              "No file descriptor supplied via SCM_RIGHTS"));
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(shared) && !qmp_request_is_oob(request); i++) {
        if (strcmp(shared[i].name, qmp_request_command(request)) == 0) {
            shared[i].run(backend, request);
            return;
        }
    }
    pass(backend, request);
}

/* ---- HMP ------------------------------------------------------------------------------------------- */

typedef struct Line {
    HmpRequest *request;
    gboolean listing; /* ours follows QEMU's */
    const char *topic;
} Line;

static void print_text(HmpRequest *request, const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\r\n", -1);
    g_autofree char *joined = g_strjoinv("\n", lines);

    hmp_request_printf(request, "%s", joined);
}

static void on_line_done(JsonObject *reply, const GError *error, gpointer opaque)
{
    g_autofree Line *line = opaque;
    g_autoptr(GError) reason = NULL;
    JsonNode *result = qmp_qemu_result(reply, error, &reason);

    if (!result) {
        hmp_request_fail(line->request, reason);
        return;
    }
    if (json_node_get_value_type(result) == G_TYPE_STRING) {
        print_text(line->request, json_node_get_string(result));
    }
    if (line->listing) {
        hmp_print_help(line->request, line->topic, TRUE);
    }
    hmp_request_done(line->request);
}

static void human(QmpContext *context, HmpRequest *request, const char *text, gpointer opaque)
{
    QmpQemuBackend *backend = opaque;
    JsonObject *arguments = json_object_new();
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    Line *line = g_new0(Line, 1);

    (void)context;
    line->request = request;
    line->listing = hmp_is_listing(text, &line->topic);
    json_object_set_string_member(arguments, "command-line", valid);
    qmp_qemu_backend_ask(backend, "human-monitor-command", arguments, on_line_done, line);
}

const QmpBackend qmp_qemu_backend = {
    .version = version,
    .execute = execute,
    .human = human,
};
