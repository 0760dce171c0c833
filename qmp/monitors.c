/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists of servers and clients, and events to all of them. */
#include "qmp/monitors.h"

#include <gio/gio.h>
#include <unistd.h>

#include "qmp/hmp-terminal.h"
#include "qmp/hmp-waiter.h"
#include "qmp/monitor-client.h"
#include "qmp/monitor-server.h"
#include "qmp/qmp-error.h"
#include "qmp/qmp-info.h"
#include "qmp/qmp-session.h"

struct Monitors {
    QmpContext *context;
    GPtrArray *listeners; /* Listener */
    GPtrArray *clients;   /* QmpClient */
    HmpTerminal *terminal;
    gboolean stdio_used;
    gboolean insecure;
};

/* A server and what its clients speak. */
typedef struct Listener {
    Monitors *monitors;
    QmpMonitorKind kind;
    char *name;
    QmpServer *server;
} Listener;

static void free_listener(gpointer data)
{
    Listener *listener = data;

    g_clear_pointer(&listener->server, qmp_server_free);
    g_free(listener->name);
    g_free(listener);
}

static void free_client(gpointer data)
{
    qmp_client_free(data);
}

Monitors *qmp_monitors_new(SnprelayRelay *relay, const QmpHooks *hooks)
{
    Monitors *monitors = g_new0(Monitors, 1);

    monitors->context = qmp_context_new(relay, hooks);
    monitors->listeners = g_ptr_array_new_with_free_func(free_listener);
    monitors->clients = g_ptr_array_new_with_free_func(free_client);
    return monitors;
}

void qmp_monitors_set_insecure(Monitors *monitors, gboolean insecure)
{
    monitors->insecure = insecure;
}

static void on_closed(QmpClient *client, gpointer opaque)
{
    Monitors *monitors = opaque;

    g_ptr_array_remove(monitors->clients, client);
}

static void on_accepted(GSocketConnection *connection, gpointer opaque)
{
    Listener *listener = opaque;
    Monitors *monitors = listener->monitors;
    int fd = g_socket_get_fd(g_socket_connection_get_socket(connection));

    g_ptr_array_add(monitors->clients,
                    qmp_client_new(monitors->context, listener->kind, listener->name, fd, fd,
                                   G_OBJECT(g_object_ref(connection)), on_closed, monitors));
}

static gboolean add_stdio(Monitors *monitors, QmpMonitorKind kind, GError **error)
{
    if (monitors->stdio_used) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "only one monitor can be on stdio: give the others a unix:PATH");
        return FALSE;
    }
    monitors->stdio_used = TRUE;
    if (kind == QMP_MONITOR_HMP) {
        monitors->terminal = hmp_terminal_new(monitors->context);
    }
    if (!monitors->terminal) {
        g_ptr_array_add(monitors->clients,
                        qmp_client_new(monitors->context, kind, "stdio", STDIN_FILENO,
                                       STDOUT_FILENO, NULL, on_closed, monitors));
    }
    return TRUE;
}

static gboolean add_server(Monitors *monitors, QmpMonitorKind kind, const QmpAddress *address,
                           char **listening, GError **error)
{
    Listener *listener = g_new0(Listener, 1);

    listener->monitors = monitors;
    listener->kind = kind;
    listener->name = g_strdup(address->text);
    listener->server =
        qmp_server_new(address, monitors->insecure, on_accepted, listener, listening, error);
    if (!listener->server) {
        free_listener(listener);
        return FALSE;
    }
    g_ptr_array_add(monitors->listeners, listener);
    return TRUE;
}

gboolean qmp_monitors_add(Monitors *monitors, QmpMonitorKind kind, const char *address,
                          char **listening, GError **error)
{
    g_autoptr(QmpAddress) parsed = qmp_address_parse(address, error);
    g_autofree char *where = NULL;

    if (!parsed) {
        return FALSE;
    }
    if (parsed->kind == QMP_ADDRESS_STDIO) {
        where = g_strdup("stdio");
        if (!add_stdio(monitors, kind, error)) {
            return FALSE;
        }
    } else if (!add_server(monitors, kind, parsed, &where, error)) {
        return FALSE;
    }
    if (listening) {
        *listening = g_steal_pointer(&where);
    }
    return TRUE;
}

void qmp_monitors_forward_event(Monitors *monitors, JsonNode *event)
{
    for (guint i = 0; i < monitors->clients->len; i++) {
        qmp_client_send_event(monitors->clients->pdata[i], event);
    }
}

void qmp_monitors_send_event(Monitors *monitors, const char *name, JsonObject *data)
{
    g_autoptr(JsonNode) event = qmp_event_new(name, data);

    qmp_monitors_forward_event(monitors, event);
}

void qmp_monitors_status_changed(Monitors *monitors, const SnprelayInfo *info)
{
    qmp_monitors_send_event(monitors, "SNP_MIGRATION", qmp_info_to_event(info));
    hmp_waiters_tell(monitors->context, info);
}

void qmp_monitors_stalled(Monitors *monitors, guint64 idle_ms)
{
    JsonObject *data = json_object_new();

    json_object_set_int_member(data, "idle-time", idle_ms);
    qmp_monitors_send_event(monitors, "SNP_MIGRATION_STALLED", data);
}

gboolean qmp_monitors_interrupt(Monitors *monitors)
{
    return monitors->terminal && hmp_terminal_interrupt(monitors->terminal);
}

QmpContext *qmp_monitors_get_context(Monitors *monitors)
{
    return monitors->context;
}

void qmp_monitors_free(Monitors *monitors)
{
    g_ptr_array_unref(monitors->listeners);
    g_ptr_array_unref(monitors->clients);
    g_clear_pointer(&monitors->terminal, hmp_terminal_free);
    hmp_waiters_clear(monitors->context);
    qmp_context_unref(monitors->context);
    g_free(monitors);
}
