/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The cutting proxy: plain sockets, and nothing of the library under test. */
#include "cutting-proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TLS_HEADER 5

static void must(gboolean ok, const char *what)
{
    if (!ok) {
        g_error("the proxy: %s: %s", what, g_strerror(errno));
    }
}

/* ---- Sockets --------------------------------------------------------------------------------------- */

static void set_no_delay(int fd)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* fails on unix sockets, rightly */
}

static int open_unix(const char *path, struct sockaddr_un *address)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    g_strlcpy(address->sun_path, path, sizeof(address->sun_path));
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int open_tcp(guint16 port, struct sockaddr_in *address)
{
    memset(address, 0, sizeof(*address));
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address->sin_port = htons(port);
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void listen_unix(CutProxy *proxy, const char *directory)
{
    g_autofree char *path = g_build_filename(directory, "proxy", NULL);
    struct sockaddr_un address;

    unlink(path);
    proxy->listener = open_unix(path, &address);
    must(bind(proxy->listener, (struct sockaddr *)&address, sizeof(address)) == 0, path);
    proxy->uri = g_strdup_printf("unix:%s", path);
}

static void listen_tcp(CutProxy *proxy)
{
    struct sockaddr_in address;
    socklen_t length = sizeof(address);

    proxy->listener = open_tcp(0, &address);
    must(bind(proxy->listener, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
    must(getsockname(proxy->listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
    proxy->uri = g_strdup_printf("tcp:127.0.0.1:%u", ntohs(address.sin_port));
}

/* -1 when nobody listens there any more. */
static int connect_target(CutProxy *proxy)
{
    struct sockaddr_un local;
    struct sockaddr_in remote;
    int fd, result;

    if (g_str_has_prefix(proxy->target, "unix:")) {
        fd = open_unix(proxy->target + strlen("unix:"), &local);
        result = connect(fd, (struct sockaddr *)&local, sizeof(local));
    } else {
        fd = open_tcp((guint16)atoi(strrchr(proxy->target, ':') + 1), &remote);
        result = connect(fd, (struct sockaddr *)&remote, sizeof(remote));
    }
    if (result != 0) {
        close(fd);
        return -1;
    }
    set_no_delay(fd);
    return fd;
}

static void close_fd(int *fd, gboolean reset)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    if (*fd >= 0) {
        if (reset) {
            setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        }
        close(*fd);
        *fd = -1;
    }
}

static void send_all(int fd, const guint8 *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

        if (sent <= 0) {
            return; /* the other side is gone, which its own end of the connection tells */
        }
        bytes += sent;
        length -= (size_t)sent;
    }
}

/* ---- Where to cut ---------------------------------------------------------------------------------- */

static unsigned place_of_step(const Cut *cut, const CutFlow *flow)
{
    static const unsigned in_header[] = {0, 1, TLS_HEADER - 1};

    if (cut->step < G_N_ELEMENTS(in_header)) {
        return in_header[cut->step];
    }
    if (flow->at < TLS_HEADER) {
        return G_MAXUINT; /* the length is not known yet */
    }
    return TLS_HEADER + (flow->length - 1) * (cut->step - 3) / (cut->steps - 4);
}

static gboolean is_cut_here(CutProxy *proxy, int direction)
{
    const Cut *cut = &proxy->cut;
    const CutFlow *flow = &proxy->flows[direction];

    if (cut->position == CUT_NOWHERE || cut->direction != direction) {
        return FALSE;
    }
    if (cut->tls) {
        return flow->record == cut->record && flow->at == place_of_step(cut, flow);
    }
    return flow->bytes == cut->position;
}

static void count_byte(CutFlow *flow, guint8 byte)
{
    flow->bytes++;
    if (flow->at == TLS_HEADER - 2 || flow->at == TLS_HEADER - 1) {
        flow->length = (flow->length << 8 | byte) & 0xffff;
    }
    flow->at++;
    if (flow->at == TLS_HEADER) {
        g_array_append_val(flow->lengths, flow->length);
    }
    if (flow->at >= TLS_HEADER && flow->at == TLS_HEADER + flow->length) {
        flow->record++;
        flow->at = 0;
    }
}

/* How many of LENGTH bytes get through. */
static size_t count_allowed(CutProxy *proxy, int direction, const guint8 *bytes, size_t length)
{
    if (atomic_load(&proxy->cut_done)) {
        return length;
    }
    for (size_t i = 0; i < length; i++) {
        if (is_cut_here(proxy, direction)) {
            return i;
        }
        count_byte(&proxy->flows[direction], bytes[i]);
    }
    return length;
}

/* ---- The thread ------------------------------------------------------------------------------------ */

static void cut_connection(CutProxy *proxy)
{
    atomic_store(&proxy->cut_done, true); /* before anybody can notice */
    for (int i = 0; i < 2; i++) {
        if (proxy->cut.reset) {
            close_fd(&proxy->live[i], TRUE);
            continue;
        }
        /* What is still unread would make the close a reset, so it is read until the peer closes. */
        shutdown(proxy->live[i], SHUT_WR);
        proxy->dying[i] = proxy->live[i];
        proxy->live[i] = -1;
    }
}

static void forward(CutProxy *proxy, int from)
{
    guint8 bytes[16384];
    ssize_t count = recv(proxy->live[from], bytes, sizeof(bytes), 0);
    size_t allowed;

    if (count < 0) {
        close_fd(&proxy->live[from], TRUE);
        close_fd(&proxy->live[!from], TRUE);
    } else if (count == 0) {
        proxy->ended[from] = true;
        shutdown(proxy->live[!from], SHUT_WR);
        if (proxy->ended[!from]) {
            close_fd(&proxy->live[from], FALSE);
            close_fd(&proxy->live[!from], FALSE);
        }
    } else {
        allowed = count_allowed(proxy, from, bytes, (size_t)count);
        send_all(proxy->live[!from], bytes, allowed);
        if (allowed < (size_t)count) {
            cut_connection(proxy);
        }
    }
}

static void accept_source(CutProxy *proxy)
{
    int source = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC);
    int destination;

    if (source < 0) {
        return;
    }
    destination = connect_target(proxy);
    if (destination < 0) {
        close_fd(&source, FALSE);
        return;
    }
    set_no_delay(source);
    proxy->connections++;
    proxy->live[FROM_SOURCE] = source;
    proxy->live[FROM_DESTINATION] = destination;
    proxy->ended[0] = proxy->ended[1] = false;
}

static void drain(int *fd)
{
    guint8 bytes[16384];

    if (recv(*fd, bytes, sizeof(bytes), 0) <= 0) {
        close_fd(fd, FALSE);
    }
}

static gpointer run_proxy(gpointer data)
{
    CutProxy *proxy = data;

    while (TRUE) {
        gboolean busy = proxy->live[0] >= 0;
        struct pollfd fds[] = {
            {.fd = proxy->stop_event, .events = POLLIN},
            {.fd = busy ? -1 : proxy->listener, .events = POLLIN},
            {.fd = proxy->ended[0] ? -1 : proxy->live[0], .events = POLLIN},
            {.fd = proxy->ended[1] ? -1 : proxy->live[1], .events = POLLIN},
            {.fd = proxy->dying[0], .events = POLLIN},
            {.fd = proxy->dying[1], .events = POLLIN},
        };

        poll(fds, G_N_ELEMENTS(fds), -1);
        if (fds[0].revents) {
            return NULL;
        }
        if (fds[1].revents) {
            accept_source(proxy);
        }
        for (int i = 0; i < 2; i++) {
            if (fds[2 + i].revents && proxy->live[i] >= 0) {
                forward(proxy, i);
            }
            if (fds[4 + i].revents) {
                drain(&proxy->dying[i]);
            }
        }
    }
}

CutProxy *cut_proxy_start(const char *directory, const char *target, const Cut *cut)
{
    CutProxy *proxy = g_new0(CutProxy, 1);

    proxy->target = g_strdup(target);
    proxy->cut = *cut;
    for (int i = 0; i < 2; i++) {
        proxy->live[i] = proxy->dying[i] = -1;
        proxy->flows[i].lengths = g_array_new(FALSE, FALSE, sizeof(unsigned));
    }
    if (cut->reset) {
        listen_tcp(proxy);
    } else {
        listen_unix(proxy, directory);
    }
    must(listen(proxy->listener, 8) == 0, "listen");
    proxy->stop_event = eventfd(0, EFD_CLOEXEC);
    must(proxy->stop_event >= 0, "eventfd");
    proxy->thread = g_thread_new("proxy", run_proxy, proxy);
    return proxy;
}

void cut_proxy_stop(CutProxy *proxy)
{
    must(eventfd_write(proxy->stop_event, 1) == 0, "eventfd");
    g_thread_join(g_steal_pointer(&proxy->thread));
    for (int i = 0; i < 2; i++) {
        close_fd(&proxy->live[i], FALSE);
        close_fd(&proxy->dying[i], FALSE);
    }
    close_fd(&proxy->listener, FALSE);
    close_fd(&proxy->stop_event, FALSE);
}

void cut_proxy_free(CutProxy *proxy)
{
    for (int i = 0; i < 2; i++) {
        g_array_unref(proxy->flows[i].lengths);
    }
    g_free(proxy->uri);
    g_free(proxy->target);
    g_free(proxy);
}
