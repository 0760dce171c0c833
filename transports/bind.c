/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sockets that listen.
 */
#include "transports/internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BIND_BACKLOG 16

/*
 * With port 0 the first address gets a free port, which the next address may find taken: then
 * another is tried.
 */
#define BIND_FREE_PORT_TRIES 16

static void set_flag(int fd, int level, int option, int value)
{
    /* Refused only where the option means nothing. */
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

void transport_bind_tune(int fd, gboolean keep_alive)
{
    set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (keep_alive) {
        set_flag(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    }
}

static void close_fds(GArray *fds, guint keep)
{
    for (guint i = keep; i < fds->len; i++) {
        close(g_array_index(fds, int, i));
    }
    g_array_set_size(fds, keep);
}

/*
 * One socket for both families where no particular host was named and neither family was left out.
 */
static gboolean serves_both_families(const TransportUri *uri, const GArray *addresses)
{
    return uri->kind == TRANSPORT_TCP && !uri->host[0] && addresses->len == 2;
}

/* Returns the listening socket, or -1 with errno set. */
static int bind_address(const TransportAddress *address, gboolean both_families)
{
    int family = address->storage.ss_family;
    TRANSPORT_AUTOFD fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        return -1;
    }
    if (family == AF_INET || family == AF_INET6) {
        set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    }
    if (family == AF_INET6) {
        set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, !both_families);
    }
    /*
     * On Linux the file that bind() makes gets the mode that the socket has, so nobody can be
     * quicker than chmod().
     */
    if (family == AF_UNIX && fchmod(fd, 0600)) {
        return -1;
    }
    if (bind(fd, (const struct sockaddr *)&address->storage, address->length) ||
        listen(fd, BIND_BACKLOG)) {
        int number = errno;

        transport_fd_close(&fd);
        errno = number;
        return -1;
    }
    return transport_fd_steal(&fd);
}

static guint16 port_of_socket(int fd)
{
    TransportAddress address = {.length = sizeof address.storage};

    if (getsockname(fd, (struct sockaddr *)&address.storage, &address.length)) {
        return 0;
    }
    return transport_address_get_port(&address);
}

static gboolean fail_bind(const TransportAddress *address, int number, GError **error)
{
    g_autofree char *name = transport_address_to_uri(address);

    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(number), "%s: %s%s", name,
                g_strerror(number),
                number == EADDRINUSE     ? " (another program listens there)"
                : number == EAFNOSUPPORT ? " (this system has no such sockets)"
                                         : "");
    return FALSE;
}

/* ---- tcp ------------------------------------------------------------------------------------- */

/*
 * Binds every address to PORT (0: the same free port for all). Addresses that this machine does not
 * have are left out as long as one remains. On failure *NUMBER is the errno.
 */
static gboolean bind_port(const TransportUri *uri, const GArray *addresses, guint16 port,
                          GArray *fds, int *number, GError **error)
{
    gboolean both = serves_both_families(uri, addresses);
    guint old_length = fds->len;

    g_clear_error(error);
    for (guint i = 0; i < addresses->len; i++) {
        TransportAddress address = g_array_index(addresses, TransportAddress, i);
        int fd;

        transport_address_set_port(&address, port);
        fd = bind_address(&address, both);
        if (fd < 0) {
            *number = errno;
            g_clear_error(error);
            fail_bind(&address, *number, error);
            if (*number == EADDRNOTAVAIL || *number == EAFNOSUPPORT) {
                continue;
            }
            close_fds(fds, old_length);
            return FALSE;
        }
        g_array_append_val(fds, fd);
        port = port_of_socket(fd);
        if (both) {
            break;
        }
    }
    if (fds->len > old_length) {
        g_clear_error(error);
    }
    return fds->len > old_length;
}

static gboolean bind_tcp(const TransportUri *uri, const GArray *addresses, GArray *fds,
                         GError **error)
{
    g_autoptr(GError) failure = NULL;
    unsigned last = MAX(uri->port, uri->port_to);
    unsigned tries = uri->port ? last - uri->port + 1 : BIND_FREE_PORT_TRIES;
    int number = 0;

    for (unsigned i = 0; i < tries; i++) {
        guint16 port = (guint16)(uri->port ? uri->port + i : 0);

        if (bind_port(uri, addresses, port, fds, &number, &failure)) {
            return TRUE;
        }
        if (number != EADDRINUSE) {
            break;
        }
    }
    g_propagate_error(error, g_steal_pointer(&failure));
    if (uri->port_to && number == EADDRINUSE) {
        g_prefix_error(error, "no port from %u to %u is free; ", uri->port, uri->port_to);
    }
    return FALSE;
}

/* ---- unix ------------------------------------------------------------------------------------ */

/*
 * Whether a program accepts connections at ADDRESS. FALSE is only said when the kernel is sure that
 * none does.
 */
static gboolean is_served(const TransportAddress *address)
{
    TRANSPORT_AUTOFD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    return fd < 0 || !connect(fd, (const struct sockaddr *)&address->storage, address->length) ||
           errno != ECONNREFUSED;
}

/* Takes a left-over socket away; anything else at that path stays. */
static gboolean remove_stale(const TransportAddress *address, GError **error)
{
    const char *path = ((const struct sockaddr_un *)&address->storage)->sun_path;
    g_autofree char *name = transport_address_to_uri(address);
    struct stat status;

    /* The path may fill sun_path but for one byte, so it always ends in a zero. */
    if (lstat(path, &status)) {
        return errno == ENOENT || fail_bind(address, errno, error);
    }
    if (!S_ISSOCK(status.st_mode)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS,
                    "%s: the file exists and is not a socket; it is left as it is", name);
        return FALSE;
    }
    if (is_served(address)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_ADDRESS_IN_USE,
                    "%s: another program listens there", name);
        return FALSE;
    }
    return !unlink(path) || errno == ENOENT || fail_bind(address, errno, error);
}

static gboolean bind_other(const TransportUri *uri, const TransportAddress *address, GArray *fds,
                           GError **error)
{
    int fd = bind_address(address, FALSE);

    if (fd < 0 && errno == EADDRINUSE && uri->kind == TRANSPORT_UNIX && !uri->abstract) {
        if (!remove_stale(address, error)) {
            return FALSE;
        }
        fd = bind_address(address, FALSE);
    }
    if (fd < 0) {
        return fail_bind(address, errno, error);
    }
    g_array_append_val(fds, fd);
    return TRUE;
}

gboolean transport_bind_list(const TransportUri *uri, const GArray *addresses, GArray *fds,
                             GError **error)
{
    if (uri->kind == TRANSPORT_TCP) {
        return bind_tcp(uri, addresses, fds, error);
    }
    return bind_other(uri, &g_array_index(addresses, TransportAddress, 0), fds, error);
}
