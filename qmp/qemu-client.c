/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connects to QEMU, negotiates, and matches answers with commands. */
#include "qmp/qemu-client.h"

#include <gio/gunixsocketaddress.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "qmp/json-string.h"
#include "qmp/qemu-output.h"
#include "qmp/qemu-reader.h"
#include "qmp/qmp-error.h"
#include "snprelay/snprelay.h"

#define DEADLINE_MS 10000 /* until QEMU takes commands */
#define RETRY_MS 50       /* connecting again while the socket's queue is full */
#define READ_SIZE 65536
#define MAX_WAITING (64 * 1024 * 1024) /* bytes that QEMU does not read */
#define CAPABILITIES_ID 0              /* commands have higher ones */

typedef enum State {
    CONNECTING,
    GREETING,    /* connected, nothing was heard yet */
    NEGOTIATING, /* greeted, the capabilities are under way */
    READY,
    CLOSED,
} State;

struct QmpQemu {
    grefcount references;
    State state;
    char *path;
    GSocket *socket;
    GSource *input;
    guint deadline, retry, late; /* timers */
    struct ucred peer;
    QmpQemuReader *reader;
    QmpQemuOutput *output;
    GQueue pending; /* of Pending: not yet answered, in order */
    gint64 last_id;
    JsonObject *greeting;
    gboolean oob;
    GHookList watchers; /* data: Watch */
    GError *error;      /* when CLOSED */
};

typedef struct Pending {
    gint64 id;
    QmpQemuFunc done;
    gpointer opaque;
    gboolean has_fd;
} Pending;

typedef struct Watch {
    const QmpQemuWatcher *watcher;
    gpointer opaque;
} Watch;

/* ---- Watchers
 * -------------------------------------------------------------------------------------- */

typedef struct News {
    QmpQemu *qemu;
    JsonObject *event; /* NULL: the state is READY or CLOSED now */
} News;

static void tell_watcher(GHook *hook, gpointer data)
{
    const News *news = data;
    const Watch *watch = hook->data;
    const QmpQemuWatcher *watcher = watch->watcher;

    if (news->event) {
        if (watcher->event) {
            watcher->event(news->qemu, news->event, watch->opaque);
        }
    } else if (news->qemu->state == CLOSED) {
        if (watcher->closed) {
            watcher->closed(news->qemu, news->qemu->error, watch->opaque);
        }
    } else if (watcher->ready) {
        watcher->ready(news->qemu, watch->opaque);
    }
}

static void tell_watchers(QmpQemu *qemu, JsonObject *event)
{
    News news = {qemu, event};

    g_hook_list_marshal(&qemu->watchers, TRUE, tell_watcher, &news);
}

gulong qmp_qemu_watch(QmpQemu *qemu, const QmpQemuWatcher *watcher, gpointer opaque)
{
    GHook *hook = g_hook_alloc(&qemu->watchers);
    Watch *watch = g_new0(Watch, 1);

    watch->watcher = watcher;
    watch->opaque = opaque;
    hook->data = watch;
    hook->destroy = g_free;
    hook->func = (gpointer)tell_watcher; /* a hook without one would be skipped */
    g_hook_append(&qemu->watchers, hook);
    return hook->hook_id;
}

void qmp_qemu_unwatch(QmpQemu *qemu, gulong number)
{
    g_hook_destroy(&qemu->watchers, number);
}

/* ---- The end
 * --------------------------------------------------------------------------------------- */

static void clear_timer(guint *timer)
{
    if (*timer) {
        g_source_remove(*timer);
        *timer = 0;
    }
}

static void shut(QmpQemu *qemu)
{
    qemu->state = CLOSED;
    clear_timer(&qemu->deadline);
    clear_timer(&qemu->retry);
    clear_timer(&qemu->late);
    if (qemu->input) {
        g_source_destroy(qemu->input);
        g_clear_pointer(&qemu->input, g_source_unref);
    }
    g_clear_pointer(&qemu->output, qmp_qemu_output_free);
    g_clear_object(&qemu->socket);
}

/* Answers all commands with the reason of the end. */
static void fail_pending(QmpQemu *qemu)
{
    Pending *one;

    while ((one = g_queue_pop_head(&qemu->pending))) {
        if (one->done) {
            one->done(NULL, qemu->error, one->opaque);
        }
        g_free(one);
    }
}

/* Takes ERROR over. The first reason stays. */
static void fail(QmpQemu *qemu, GError *error)
{
    if (qemu->state == CLOSED) {
        g_error_free(error);
        return;
    }
    qmp_qemu_ref(qemu);
    shut(qemu);
    qemu->error = error;
    fail_pending(qemu);
    tell_watchers(qemu, NULL);
    qmp_qemu_unref(qemu);
}

static void fail_with(QmpQemu *qemu, SnprelayErrorCode code, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static void fail_with(QmpQemu *qemu, SnprelayErrorCode code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fail(qemu, g_error_new_valist(SNPRELAY_ERROR, code, format, arguments));
    va_end(arguments);
}

static gboolean on_deadline(gpointer data)
{
    QmpQemu *qemu = data;

    qemu->deadline = 0;
    if (qemu->state == NEGOTIATING) {
        fail_with(
            qemu, SNPRELAY_ERROR_TIMEOUT,
            "QEMU's monitor socket '%s' greeted, and then did not answer for %d s: QEMU hangs",
            qemu->path, DEADLINE_MS / 1000);
    } else {
        fail_with(qemu, SNPRELAY_ERROR_TIMEOUT,
                  "QEMU's monitor socket '%s' is busy: it serves one client at a time, and did not "
                  "greet within %d s. End its other client (libvirt, qmp-shell), or give QEMU a "
                  "monitor for the relay alone: -qmp unix:PATH,server=on,wait=off",
                  qemu->path, DEADLINE_MS / 1000);
    }
    return G_SOURCE_REMOVE;
}

/* ---- What QEMU sends
 * ------------------------------------------------------------------------------- */

static void negotiate(QmpQemu *qemu, JsonObject *qmp)
{
    JsonArray *offered = NULL;

    if (JSON_NODE_HOLDS_ARRAY(json_object_get_member(qmp, "capabilities"))) {
        offered = json_object_get_array_member(qmp, "capabilities");
    }
    for (guint i = 0; offered && i < json_array_get_length(offered); i++) {
        const char *name = json_node_get_string(json_array_get_element(offered, i));

        qemu->oob |= g_strcmp0(name, "oob") == 0;
    }
    qemu->state = NEGOTIATING;
    qmp_qemu_output_start(
        qemu->output, qemu->socket,
        g_strdup_printf("{\"execute\": \"qmp_capabilities\", \"id\": %d%s}\n", CAPABILITIES_ID,
                        qemu->oob ? ", \"arguments\": {\"enable\": [\"oob\"]}" : ""));
}

static void take_greeting(QmpQemu *qemu, JsonObject *message)
{
    JsonNode *qmp = json_object_get_member(message, "QMP");

    if (!qmp || !JSON_NODE_HOLDS_OBJECT(qmp)) {
        fail_with(qemu, SNPRELAY_ERROR_GUEST,
                  "'%s' is no QMP socket: it sent JSON that is no greeting", qemu->path);
        return;
    }
    qemu->greeting = json_object_ref(message);
    negotiate(qemu, json_node_get_object(qmp));
}

static void take_capabilities(QmpQemu *qemu, JsonObject *reply)
{
    g_autoptr(GError) error = NULL;

    if (!qmp_qemu_result(reply, NULL, &error)) {
        fail_with(qemu, SNPRELAY_ERROR_GUEST, "QEMU at '%s' refused qmp_capabilities: %s",
                  qemu->path, error->message);
        return;
    }
    clear_timer(&qemu->deadline);
    qemu->state = READY;
    tell_watchers(qemu, NULL);
}

static gint compare_id(gconstpointer pending, gconstpointer id)
{
    return ((const Pending *)pending)->id == *(const gint64 *)id ? 0 : 1;
}

static void take_reply(QmpQemu *qemu, JsonObject *reply)
{
    JsonNode *node = json_object_get_member(reply, "id");
    gint64 id =
        node && json_node_get_value_type(node) == G_TYPE_INT64 ? json_node_get_int(node) : -1;
    GList *found = g_queue_find_custom(&qemu->pending, &id, compare_id);
    g_autofree Pending *one = NULL;

    if (id == CAPABILITIES_ID && qemu->state == NEGOTIATING) {
        take_capabilities(qemu, reply);
        return;
    }
    if (!found) {
        g_warning("QEMU at '%s' answered a command that was not given", qemu->path);
        return;
    }
    one = found->data;
    g_queue_delete_link(&qemu->pending, found);
    if (one->has_fd) {
        qmp_qemu_output_answered(qemu->output);
    }
    json_object_remove_member(reply, "id");
    if (one->done) {
        one->done(reply, NULL, one->opaque);
    }
}

/* For the reader. */
static gboolean on_message(JsonObject *message, gpointer opaque)
{
    QmpQemu *qemu = opaque;

    if (qemu->state == GREETING) {
        take_greeting(qemu, message);
    } else if (json_object_has_member(message, "event")) {
        tell_watchers(qemu, message);
    } else {
        take_reply(qemu, message);
    }
    return qemu->state != CLOSED;
}

static void lost(QmpQemu *qemu, const char *why)
{
    if (qemu->state == GREETING) {
        fail_with(qemu, SNPRELAY_ERROR_GUEST,
                  "'%s' is no QMP socket, or QEMU is just ending: %s before a greeting", qemu->path,
                  why);
    } else {
        fail_with(qemu, SNPRELAY_ERROR_GUEST, "QEMU's monitor connection '%s' was lost: %s",
                  qemu->path, why);
    }
}

static void take_input(QmpQemu *qemu, const char *bytes, size_t length)
{
    g_autoptr(GError) error = NULL;

    if (!qmp_qemu_reader_feed(qemu->reader, bytes, length, &error)) {
        fail_with(qemu, SNPRELAY_ERROR_GUEST,
                  "'%s' is no QMP socket: %s. The socket must be one of QEMU's -qmp, not of its "
                  "human monitor, a serial port or a guest agent",
                  qemu->path, error->message);
    }
}

static gboolean on_input(GSocket *socket, GIOCondition condition G_GNUC_UNUSED, gpointer data)
{
    QmpQemu *qemu = qmp_qemu_ref(data);
    g_autoptr(GError) error = NULL;
    char bytes[READ_SIZE];
    gssize got = g_socket_receive(socket, bytes, sizeof(bytes), NULL, &error);
    gboolean stays;

    if (got > 0) {
        take_input(qemu, bytes, (size_t)got);
    } else if (got == 0) {
        lost(qemu, "QEMU closed it");
    } else if (!g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        lost(qemu, error->message);
    }
    stays = qemu->state != CLOSED;
    qmp_qemu_unref(qemu);
    return stays ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static void on_output_failed(GError *error, gpointer opaque)
{
    lost(opaque, error->message);
    g_error_free(error);
}

/* ---- Connecting
 * ------------------------------------------------------------------------------------ */

static void connected(QmpQemu *qemu)
{
    socklen_t length = sizeof(qemu->peer);

    if (getsockopt(g_socket_get_fd(qemu->socket), SOL_SOCKET, SO_PEERCRED, &qemu->peer, &length) <
        0) {
        memset(&qemu->peer, 0, sizeof(qemu->peer));
    }
    qemu->state = GREETING;
    qemu->input = g_socket_create_source(qemu->socket, G_IO_IN, NULL);
    g_source_set_callback(qemu->input, G_SOURCE_FUNC(on_input), qemu, NULL);
    g_source_attach(qemu->input, NULL);
}

static gboolean try_connect(gpointer data)
{
    QmpQemu *qemu = data;
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(qemu->path);
    g_autoptr(GError) error = NULL;

    qemu->retry = 0;
    if (strlen(qemu->path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
        fail_with(qemu, SNPRELAY_ERROR_INVALID,
                  "'%s' is too long for the path of a Unix socket; go to its directory and use a "
                  "relative one",
                  qemu->path);
        return G_SOURCE_REMOVE;
    }
    qemu->socket =
        g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, &error);
    if (qemu->socket) {
        g_socket_set_blocking(qemu->socket, FALSE);
        if (g_socket_connect(qemu->socket, address, NULL, &error)) {
            connected(qemu);
            return G_SOURCE_REMOVE;
        }
    }
    g_clear_object(&qemu->socket);
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK) ||
        g_error_matches(error, G_IO_ERROR, G_IO_ERROR_PENDING)) {
        qemu->retry = g_timeout_add(RETRY_MS, try_connect, qemu); /* its queue is full: busy */
    } else {
        fail_with(qemu, SNPRELAY_ERROR_GUEST,
                  "cannot connect to QEMU's monitor socket '%s': %s (QEMU makes it with -qmp "
                  "unix:PATH,server=on,wait=off)",
                  qemu->path, error->message);
    }
    return G_SOURCE_REMOVE;
}

QmpQemu *qmp_qemu_new(const char *path)
{
    QmpQemu *qemu = g_new0(QmpQemu, 1);

    g_ref_count_init(&qemu->references);
    qemu->path = g_strdup(path);
    qemu->reader = qmp_qemu_reader_new(on_message, qemu);
    qemu->output = qmp_qemu_output_new(on_output_failed, qemu);
    g_queue_init(&qemu->pending);
    g_hook_list_init(&qemu->watchers, sizeof(GHook));
    qemu->last_id = CAPABILITIES_ID;
    qemu->deadline = g_timeout_add(DEADLINE_MS, on_deadline, qemu);
    qemu->retry = g_idle_add(try_connect, qemu); /* later, so that a failure finds its watchers */
    return qemu;
}

QmpQemu *qmp_qemu_ref(QmpQemu *qemu)
{
    g_ref_count_inc(&qemu->references);
    return qemu;
}

void qmp_qemu_close(QmpQemu *qemu)
{
    fail_with(qemu, SNPRELAY_ERROR_CANCELLED, "the connection to QEMU's monitor '%s' was closed",
              qemu->path);
}

void qmp_qemu_unref(QmpQemu *qemu)
{
    if (g_ref_count_compare(&qemu->references, 1) && qemu->state != CLOSED) {
        qmp_qemu_close(qemu);
    }
    if (!g_ref_count_dec(&qemu->references)) {
        return;
    }
    clear_timer(&qemu->late);
    fail_pending(qemu);
    g_hook_list_clear(&qemu->watchers);
    qmp_qemu_reader_free(qemu->reader);
    g_clear_pointer(&qemu->greeting, json_object_unref);
    g_clear_error(&qemu->error);
    g_free(qemu->path);
    g_free(qemu);
}

/* ---- Commands
 * -------------------------------------------------------------------------------------- */

/* A command came when it could not be sent. */
static gboolean on_late(gpointer data)
{
    QmpQemu *qemu = qmp_qemu_ref(data);

    qemu->late = 0;
    if (qemu->state == CLOSED) {
        fail_pending(qemu);
    } else {
        fail_with(qemu, SNPRELAY_ERROR_TIMEOUT,
                  "QEMU at '%s' does not read its commands: more than %d MiB wait", qemu->path,
                  MAX_WAITING / (1024 * 1024));
    }
    qmp_qemu_unref(qemu);
    return G_SOURCE_REMOVE;
}

static char *command_to_line(JsonObject *command, gint64 id)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    g_autofree char *line = NULL;

    json_object_set_int_member(command, "id", id);
    json_node_set_object(node, command);
    line = qmp_json_to_line(node);
    return g_strconcat(line, "\n", NULL);
}

void qmp_qemu_execute(QmpQemu *qemu, JsonObject *command, int fd, QmpQemuFunc done, gpointer opaque)
{
    Pending *one = g_new0(Pending, 1);
    gboolean open = qemu->state != CLOSED;

    one->id = ++qemu->last_id;
    one->done = done;
    one->opaque = opaque;
    one->has_fd = fd >= 0;
    g_queue_push_tail(&qemu->pending, one);
    if (open) {
        qmp_qemu_output_push(qemu->output, command_to_line(command, one->id), fd);
    } else if (fd >= 0) {
        close(fd);
    }
    if ((!open || qmp_qemu_output_length(qemu->output) > MAX_WAITING) && !qemu->late) {
        qemu->late = g_idle_add(on_late, qemu);
    }
}

void qmp_qemu_command(QmpQemu *qemu, const char *name, JsonObject *arguments, QmpQemuFunc done,
                      gpointer opaque)
{
    g_autoptr(JsonObject) command = json_object_new();

    json_object_set_string_member(command, "execute", name);
    if (arguments) {
        json_object_set_object_member(command, "arguments", arguments);
    }
    qmp_qemu_execute(qemu, command, -1, done, opaque);
}

void qmp_qemu_human(QmpQemu *qemu, const char *line, QmpQemuFunc done, gpointer opaque)
{
    JsonObject *arguments = json_object_new();

    json_object_set_string_member(arguments, "command-line", line);
    qmp_qemu_command(qemu, "human-monitor-command", arguments, done, opaque);
}

static const char *string_member(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);

    return node ? json_node_get_string(node) : NULL;
}

JsonNode *qmp_qemu_result(JsonObject *reply, const GError *why_none, GError **error)
{
    JsonNode *node = reply ? json_object_get_member(reply, "return") : NULL;
    const char *class = NULL, *text = NULL;

    if (node) {
        return node;
    }
    if (!reply) {
        g_propagate_error(error, g_error_copy(why_none));
        return NULL;
    }
    node = json_object_get_member(reply, "error");
    if (node && JSON_NODE_HOLDS_OBJECT(node)) {
        class = string_member(json_node_get_object(node), "class");
        text = string_member(json_node_get_object(node), "desc");
    }
    g_set_error_literal(error, QMP_ERROR, qmp_error_class_from_name(class ? class : ""),
                        text ? text : "QEMU gave no reason");
    return NULL;
}

/* ---- Questions
 * ------------------------------------------------------------------------------------- */

JsonObject *qmp_qemu_get_greeting(QmpQemu *qemu)
{
    return qemu->greeting;
}

gboolean qmp_qemu_has_oob(QmpQemu *qemu)
{
    return qemu->oob;
}

gboolean qmp_qemu_is_ready(QmpQemu *qemu)
{
    return qemu->state == READY;
}

const GError *qmp_qemu_get_error(QmpQemu *qemu)
{
    return qemu->error;
}

gboolean qmp_qemu_get_peer(QmpQemu *qemu, struct ucred *peer)
{
    *peer = qemu->peer;
    return qemu->state != CONNECTING && qemu->state != CLOSED;
}

const char *qmp_qemu_get_path(QmpQemu *qemu)
{
    return qemu->path;
}
