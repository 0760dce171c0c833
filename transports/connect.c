/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connecting: every address of a URI is tried in turn, within the one deadline.
 */
#include "transports/internal.h"

#include <errno.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

/*
 * Between two tries at a unix socket whose queue is full: the kernel tells nobody when there is
 * room.
 */
#define UNIX_RETRY_US 10000

/*
 * A peer so near needs no long queue in the kernel: with a short one its bytes are still in the
 * processor's cache when they are taken out. Enough for 5 GB/s there; farther away the kernel knows
 * best.
 */
#define NEAR_RTT_US 100
#define NEAR_QUEUE_BYTES (256 * 1024)

/* What the kernel's word for it leaves open. */
static const char *hint_for(const TransportAddress *address, int number)
{
    if (address->storage.ss_family == AF_VSOCK &&
        (number == ENODEV || number == EAFNOSUPPORT || number == EADDRNOTAVAIL)) {
        return " (this system has no vsock that reaches such a CID)";
    }
    return "";
}

static gboolean fail_connect(const TransportAddress *address, int number, GError **error)
{
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(number), "%s%s", g_strerror(number),
                hint_for(address, number));
    return FALSE;
}

/*
 * A connection to a local port where nobody listens can, by chance, get that very port for its own
 * end: it is then connected to itself.
 */
static gboolean is_connected_to_itself(int fd)
{
    g_autofree char *local = transport_address_local_uri(fd);
    g_autofree char *peer = transport_address_peer_uri(fd);

    return local && peer && g_str_has_prefix(local, "tcp:") && g_str_equal(local, peer);
}

/* Waits for a connect() that was begun. */
static gboolean finish_connect(int fd, const TransportAddress *address, GCancellable *cancellable,
                               gint64 limit, GError **error)
{
    int number = 0;
    socklen_t length = sizeof number;

    if (!transport_wait_fd(fd, POLLOUT, cancellable, limit, error)) {
        return FALSE;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &length)) {
        number = errno;
    }
    return number == 0 || fail_connect(address, number, error);
}

/* Connects to ADDRESS until LIMIT. Returns the non-blocking socket, or -1. */
static int connect_address(const TransportAddress *address, GCancellable *cancellable, gint64 limit,
                           GError **error)
{
    TRANSPORT_AUTOFD fd =
        socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        fail_connect(address, errno, error);
        return -1;
    }
    while (connect(fd, (const struct sockaddr *)&address->storage, address->length)) {
        if (errno == EINPROGRESS || errno == EINTR) {
            if (!finish_connect(fd, address, cancellable, limit, error)) {
                return -1;
            }
            break;
        }
        if (errno != EAGAIN) {
            fail_connect(address, errno, error);
            return -1;
        }
        if (limit && g_get_monotonic_time() >= limit) {
            g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT,
                                "its queue of connections stayed full for the time allowed");
            return -1;
        }
        g_autoptr(GError) pause = NULL;
        if (!transport_wait_fd(-1, 0, cancellable, g_get_monotonic_time() + UNIX_RETRY_US,
                               &pause) &&
            !g_error_matches(pause, G_IO_ERROR, G_IO_ERROR_TIMED_OUT)) {
            g_propagate_error(error, g_steal_pointer(&pause));
            return -1;
        }
    }
    if (is_connected_to_itself(fd)) {
        fail_connect(address, ECONNREFUSED, error);
        return -1;
    }
    return transport_fd_steal(&fd);
}

/*
 * An address gets its share of the time that is left, so that a silent one does not use up that of
 * the next.
 */
static gint64 limit_for(gint64 deadline, guint addresses_left)
{
    gint64 now = g_get_monotonic_time();

    return deadline ? now + MAX(deadline - now, 0) / addresses_left : 0;
}

static int connect_any(const GArray *addresses, const TransportOptions *options, GError **error)
{
    g_autoptr(GString) failures = g_string_new(NULL);
    g_autoptr(GError) failure = NULL;

    for (guint i = 0; i < addresses->len; i++) {
        const TransportAddress *address = &g_array_index(addresses, TransportAddress, i);
        g_autofree char *name = transport_address_to_uri(address);
        int fd;

        g_clear_error(&failure);
        fd = connect_address(address, options->cancellable,
                             limit_for(options->deadline, addresses->len - i), &failure);
        if (fd >= 0) {
            return fd;
        }
        if (g_error_matches(failure, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return -1;
        }
        g_string_append_printf(failures, "%s%s: %s", i ? "; " : "", name, failure->message);
    }
    g_set_error_literal(error, failure->domain, failure->code, failures->str);
    return -1;
}

static gboolean check_uri(const TransportUri *uri, GError **error)
{
    const char *wrong = NULL;

    if (uri->kind == TRANSPORT_TCP && uri->port == 0) {
        wrong = "port 0 is only for listening; connecting needs a port from 1 to 65535";
    } else if (uri->kind == TRANSPORT_TCP && uri->port_to) {
        wrong = "option 'to' is only for listening";
    } else if (uri->kind == TRANSPORT_VSOCK &&
               (uri->cid == VMADDR_CID_ANY || uri->vsock_port == VMADDR_PORT_ANY)) {
        wrong = "'any' is only for listening; connecting needs a CID and a port";
    }
    if (wrong) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, wrong);
    }
    return !wrong;
}

static void shorten_queue_to_near_peer(int fd)
{
    static const int bytes = NEAR_QUEUE_BYTES;
    struct tcp_info info = {0};
    socklen_t length = sizeof info;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_rtt > 0 &&
        info.tcpi_rtt <= NEAR_RTT_US) {
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    }
}

static TransportStream *connect_socket(const TransportUri *uri, const TransportOptions *options,
                                       GError **error)
{
    g_autoptr(GArray) addresses = NULL;
    int fd;

    if (!check_uri(uri, error)) {
        return NULL;
    }
    addresses = transport_address_list(uri, FALSE, options, error);
    if (!addresses) {
        return NULL;
    }
    fd = connect_any(addresses, options, error);
    if (fd < 0) {
        return NULL;
    }
    if (uri->kind == TRANSPORT_TCP) {
        transport_bind_tune(fd, uri->keep_alive);
        shorten_queue_to_near_peer(fd);
    }
    return transport_stream_new_socket(fd, transport_address_peer_uri(fd), uri->text);
}

/*
 * FD is taken over whatever happens, when it was handed over; a number out of a URI only when it
 * fits.
 */
static TransportStream *connect_fd(const TransportUri *uri, const TransportOptions *options,
                                   GError **error)
{
    TRANSPORT_AUTOFD fd = options->fd;
    int number = transport_stream_take_fd(uri, options, error);
    TransportStream *stream = NULL;

    if (number >= 0) {
        stream = transport_stream_new_fd(number, TRUE, uri->text, error);
    }
    if (stream) {
        fd = -1;
    }
    return stream;
}

static TransportStream *connect_plain(const TransportUri *uri, const TransportOptions *options,
                                      GError **error)
{
    switch (uri->kind) {
    case TRANSPORT_FD:
        return connect_fd(uri, options, error);
    case TRANSPORT_EXEC:
        return transport_stream_new_exec(uri, options, error);
    case TRANSPORT_FILE:
        return transport_stream_new_file(uri, TRUE, error);
    default:
        return connect_socket(uri, options, error);
    }
}

/* Puts TLS on STREAM and waits until both sides are content. */
static gboolean connect_tls(TransportStream *stream, const TransportUri *uri,
                            const TransportOptions *options, GError **error)
{
    const char *name = options->tls->hostname ? options->tls->hostname : uri->host;

    if (!name || !name[0]) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                            "TLS needs to know whose certificate to expect: set tls-hostname");
        return FALSE;
    }
    if (!transport_stream_start_tls(stream, options->tls, name, error)) {
        return FALSE;
    }
    for (;;) {
        g_autoptr(GError) failure = NULL;

        if (transport_stream_check_tls(stream, &failure)) {
            return TRUE;
        }
        if (!g_error_matches(failure, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return FALSE;
        }
        if (!transport_wait_fd(transport_stream_read_fd(stream), POLLIN, options->cancellable,
                               options->deadline, error)) {
            g_prefix_error(error, "TLS handshake with %s (does it speak TLS?): ",
                           transport_stream_peer(stream));
            return FALSE;
        }
    }
}

TransportStream *transport_connect(const TransportUri *uri, const TransportOptions *options,
                                   GError **error)
{
    g_autoptr(TransportStream) stream = NULL;

    if (!g_cancellable_set_error_if_cancelled(options->cancellable, error)) {
        stream = connect_plain(uri, options, error);
    } else if (uri->kind == TRANSPORT_FD) {
        TRANSPORT_AUTOFD fd = options->fd;
        (void)fd;
    }
    if (!stream || (options->tls && !connect_tls(stream, uri, options, error))) {
        g_prefix_error(error, "connecting to '%s': ", uri->text);
        return NULL;
    }
    return g_steal_pointer(&stream);
}
