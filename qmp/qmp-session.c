/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages are queued as they come and carried out one at a time; an answer may come while its
 * command is being started, or much later. `running` keeps the first case from recursing. Commands
 * out of band, for a client that asked for the capability, wait for nothing.
 */
#include "qmp/qmp-session.h"

#include <string.h>

#include "qmp/json-stream.h"
#include "qmp/json-string.h"
#include "qmp/qmp-error.h"
#include "qmp/qmp-schema.h"

/* As many commands as QEMU lets wait. */
#define MAX_WAITING 8

/* What a client sent: MESSAGE, or ERROR. */
typedef struct Message {
    JsonNode *message;
    GError *error;
    GArray *fds; /* NULL: none */
} Message;

/* A command that is being carried out. */
typedef struct Running {
    QmpSession *session;
    QmpRequest *request;
    JsonNode *id; /* NULL: it has none */
} Running;

struct QmpSession {
    QmpContext *context;
    QmpWriteFunc write;
    gpointer opaque;
    QmpJsonStream *stream;
    GQueue waiting;     /* Message */
    Running *in_band;   /* one at a time */
    GQueue out_of_band; /* Running */
    GArray *fds;        /* came, and no command took them yet */
    gboolean negotiated;
    gboolean oob; /* negotiated, too */
    gboolean running;
};

static const char *const takes_fds[] = {"getfd", "add-fd", NULL};

static void free_message(gpointer data)
{
    Message *message = data;

    g_clear_pointer(&message->message, json_node_unref);
    g_clear_error(&message->error);
    g_clear_pointer(&message->fds, g_array_unref);
    g_free(message);
}

static void send_node(QmpSession *session, JsonNode *node)
{
    g_autofree char *text = qmp_json_to_line(node);
    g_autofree char *line = g_strconcat(text, "\r\n", NULL);

    session->write(line, strlen(line), session->opaque);
}

static void send_object(QmpSession *session, JsonObject *object)
{
    g_autoptr(JsonNode) node = json_node_alloc();

    json_node_init_object(node, object);
    send_node(session, node);
}

static void add_id(JsonObject *answer, JsonNode *id)
{
    if (id) {
        json_object_set_member(answer, "id", json_node_copy(id));
    }
}

static void send_error(QmpSession *session, JsonNode *id, const GError *error)
{
    g_autoptr(JsonObject) answer = json_object_new();
    JsonObject *description = json_object_new();

    json_object_set_string_member(description, "class", qmp_error_class_name(error));
    json_object_set_string_member(description, "desc", error->message);
    add_id(answer, id);
    json_object_set_object_member(answer, "error", description);
    send_object(session, answer);
}

static void send_result(QmpSession *session, JsonNode *id, JsonNode *result)
{
    g_autoptr(JsonObject) answer = json_object_new();

    json_object_set_member(answer, "return", json_node_copy(result));
    add_id(answer, id);
    send_object(session, answer);
}

static void send_greeting(QmpSession *session)
{
    g_autoptr(JsonObject) greeting = json_object_new();
    JsonObject *qmp = json_object_new();
    JsonArray *capabilities = json_array_new();
    const QmpBackend *backend = session->context->backend;

    json_object_set_member(qmp, "version",
                           backend->version(session->context, session->context->backend_opaque));
    if (session->context->oob) {
        json_array_add_string_element(capabilities, "oob");
    }
    json_object_set_array_member(qmp, "capabilities", capabilities);
    json_object_set_object_member(greeting, "QMP", qmp);
    send_object(session, greeting);
}

/*
 * The name of the command that OBJECT wants, or NULL with ERROR set when it is no proper request.
 * OOB: it may be "exec-oob".
 */
static const char *check_request(JsonObject *object, gboolean oob, GError **error)
{
    g_autoptr(GList) names = json_object_get_members(object);
    const char *command = NULL, *before = NULL; /* the member that named it */

    for (GList *item = names; item; item = item->next) {
        const char *name = item->data, *problem = NULL;
        JsonNode *value = json_object_get_member(object, name);

        if (strcmp(name, "execute") == 0 || (oob && strcmp(name, "exec-oob") == 0)) {
            command = qmp_json_get_string(value);
            problem = !command                         ? "must be a string"
                      : !before                        ? NULL
                      : strcmp(before, "execute") == 0 ? "clashes with 'execute'"
                                                       : "clashes with 'exec-oob'";
            before = name;
        } else if (strcmp(name, "arguments") == 0) {
            problem = JSON_NODE_HOLDS_OBJECT(value) ? NULL : "must be an object";
        } else if (strcmp(name, "id") != 0) {
            problem = "is unexpected";
        }
        if (problem) {
            g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "QMP input member '%s' %s", name,
                        problem);
            return NULL;
        }
    }
    if (!command) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "QMP input lacks member 'execute'");
    }
    return command;
}

/* The command qmp_capabilities, which is the session's own. */
static gboolean negotiate(QmpSession *session, JsonObject *arguments, GError **error)
{
    if (session->negotiated) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND,
                    "Capabilities negotiation is already complete, command ignored");
        return FALSE;
    }
    if (!qmp_schema_check(qmp_schema_find("qmp_capabilities"), arguments, error)) {
        return FALSE;
    }
    if (arguments && json_object_has_member(arguments, "enable") &&
        json_array_get_length(json_object_get_array_member(arguments, "enable")) > 0) {
        if (!session->context->oob) {
            g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "Capability oob not available");
            return FALSE;
        }
        session->oob = TRUE;
    }
    session->negotiated = TRUE;
    return TRUE;
}

static void run_waiting(QmpSession *session);

static void free_running(gpointer data)
{
    Running *running = data;

    g_clear_pointer(&running->id, json_node_unref);
    g_free(running);
}

static void on_answer(JsonNode *result, const GError *error, gpointer opaque)
{
    Running *running = opaque;
    QmpSession *session = running->session;

    if (session->in_band == running) {
        session->in_band = NULL;
    } else {
        g_queue_remove(&session->out_of_band, running);
    }
    if (error) {
        send_error(session, running->id, error);
    } else {
        send_result(session, running->id, result);
    }
    free_running(running);
    run_waiting(session);
}

static QmpRequest *start_request(QmpSession *session, const char *command, JsonObject *object,
                                 JsonObject *arguments)
{
    Running *running = g_new0(Running, 1);

    running->session = session;
    running->id = json_object_dup_member(object, "id");
    running->request = qmp_request_new(command, arguments, on_answer, running);
    if (json_object_has_member(object, "exec-oob")) {
        qmp_request_set_oob(running->request);
        g_queue_push_tail(&session->out_of_band, running);
    } else {
        session->in_band = running;
    }
    return running->request;
}

static void run_command(QmpSession *session, const char *command, JsonObject *object, GArray *fds)
{
    JsonObject *arguments = json_object_has_member(object, "arguments")
                                ? json_object_get_object_member(object, "arguments")
                                : NULL;
    QmpRequest *request = start_request(session, command, object, arguments);
    GError *error = NULL;

    if (fds) {
        qmp_request_set_fds(request, fds);
    }
    if (strcmp(command, "qmp_capabilities") == 0) {
        if (negotiate(session, arguments, &error)) {
            qmp_request_return(request, NULL);
        } else {
            qmp_request_fail(request, error);
        }
    } else if (!session->negotiated) {
        error = g_error_new(QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND,
                            "Expecting capabilities negotiation with 'qmp_capabilities'");
        qmp_request_fail(request, error);
    } else {
        qmp_context_execute(session->context, request);
    }
}

static void run_message(QmpSession *session, Message *message)
{
    g_autoptr(GError) error = NULL;
    JsonObject *object;
    const char *command;

    if (message->error) {
        send_error(session, NULL, message->error);
        return;
    }
    if (!JSON_NODE_HOLDS_OBJECT(message->message)) {
        error = g_error_new(QMP_ERROR, QMP_ERROR_GENERIC, "QMP input must be a JSON object");
        send_error(session, NULL, error);
        return;
    }
    object = json_node_get_object(message->message);
    command = check_request(object, session->oob, &error);
    if (!command) {
        send_error(session, json_object_get_member(object, "id"), error);
        return;
    }
    run_command(session, command, object, g_steal_pointer(&message->fds));
}

static void run_waiting(QmpSession *session)
{
    Message *message;

    if (session->running) {
        return;
    }
    session->running = TRUE;
    while (!session->in_band && (message = g_queue_pop_head(&session->waiting))) {
        run_message(session, message);
        free_message(message);
    }
    session->running = FALSE;
}

/* Whether NODE is to be carried out as soon as it comes. */
static gboolean is_oob(QmpSession *session, JsonNode *node)
{
    JsonObject *object = node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;

    return session->oob && object && json_object_has_member(object, "exec-oob") &&
           !json_object_has_member(object, "execute");
}

/* Whether NODE is a command that takes the descriptors which came with it or before it. */
static gboolean wants_fds(JsonNode *node)
{
    JsonNode *command = NULL;

    if (node && JSON_NODE_HOLDS_OBJECT(node)) {
        command = json_object_get_member(json_node_get_object(node), "execute");
    }
    return qmp_json_get_string(command) && g_strv_contains(takes_fds, qmp_json_get_string(command));
}

static void on_message(JsonNode *node, GError *error, gpointer opaque)
{
    QmpSession *session = opaque;
    Message *message = g_new0(Message, 1);

    message->message = node;
    message->error = error;
    if (wants_fds(node)) {
        message->fds = g_steal_pointer(&session->fds);
    }
    if (is_oob(session, node)) {
        run_message(session, message);
        free_message(message);
    } else {
        g_queue_push_tail(&session->waiting, message);
    }
}

QmpSession *qmp_session_new(QmpContext *context, QmpWriteFunc write, gpointer opaque)
{
    QmpSession *session = g_new0(QmpSession, 1);

    session->context = qmp_context_ref(context);
    session->write = write;
    session->opaque = opaque;
    session->stream = qmp_json_stream_new(on_message, session);
    g_queue_init(&session->waiting);
    g_queue_init(&session->out_of_band);
    send_greeting(session);
    return session;
}

static void abandon(gpointer data)
{
    Running *running = data;

    qmp_request_abandon(running->request);
    free_running(running);
}

void qmp_session_free(QmpSession *session)
{
    g_clear_pointer(&session->in_band, abandon);
    g_queue_clear_full(&session->out_of_band, abandon);
    qmp_json_stream_free(session->stream);
    g_queue_clear_full(&session->waiting, free_message);
    g_clear_pointer(&session->fds, g_array_unref);
    qmp_context_unref(session->context);
    g_free(session);
}

void qmp_session_feed(QmpSession *session, const void *data, size_t length)
{
    qmp_json_stream_feed(session->stream, data, length);
    run_waiting(session);
}

void qmp_session_feed_fds(QmpSession *session, GArray *fds)
{
    g_clear_pointer(&session->fds, g_array_unref);
    session->fds = fds;
}

gboolean qmp_session_is_full(const QmpSession *session)
{
    return session->waiting.length >= MAX_WAITING || session->out_of_band.length >= MAX_WAITING;
}

gboolean qmp_session_is_idle(const QmpSession *session)
{
    return !session->in_band && session->waiting.length == 0 && session->out_of_band.length == 0;
}

void qmp_session_send_event(QmpSession *session, JsonNode *event)
{
    if (session->negotiated) {
        send_node(session, event);
    }
}

JsonNode *qmp_event_new(const char *name, JsonObject *data)
{
    gint64 now = g_get_real_time();
    JsonObject *event = json_object_new(), *timestamp = json_object_new();
    JsonNode *node = json_node_alloc();

    json_object_set_int_member(timestamp, "seconds", now / G_USEC_PER_SEC);
    json_object_set_int_member(timestamp, "microseconds", now % G_USEC_PER_SEC);
    json_object_set_object_member(event, "timestamp", timestamp);
    json_object_set_string_member(event, "event", name);
    if (data) {
        json_object_set_object_member(event, "data", data);
    }
    json_node_init_object(node, event);
    json_object_unref(event);
    return node;
}
