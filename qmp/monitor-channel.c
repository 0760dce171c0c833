/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * After every turn update() works out anew what to wait for. Descriptors are not switched to non-
 * blocking, since stdio's are shared with other programs: sockets are used with MSG_DONTWAIT,
 * everything else only when poll() says so, and written in portions that a pipe then takes at once.
 *
 * `broken` means that the client cannot be written to any more. What it has sent is still carried
 * out, since a script may send its commands and go.
 */
#include "qmp/monitor-channel.h"

#include <errno.h>
#include <glib-unix.h>
#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

#include "qmp/qmp-request.h"

#define INPUT_SIZE 4096
#define MAX_FDS 16
/*
 * Output that waits: above the first no input is read; a client that is still above the second when
 * more comes is dropped. One answer may be longer than that.
 */
#define MUCH_OUTPUT (64 * 1024)
#define MAX_OUTPUT (4 * 1024 * 1024)

struct QmpChannel {
    char *name;
    int in, out;
    gboolean in_is_socket, out_is_socket;
    GObject *owner;
    QmpChannelHandlers handlers;
    gpointer opaque;
    GByteArray *output;
    guint in_source, out_source, close_source; /* 0: none */
    gboolean ended;                            /* no more input */
    gboolean broken;                           /* no more output */
    gboolean dropped;                          /* neither */
};

static void update(QmpChannel *channel);

static gboolean is_socket(int fd)
{
    int type;
    socklen_t length = sizeof(type);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0;
}

QmpChannel *qmp_channel_new(const char *name, int in, int out, GObject *owner,
                            const QmpChannelHandlers *handlers, gpointer opaque)
{
    QmpChannel *channel = g_new0(QmpChannel, 1);

    channel->name = g_strdup(name);
    channel->in = in;
    channel->out = out;
    channel->in_is_socket = is_socket(in);
    channel->out_is_socket = is_socket(out);
    channel->owner = owner;
    channel->handlers = *handlers;
    channel->opaque = opaque;
    channel->output = g_byte_array_new();
    update(channel);
    return channel;
}

static void set_broken(QmpChannel *channel)
{
    channel->broken = TRUE;
    g_byte_array_set_size(channel->output, 0);
}

/* Writes once. */
static void write_some(QmpChannel *channel)
{
    const GByteArray *output = channel->output;
    ssize_t n;

    if (channel->out_is_socket) {
        n = send(channel->out, output->data, output->len, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else {
        n = write(channel->out, output->data, MIN(output->len, PIPE_BUF));
    }
    if (n > 0) {
        g_byte_array_remove_range(channel->output, 0, n);
    } else if (errno != EAGAIN && errno != EINTR) {
        set_broken(channel);
    }
}

/* Takes the descriptors out of a received message. */
static GArray *take_fds(struct msghdr *message)
{
    GArray *fds = NULL;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            fds = fds ? fds : qmp_fds_new();
            g_array_append_vals(fds, CMSG_DATA(c), (c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        }
    }
    return fds;
}

static ssize_t read_some(QmpChannel *channel, void *data, size_t size, GArray **fds)
{
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
    } control;
    struct iovec part = {data, size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t n;

    if (!channel->in_is_socket) {
        return read(channel->in, data, size);
    }
    n = recvmsg(channel->in, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n >= 0) {
        *fds = take_fds(&message);
    }
    return n;
}

static gboolean on_input(gint fd, GIOCondition condition, gpointer opaque)
{
    QmpChannel *channel = opaque;
    char data[INPUT_SIZE];
    GArray *fds = NULL;
    ssize_t n = read_some(channel, data, sizeof(data), &fds);

    (void)fd;
    (void)condition;
    channel->in_source = 0; /* before the handlers, which may call update() */
    if (n > 0) {
        channel->handlers.input(data, n, fds, channel->opaque);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        channel->ended = TRUE;
        channel->handlers.input_end(channel->opaque);
    }
    update(channel);
    return G_SOURCE_REMOVE;
}

static gboolean on_output(gint fd, GIOCondition condition, gpointer opaque)
{
    QmpChannel *channel = opaque;

    (void)fd;
    (void)condition;
    channel->out_source = 0;
    write_some(channel);
    update(channel);
    return G_SOURCE_REMOVE;
}

static gboolean on_close(gpointer opaque)
{
    QmpChannel *channel = opaque;

    channel->close_source = 0;
    channel->handlers.closed(channel->opaque);
    return G_SOURCE_REMOVE;
}

/* Lets SOURCE wait for CONDITION on FD, or not, as WANTED. */
static void set_source(guint *source, gboolean wanted, int fd, GIOCondition condition,
                       GUnixFDSourceFunc function, QmpChannel *channel)
{
    if (wanted && !*source) {
        *source = g_unix_fd_add(fd, condition, function, channel);
    } else if (!wanted && *source) {
        g_source_remove(*source);
        *source = 0;
    }
}

static void update(QmpChannel *channel)
{
    gboolean done =
        channel->ended && channel->output->len == 0 && channel->handlers.is_idle(channel->opaque);
    gboolean reads = !channel->ended && !channel->dropped && channel->output->len < MUCH_OUTPUT &&
                     !channel->handlers.is_full(channel->opaque);

    set_source(&channel->in_source, reads, channel->in, G_IO_IN | G_IO_HUP | G_IO_ERR, on_input,
               channel);
    set_source(&channel->out_source, channel->output->len > 0, channel->out,
               G_IO_OUT | G_IO_HUP | G_IO_ERR, on_output, channel);
    if ((done || channel->dropped) && !channel->close_source) {
        /* Not as an idle source: clients that keep the program busy must not keep it from closing others. */
        channel->close_source = g_idle_add_full(G_PRIORITY_DEFAULT, on_close, channel, NULL);
    }
}

void qmp_channel_write(QmpChannel *channel, const char *text, size_t length)
{
    if (channel->broken) {
        update(channel);
        return;
    }
    if (channel->output->len > MAX_OUTPUT) {
        g_warning("monitor client %s does not read its answers: dropped", channel->name);
        channel->dropped = TRUE;
        set_broken(channel);
    } else {
        g_byte_array_append(channel->output, (const guint8 *)text, length);
    }
    update(channel);
}

/* Whether OUT can be written to without waiting. */
static gboolean is_writable(int fd)
{
    GPollFD poll = {.fd = fd, .events = G_IO_OUT};

    return g_poll(&poll, 1, 0) > 0 && (poll.revents & G_IO_OUT);
}

void qmp_channel_free(QmpChannel *channel)
{
    set_source(&channel->in_source, FALSE, 0, 0, NULL, channel);
    set_source(&channel->out_source, FALSE, 0, 0, NULL, channel);
    g_clear_handle_id(&channel->close_source, g_source_remove);
    while (channel->output->len > 0 && is_writable(channel->out)) {
        write_some(channel);
    }
    g_byte_array_unref(channel->output);
    g_clear_object(&channel->owner);
    g_free(channel->name);
    g_free(channel);
}
