/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Socket addresses: from a URI to what the kernel takes, and from what the kernel gives to a URI.
 */
#include "transports/internal.h"

#include <errno.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

/* ---- tcp ------------------------------------------------------------------------------------- */

/* As QEMU reads the two options: naming one family leaves the other out. */
static int inet_family(const TransportUri *uri)
{
    if (uri->ipv4 == TRANSPORT_ON && uri->ipv6 == TRANSPORT_ON) {
        return AF_UNSPEC;
    }
    if (uri->ipv6 == TRANSPORT_ON || uri->ipv4 == TRANSPORT_OFF) {
        return AF_INET6;
    }
    if (uri->ipv4 == TRANSPORT_ON || uri->ipv6 == TRANSPORT_OFF) {
        return AF_INET;
    }
    return AF_UNSPEC;
}

/* Appends SOCKET_ADDRESS unless it is of another family than FAMILY. */
static void append_inet(GArray *list, GSocketAddress *socket_address, int family)
{
    TransportAddress address = {.length =
                                    (socklen_t)g_socket_address_get_native_size(socket_address)};

    if (family != AF_UNSPEC && family != (int)g_socket_address_get_family(socket_address)) {
        return;
    }
    if (g_socket_address_to_native(socket_address, &address.storage, sizeof address.storage,
                                   NULL)) {
        g_array_append_val(list, address);
    }
}

/* What listening on no particular host means: both families by one socket where the system can. */
static void append_any(GArray *list, guint16 port, int family)
{
    static const char *const hosts[] = {"::", "0.0.0.0"};

    for (size_t i = 0; i < G_N_ELEMENTS(hosts); i++) {
        g_autoptr(GSocketAddress) address = g_inet_socket_address_new_from_string(hosts[i], port);

        append_inet(list, address, family);
    }
}

static gboolean append_names(GArray *list, const TransportUri *uri, int family,
                             const TransportOptions *options, GError **error)
{
    GList *found = transport_wait_lookup(uri->host, options, error);

    for (GList *item = found; item; item = item->next) {
        g_autoptr(GSocketAddress) address = g_inet_socket_address_new(item->data, uri->port);

        append_inet(list, address, family);
    }
    g_resolver_free_addresses(found);
    return found != NULL;
}

static gboolean append_tcp(GArray *list, const TransportUri *uri, gboolean listening,
                           const TransportOptions *options, GError **error)
{
    g_autoptr(GSocketAddress) literal = NULL;
    int family = inet_family(uri);

    if (!uri->host[0]) {
        if (!listening) {
            g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                                "connecting needs a host: tcp:HOST:PORT");
            return FALSE;
        }
        append_any(list, uri->port, family);
        return TRUE;
    }
    literal = g_inet_socket_address_new_from_string(uri->host, uri->port);
    if (literal) {
        append_inet(list, literal, family);
    } else if (!append_names(list, uri, family, options, error)) {
        return FALSE;
    }
    if (list->len == 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "host '%s' has no %s address",
                    uri->host, family == AF_INET ? "IPv4" : "IPv6");
        return FALSE;
    }
    return TRUE;
}

void transport_address_set_port(TransportAddress *address, guint16 port)
{
    if (address->storage.ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)&address->storage)->sin6_port = htons(port);
    } else if (address->storage.ss_family == AF_INET) {
        ((struct sockaddr_in *)&address->storage)->sin_port = htons(port);
    }
}

guint16 transport_address_get_port(const TransportAddress *address)
{
    if (address->storage.ss_family == AF_INET6) {
        return ntohs(((const struct sockaddr_in6 *)&address->storage)->sin6_port);
    }
    if (address->storage.ss_family == AF_INET) {
        return ntohs(((const struct sockaddr_in *)&address->storage)->sin_port);
    }
    return 0;
}

/* ---- unix and vsock -------------------------------------------------------------------------- */

static void append_unix(GArray *list, const TransportUri *uri)
{
    TransportAddress address = {0};
    struct sockaddr_un *name = (struct sockaddr_un *)&address.storage;
    size_t length = strlen(uri->path);

    name->sun_family = AF_UNIX;
    /* transport_uri_parse() saw to it that there is room for one byte more. */
    g_assert(length < sizeof name->sun_path);
    memcpy(name->sun_path + (uri->abstract ? 1 : 0), uri->path, length);
    address.length = uri->abstract && uri->tight
                         ? (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)
                         : (socklen_t)sizeof *name;
    g_array_append_val(list, address);
}

static void append_vsock(GArray *list, const TransportUri *uri)
{
    TransportAddress address = {.length = sizeof(struct sockaddr_vm)};
    struct sockaddr_vm *name = (struct sockaddr_vm *)&address.storage;

    name->svm_family = AF_VSOCK;
    name->svm_cid = uri->cid;
    name->svm_port = uri->vsock_port;
    g_array_append_val(list, address);
}

GArray *transport_address_list(const TransportUri *uri, gboolean listening,
                               const TransportOptions *options, GError **error)
{
    g_autoptr(GArray) list = g_array_new(FALSE, FALSE, sizeof(TransportAddress));

    switch (uri->kind) {
    case TRANSPORT_TCP:
        if (!append_tcp(list, uri, listening, options, error)) {
            return NULL;
        }
        break;
    case TRANSPORT_UNIX:
        append_unix(list, uri);
        break;
    case TRANSPORT_VSOCK:
        append_vsock(list, uri);
        break;
    default:
        g_assert_not_reached();
    }
    return g_steal_pointer(&list);
}

/* ---- Back to text ---------------------------------------------------------------------------- */

static char *inet_to_uri(const TransportAddress *address)
{
    TransportAddress plain = *address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address->storage;
    char host[NI_MAXHOST], port[NI_MAXSERV];

    /* An IPv4 peer of a socket for both families is shown as what it is. */
    if (v6->sin6_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&plain.storage;

        plain = (TransportAddress){.length = sizeof *v4};
        v4->sin_family = AF_INET;
        v4->sin_port = v6->sin6_port;
        memcpy(&v4->sin_addr, v6->sin6_addr.s6_addr + 12, 4);
    }
    if (getnameinfo((const struct sockaddr *)&plain.storage, plain.length, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV)) {
        return NULL;
    }
    return g_strdup_printf(plain.storage.ss_family == AF_INET6 ? "tcp:[%s]:%s" : "tcp:%s:%s", host,
                           port);
}

static char *unix_to_uri(const TransportAddress *address)
{
    const struct sockaddr_un *name = (const struct sockaddr_un *)&address->storage;
    size_t length = address->length - offsetof(struct sockaddr_un, sun_path);
    g_autofree char *text = NULL;

    if (address->length <= offsetof(struct sockaddr_un, sun_path)) {
        return NULL;
    }
    /* A peer may have bound to any bytes. */
    if (name->sun_path[0]) {
        text = g_utf8_make_valid(name->sun_path, (gssize)strnlen(name->sun_path, length));
        return g_strconcat("unix:", text, NULL);
    }
    text = g_utf8_make_valid(name->sun_path + 1, (gssize)strnlen(name->sun_path + 1, length - 1));
    return g_strconcat("unix:", text, ",abstract=on",
                       length == sizeof name->sun_path ? ",tight=off" : "", NULL);
}

static char *vsock_part(guint32 number)
{
    return number == VMADDR_CID_ANY ? g_strdup("any")
                                    : g_strdup_printf("%" G_GUINT32_FORMAT, number);
}

char *transport_address_to_uri(const TransportAddress *address)
{
    const struct sockaddr_vm *vsock = (const struct sockaddr_vm *)&address->storage;
    g_autofree char *cid = NULL, *port = NULL;

    switch (address->storage.ss_family) {
    case AF_INET:
    case AF_INET6:
        return inet_to_uri(address);
    case AF_UNIX:
        return unix_to_uri(address);
    case AF_VSOCK:
        cid = vsock_part(vsock->svm_cid);
        port = vsock_part(vsock->svm_port);
        return g_strdup_printf("vsock:%s:%s", cid, port);
    default:
        return NULL;
    }
}

char *transport_address_local_uri(int fd)
{
    TransportAddress address = {.length = sizeof address.storage};

    if (getsockname(fd, (struct sockaddr *)&address.storage, &address.length)) {
        return NULL;
    }
    return transport_address_to_uri(&address);
}

char *transport_address_peer_uri(int fd)
{
    TransportAddress address = {.length = sizeof address.storage};

    if (getpeername(fd, (struct sockaddr *)&address.storage, &address.length)) {
        return NULL;
    }
    return transport_address_to_uri(&address);
}
