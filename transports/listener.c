/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listening. What can be taken only once (exec:, file:, a connected descriptor) looks like a
 * listening socket at which one connection waits, so that a caller has one way for all.
 */
#include "transports/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

struct TransportListener {
    char *text;
    gboolean keep_alive;
    TransportTls *tls;
    GArray *fds; /* of int */
    char **uris;
    TransportStream *single; /* taken once; then NULL */
    gboolean repeatable;
    char *unix_path; /* of the socket made, with what identifies it */
    dev_t unix_device;
    ino_t unix_inode;
};

/* ---- Making ---------------------------------------------------------------------------------- */

/* Takes STREAM as the only connection there will be. */
static gboolean offer_single(TransportListener *listener, TransportStream *stream, GError **error)
{
    char *uris[] = {listener->text, NULL};
    int fd;

    if (!stream) {
        return FALSE;
    }
    listener->single = stream;
    if (listener->tls && transport_stream_is_one_way(stream)) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                            "TLS (tls-creds) needs a connection with two directions, not a file or "
                            "a pipe");
        return FALSE;
    }
    fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "eventfd: %s",
                    g_strerror(errno));
        return FALSE;
    }
    g_array_append_val(listener->fds, fd);
    listener->uris = g_strdupv(uris);
    return TRUE;
}

/* The listening sockets are in place: asks them for their addresses. */
static void offer_sockets(TransportListener *listener)
{
    g_autoptr(GPtrArray) uris = g_ptr_array_new();

    for (guint i = 0; i < listener->fds->len; i++) {
        char *uri = transport_address_local_uri(g_array_index(listener->fds, int, i));

        g_ptr_array_add(uris, uri ? uri : g_strdup(listener->text));
    }
    g_ptr_array_add(uris, NULL);
    listener->uris = (char **)g_ptr_array_steal(uris, NULL);
    listener->repeatable = TRUE;
}

/* Remembers which file bind() made, so that no other is ever removed. */
static void remember_unix_socket(TransportListener *listener, const char *path)
{
    struct stat status;

    if (lstat(path, &status) == 0) {
        /* Absolute: the working directory may be another one by then. */
        listener->unix_path = g_canonicalize_filename(path, NULL);
        listener->unix_device = status.st_dev;
        listener->unix_inode = status.st_ino;
    }
}

static gboolean listen_socket(TransportListener *listener, const TransportUri *uri,
                              const TransportOptions *options, GError **error)
{
    g_autoptr(GArray) addresses = transport_address_list(uri, TRUE, options, error);

    if (!addresses || !transport_bind_list(uri, addresses, listener->fds, error)) {
        return FALSE;
    }
    if (uri->kind == TRANSPORT_UNIX && !uri->abstract) {
        remember_unix_socket(listener, uri->path);
    }
    offer_sockets(listener);
    return TRUE;
}

static gboolean is_listening_socket(int fd)
{
    int accepts = 0;
    socklen_t length = sizeof accepts;

    return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &length) && accepts;
}

static gboolean listen_fd(TransportListener *listener, const TransportUri *uri,
                          const TransportOptions *options, GError **error)
{
    TRANSPORT_AUTOFD handed_over = options->fd;
    int fd = transport_stream_take_fd(uri, options, error);
    TransportStream *stream;

    if (fd < 0) {
        return FALSE;
    }
    if (is_listening_socket(fd)) {
        handed_over = -1;
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        g_array_append_val(listener->fds, fd);
        offer_sockets(listener);
        return TRUE;
    }
    stream = transport_stream_new_fd(fd, FALSE, uri->text, error);
    if (stream) {
        handed_over = -1;
    }
    return offer_single(listener, stream, error);
}

static gboolean listen_any(TransportListener *listener, const TransportUri *uri,
                           const TransportOptions *options, GError **error)
{
    switch (uri->kind) {
    case TRANSPORT_FD:
        return listen_fd(listener, uri, options, error);
    case TRANSPORT_EXEC:
        return offer_single(listener, transport_stream_new_exec(uri, options, error), error);
    case TRANSPORT_FILE:
        return offer_single(listener, transport_stream_new_file(uri, FALSE, error), error);
    default:
        return listen_socket(listener, uri, options, error);
    }
}

TransportListener *transport_listen(const TransportUri *uri, const TransportOptions *options,
                                    GError **error)
{
    g_autoptr(TransportListener) listener = g_new0(TransportListener, 1);

    listener->text = g_strdup(uri->text);
    listener->keep_alive = uri->keep_alive;
    listener->tls = options->tls ? transport_tls_ref(options->tls) : NULL;
    listener->fds = g_array_new(FALSE, FALSE, sizeof(int));
    if (!listen_any(listener, uri, options, error)) {
        g_prefix_error(error, "listening on '%s': ", uri->text);
        return NULL;
    }
    return g_steal_pointer(&listener);
}

void transport_listener_free(TransportListener *listener)
{
    struct stat status;

    if (!listener) {
        return;
    }
    if (listener->unix_path && lstat(listener->unix_path, &status) == 0 &&
        status.st_dev == listener->unix_device && status.st_ino == listener->unix_inode) {
        unlink(listener->unix_path);
    }
    for (guint i = 0; i < listener->fds->len; i++) {
        close(g_array_index(listener->fds, int, i));
    }
    g_array_free(listener->fds, TRUE);
    transport_stream_free(listener->single);
    g_clear_pointer(&listener->tls, transport_tls_unref);
    g_strfreev(listener->uris);
    g_free(listener->unix_path);
    g_free(listener->text);
    g_free(listener);
}

/* ---- Accepting ------------------------------------------------------------------------------- */

static TransportStream *accept_single(TransportListener *listener)
{
    eventfd_t value;

    if (listener->single) {
        (void)eventfd_read(g_array_index(listener->fds, int, 0), &value);
    }
    return g_steal_pointer(&listener->single);
}

/* One connection of any of the sockets; NULL without ERROR when there is none. */
static TransportStream *accept_socket(TransportListener *listener, GError **error)
{
    for (guint i = 0; i < listener->fds->len; i++) {
        TransportAddress address = {.length = sizeof address.storage};
        int fd = accept4(g_array_index(listener->fds, int, i), (struct sockaddr *)&address.storage,
                         &address.length, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd >= 0) {
            if (address.storage.ss_family == AF_INET || address.storage.ss_family == AF_INET6) {
                transport_bind_tune(fd, listener->keep_alive);
            }
            return transport_stream_new_socket(fd, transport_address_to_uri(&address),
                                               listener->text);
        }
        /*
         * A connection that ended before it was taken is none; Linux hands on its network errors
         * here, too.
         */
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM ||
            errno == EINVAL || errno == EBADF) {
            g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                        "accepting a connection on '%s': %s", listener->uris[i], g_strerror(errno));
            return NULL;
        }
    }
    return NULL;
}

TransportStream *transport_listener_accept(TransportListener *listener, GError **error)
{
    g_autoptr(TransportStream) stream = NULL;
    GError *failure = NULL;

    stream = listener->repeatable ? accept_socket(listener, &failure) : accept_single(listener);
    if (failure) {
        g_propagate_error(error, failure);
        return NULL;
    }
    if (!stream) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK, "no connection is waiting");
        return NULL;
    }
    if (listener->tls && !transport_stream_start_tls(stream, listener->tls, NULL, error)) {
        return NULL;
    }
    return g_steal_pointer(&stream);
}

/* ---- Asking ---------------------------------------------------------------------------------- */

char **transport_listener_uris(TransportListener *listener)
{
    return listener->uris;
}

const int *transport_listener_fds(TransportListener *listener, size_t *count)
{
    *count = listener->fds->len;
    return (const int *)listener->fds->data;
}

gboolean transport_listener_is_repeatable(TransportListener *listener)
{
    return listener->repeatable;
}
