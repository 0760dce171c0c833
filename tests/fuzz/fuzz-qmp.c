/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A QMP client's bytes: the JSON stream, the session, the checks of arguments; commands do nothing.
 */
#include <string.h>

#include "qmp/qmp-schema.h"
#include "qmp/qmp-session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static JsonNode *version(QmpContext *context, gpointer opaque)
{
    (void)context;
    (void)opaque;
    return json_node_new(JSON_NODE_NULL);
}

static void execute(QmpContext *context, QmpRequest *request, gpointer opaque)
{
    const QmpSchemaCommand *command =
        qmp_schema_find(qmp_command_canonical(qmp_request_command(request)));
    GError *error = NULL;

    (void)context;
    (void)opaque;
    if (command && !qmp_schema_check(command, qmp_request_arguments(request), &error)) {
        qmp_request_fail(request, error);
    } else {
        qmp_request_return(
            request, json_node_init_object(json_node_alloc(), qmp_request_arguments(request)));
    }
}

static void human(QmpContext *context, HmpRequest *request, const char *line, gpointer opaque)
{
    (void)context;
    (void)line;
    (void)opaque;
    hmp_request_done(request);
}

/* What goes to a client is ASCII, without control characters but the end of the line. */
static void on_output(const char *text, size_t length, gpointer opaque)
{
    (void)opaque;
    g_assert(length >= 2 && memcmp(text + length - 2, "\r\n", 2) == 0);
    for (size_t i = 0; i < length - 2; i++) {
        g_assert(text[i] >= 0x20 && text[i] <= 0x7e);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const QmpBackend backend = {version, execute, human};
    static const QmpCommand none[] = {{NULL, NULL}};
    static const char negotiation[] = "{'execute':'qmp_capabilities'}";
    QmpContext *context = qmp_context_new(NULL, NULL);
    QmpSession *session;

    context->backend = &backend;
    context->commands = none;
    session = qmp_session_new(context, on_output, NULL);
    qmp_session_feed(session, negotiation, strlen(negotiation));
    qmp_session_feed(session, data, size / 2);
    qmp_session_feed(session, data + size / 2, size - size / 2);
    g_assert(qmp_session_is_idle(session));
    qmp_session_free(session);
    qmp_context_unref(context);
    return 0;
}
