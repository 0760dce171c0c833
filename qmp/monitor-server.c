/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listening. Only names of hosts are resolved while it waits, and that is done once, when the
 * program starts. (A GSocketService would accept again at once when there are no more descriptors.)
 */
#include "qmp/monitor-server.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gunixsocketaddress.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "qmp/qmp-error.h"

#define ACCEPT_AGAIN_MS 1000

struct QmpServer {
    GSocket *socket; /* that listens, or NULL */
    GSource *source; /* waits for clients, or until it is time to listen again */
    QmpConnectionFunc accepted;
    gpointer opaque;
    char *path; /* of our unix socket, or NULL */
    dev_t device;
    ino_t inode;
};

static void listen_now(QmpServer *server);

/* Takes SOURCE over, in place of the one before. */
static void set_source(QmpServer *server, GSource *source, GSourceFunc function)
{
    if (server->source) {
        g_source_destroy(server->source);
        g_source_unref(server->source);
    }
    server->source = source;
    if (source) {
        g_source_set_callback(source, function, server, NULL);
        g_source_attach(source, NULL);
    }
}

static gboolean on_again(gpointer opaque)
{
    listen_now(opaque);
    return G_SOURCE_REMOVE;
}

static gboolean on_client(GSocket *socket, GIOCondition condition, gpointer opaque)
{
    QmpServer *server = opaque;
    g_autoptr(GError) error = NULL;
    g_autoptr(GSocket) accepted = g_socket_accept(socket, NULL, &error);

    (void)condition;
    if (accepted) {
        g_autoptr(GSocketConnection) connection =
            g_socket_connection_factory_create_connection(accepted);

        server->accepted(connection, server->opaque);
    } else if (!g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        /* Out of descriptors, say: the client still waits, and would wake us at once again. */
        g_warning("a monitor client could not be accepted: %s", error->message);
        set_source(server, g_timeout_source_new(ACCEPT_AGAIN_MS), on_again);
    }
    return G_SOURCE_CONTINUE; /* means nothing to a destroyed one */
}

static void listen_now(QmpServer *server)
{
    set_source(server, g_socket_create_source(server->socket, G_IO_IN, NULL),
               G_SOURCE_FUNC(on_client));
}

/* Removes what is at PATH if it is a socket that nobody answers on. */
static gboolean remove_stale(const char *path, GSocketAddress *address, GError **error)
{
    g_autoptr(GSocket) probe = NULL;
    g_autoptr(GError) refused = NULL;
    struct stat status;

    if (lstat(path, &status) != 0 || !S_ISSOCK(status.st_mode)) {
        return TRUE; /* binding tells what is wrong */
    }
    probe =
        g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, error);
    if (!probe) {
        return FALSE;
    }
    g_socket_set_blocking(probe, FALSE);
    if (g_socket_connect(probe, address, NULL, &refused) ||
        !g_error_matches(refused, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED)) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "another program listens there");
        return FALSE;
    }
    if (unlink(path) != 0) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "cannot remove the old socket: %s",
                    g_strerror(errno));
        return FALSE;
    }
    return TRUE;
}

static gboolean bind_unix(QmpServer *server, GSocket *socket, GSocketAddress *address,
                          const char *path, GError **error)
{
    struct stat status;
    mode_t old;
    gboolean bound;

    if (!remove_stale(path, address, error)) {
        return FALSE;
    }
    old = umask(0177); /* 0600 from the very start; other threads do not run yet */
    bound = g_socket_bind(socket, address, FALSE, error);
    umask(old);
    if (bound && lstat(path, &status) == 0) {
        server->path = g_strdup(path);
        server->device = status.st_dev;
        server->inode = status.st_ino;
    }
    return bound;
}

static GSocket *listen_unix(QmpServer *server, const QmpAddress *address, GError **error)
{
    g_autoptr(GSocketAddress) where = NULL;
    g_autoptr(GSocket) socket = NULL;

    if (strlen(address->path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "the path is longer than %zu bytes",
                    sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
        return NULL;
    }
    where = g_unix_socket_address_new(address->path);
    socket =
        g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, error);
    if (!socket || !bind_unix(server, socket, where, address->path, error) ||
        !g_socket_listen(socket, error)) {
        return NULL;
    }
    return g_steal_pointer(&socket);
}

/* The first address of HOST. */
static GInetAddress *resolve(const char *host, GError **error)
{
    GInetAddress *found = g_inet_address_new_from_string(host);
    g_autoptr(GResolver) resolver = NULL;
    GList *all;

    if (found) {
        return found;
    }
    resolver = g_resolver_get_default();
    all = g_resolver_lookup_by_name(resolver, host, NULL, error);
    if (all) {
        found = g_object_ref(all->data);
        g_resolver_free_addresses(all);
    }
    return found;
}

static GSocket *listen_tcp(const QmpAddress *address, gboolean insecure, GError **error)
{
    g_autoptr(GInetAddress) host = resolve(address->host, error);
    g_autoptr(GSocketAddress) where = NULL;
    g_autoptr(GSocket) socket = NULL;

    if (!host) {
        return NULL;
    }
    if (!insecure && !g_inet_address_get_is_loopback(host)) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "whoever reaches it may do everything, so it must be on the loopback "
                    "(127.0.0.1 or [::1]) unless --insecure-monitor is given");
        return NULL;
    }
    where = g_inet_socket_address_new(host, address->port);
    socket = g_socket_new(g_inet_address_get_family(host), G_SOCKET_TYPE_STREAM,
                          G_SOCKET_PROTOCOL_TCP, error);
    if (!socket || !g_socket_bind(socket, where, TRUE, error) || !g_socket_listen(socket, error)) {
        return NULL;
    }
    return g_steal_pointer(&socket);
}

/* tcp:ADDRESS:PORT as SOCKET has it. */
static char *describe_tcp(GSocket *socket)
{
    g_autoptr(GSocketAddress) address = g_socket_get_local_address(socket, NULL);
    GInetSocketAddress *inet = G_INET_SOCKET_ADDRESS(address);
    g_autofree char *host = g_inet_address_to_string(g_inet_socket_address_get_address(inet));
    gboolean v6 = strchr(host, ':') != NULL;

    return g_strdup_printf("tcp:%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "",
                           g_inet_socket_address_get_port(inet));
}

static gboolean is_listening(GSocket *socket)
{
    gint listening = 0;

    return g_socket_get_option(socket, SOL_SOCKET, SO_ACCEPTCONN, &listening, NULL) && listening;
}

static GSocket *adopt_fd(const QmpAddress *address, GError **error)
{
    if (fcntl(address->fd, F_SETFD, FD_CLOEXEC) < 0) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "descriptor %d is not open: %s",
                    address->fd, g_strerror(errno));
        return NULL;
    }
    return g_socket_new_from_fd(address->fd, error);
}

static GSocket *open_socket(QmpServer *server, const QmpAddress *address, gboolean insecure,
                            GError **error)
{
    switch (address->kind) {
    case QMP_ADDRESS_UNIX:
        return listen_unix(server, address, error);
    case QMP_ADDRESS_TCP:
        return listen_tcp(address, insecure, error);
    default:
        return adopt_fd(address, error);
    }
}

static gboolean serve(QmpServer *server, GSocket *socket, GError **error)
{
    g_autoptr(GSocketConnection) connection = NULL;

    if (is_listening(socket)) {
        server->socket = g_object_ref(socket);
        g_socket_set_blocking(socket, FALSE);
        listen_now(server);
        return TRUE;
    }
    if (!g_socket_is_connected(socket)) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "the socket neither listens nor is connected");
        return FALSE;
    }
    connection = g_socket_connection_factory_create_connection(socket);
    server->accepted(connection, server->opaque);
    return TRUE;
}

QmpServer *qmp_server_new(const QmpAddress *address, gboolean insecure, QmpConnectionFunc accepted,
                          gpointer opaque, char **listening, GError **error)
{
    QmpServer *server = g_new0(QmpServer, 1);
    g_autoptr(GSocket) socket = open_socket(server, address, insecure, error);

    server->accepted = accepted;
    server->opaque = opaque;
    if (!socket || !serve(server, socket, error)) {
        g_prefix_error(error, "cannot open the monitor '%s': ", address->text);
        qmp_server_free(server);
        return NULL;
    }
    *listening = address->kind == QMP_ADDRESS_TCP ? describe_tcp(socket) : g_strdup(address->text);
    return server;
}

/* Only the socket that we made: somebody may have put another one in its place. */
static void remove_own(const QmpServer *server)
{
    struct stat status;

    if (server->path && lstat(server->path, &status) == 0 && status.st_dev == server->device &&
        status.st_ino == server->inode) {
        unlink(server->path);
    }
}

void qmp_server_free(QmpServer *server)
{
    set_source(server, NULL, NULL);
    if (server->socket) {
        g_socket_close(server->socket, NULL);
        g_object_unref(server->socket);
    }
    remove_own(server);
    g_free(server->path);
    g_free(server);
}
