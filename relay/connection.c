/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Buffered reading and gathered writing on a stream that never waits. */
#include "relay/connection.h"

#include <poll.h>
#include <string.h>

#define IN_SIZE (64 * 1024)
#define DIRECT_MIN                                                                                 \
    (16 * 1024)          /* below this, one read of a whole buffer costs less than two reads */
#define OUT_VECTORS 1024 /* IOV_MAX on Linux */
#define OUT_COPIES (16 * 1024)

struct Connection {
    TransportStream *stream;
    size_t in_start, in_end;
    guint8 *in;

    int out_first, out_count;
    size_t copies_used;
    struct iovec out[OUT_VECTORS];
    guint8 copies[OUT_COPIES]; /* what OUT refers to, but for blocks */

    gint64 last_received, last_sent;
};

Connection *relay_connection_new(TransportStream *stream)
{
    Connection *connection = g_new0(Connection, 1);

    connection->stream = stream;
    connection->in = g_malloc(IN_SIZE);
    connection->last_received = connection->last_sent = g_get_monotonic_time();
    return connection;
}

void relay_connection_free(Connection *connection)
{
    if (connection) {
        transport_stream_free(connection->stream);
        g_free(connection->in);
        g_free(connection);
    }
}

TransportStream *relay_connection_stream(Connection *connection)
{
    return connection->stream;
}

static ConnectionResult read_once(Connection *connection, void *target, size_t length,
                                  size_t *count, GError **error)
{
    g_autoptr(GError) local = NULL;
    gssize got = transport_stream_read(connection->stream, target, length, &local);

    *count = got > 0 ? (size_t)got : 0;
    if (got > 0) {
        connection->last_received = g_get_monotonic_time();
        return CONNECTION_OK;
    }
    if (got == 0) {
        return CONNECTION_END;
    }
    if (g_error_matches(local, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        return CONNECTION_BLOCKED;
    }
    g_propagate_error(error, g_steal_pointer(&local));
    return CONNECTION_ERROR;
}

ConnectionResult relay_connection_fill(Connection *connection, GError **error)
{
    ConnectionResult result;
    size_t count;

    if (connection->in_start == connection->in_end) {
        connection->in_start = connection->in_end = 0;
    } else if (connection->in_start > IN_SIZE - CONNECTION_PEEK_MAX) {
        memmove(connection->in, connection->in + connection->in_start,
                connection->in_end - connection->in_start);
        connection->in_end -= connection->in_start;
        connection->in_start = 0;
    }
    if (connection->in_end == IN_SIZE) {
        return CONNECTION_OK; /* the reader has enough to go on with */
    }
    result = read_once(connection, connection->in + connection->in_end,
                       IN_SIZE - connection->in_end, &count, error);
    connection->in_end += count;
    return result;
}

const guint8 *relay_connection_peek(Connection *connection, size_t length)
{
    g_assert(length <= CONNECTION_PEEK_MAX);
    if (connection->in_end - connection->in_start < length) {
        return NULL;
    }
    return connection->in + connection->in_start;
}

size_t relay_connection_buffered(Connection *connection)
{
    return connection->in_end - connection->in_start;
}

void relay_connection_consume(Connection *connection, size_t length)
{
    g_assert(length <= connection->in_end - connection->in_start);
    connection->in_start += length;
}

void relay_connection_unread(Connection *connection, size_t length)
{
    g_assert(length <= connection->in_start);
    connection->in_start -= length;
}

ConnectionResult relay_connection_read_into(Connection *connection, void *target, size_t length,
                                            size_t *moved, GError **error)
{
    *moved = MIN(length, connection->in_end - connection->in_start);
    if (*moved > 0) {
        memcpy(target, connection->in + connection->in_start, *moved);
        connection->in_start += *moved;
        return CONNECTION_OK;
    }
    if (length < DIRECT_MIN) {
        return CONNECTION_OK;
    }
    return read_once(connection, target, length, moved, error);
}

static gboolean add_vector(Connection *connection, const void *bytes, size_t length)
{
    if (connection->out_count == OUT_VECTORS) {
        return FALSE;
    }
    if (connection->out_count == 0) {
        connection->last_sent = g_get_monotonic_time(); /* the peer's time to take it begins now */
    }
    connection->out[connection->out_count++] =
        (struct iovec){.iov_base = (void *)bytes, .iov_len = length};
    return TRUE;
}

gboolean relay_connection_queue(Connection *connection, const void *bytes, size_t length)
{
    guint8 *copy = connection->copies + connection->copies_used;

    if (length > OUT_COPIES - connection->copies_used || !add_vector(connection, copy, length)) {
        return FALSE;
    }
    memcpy(copy, bytes, length);
    connection->copies_used += length;
    return TRUE;
}

gboolean relay_connection_queue_blocks(Connection *connection, const void *blocks, size_t length)
{
    return add_vector(connection, blocks, length);
}

gboolean relay_connection_is_flushed(Connection *connection)
{
    return connection->out_count == 0;
}

static void drop_written(Connection *connection, size_t written)
{
    while (written > 0) {
        struct iovec *vector = &connection->out[connection->out_first];

        if (written < vector->iov_len) {
            vector->iov_base = (guint8 *)vector->iov_base + written;
            vector->iov_len -= written;
            return;
        }
        written -= vector->iov_len;
        connection->out_first++;
    }
    if (connection->out_first == connection->out_count) {
        connection->out_first = connection->out_count = 0;
        connection->copies_used = 0;
    }
}

ConnectionResult relay_connection_flush(Connection *connection, GError **error)
{
    while (connection->out_count > 0) {
        g_autoptr(GError) local = NULL;
        gssize written =
            transport_stream_writev(connection->stream, connection->out + connection->out_first,
                                    connection->out_count - connection->out_first, &local);

        if (written < 0) {
            if (g_error_matches(local, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
                return CONNECTION_BLOCKED;
            }
            g_propagate_error(error, g_steal_pointer(&local));
            return CONNECTION_ERROR;
        }
        connection->last_sent = g_get_monotonic_time();
        drop_written(connection, (size_t)written);
    }
    return CONNECTION_OK;
}

static gboolean wait_for_io(int fd, short events, gint64 deadline)
{
    gint64 left = (deadline - g_get_monotonic_time()) / G_TIME_SPAN_MILLISECOND;
    struct pollfd pollfd = {.fd = fd, .events = events};

    return left > 0 && poll(&pollfd, 1, (int)left) > 0;
}

void relay_connection_flush_wait(Connection *connection, int timeout_ms)
{
    gint64 deadline = g_get_monotonic_time() + timeout_ms * G_TIME_SPAN_MILLISECOND;

    while (relay_connection_flush(connection, NULL) == CONNECTION_BLOCKED &&
           wait_for_io(transport_stream_write_fd(connection->stream), POLLOUT, deadline)) {
    }
}

static gboolean shut_down(Connection *connection, gint64 deadline)
{
    while (TRUE) {
        g_autoptr(GError) error = NULL;

        if (transport_stream_shutdown(connection->stream, &error)) {
            return TRUE;
        }
        if (!g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK) ||
            !wait_for_io(transport_stream_write_fd(connection->stream), POLLOUT, deadline)) {
            return FALSE;
        }
    }
}

gboolean relay_connection_close_orderly(Connection *connection, int timeout_ms)
{
    gint64 deadline = g_get_monotonic_time() + timeout_ms * G_TIME_SPAN_MILLISECOND;

    if (!shut_down(connection, deadline)) {
        return FALSE;
    }
    while (TRUE) {
        ConnectionResult result = relay_connection_fill(connection, NULL);

        relay_connection_consume(connection, relay_connection_buffered(connection));
        if ((result != CONNECTION_OK && result != CONNECTION_BLOCKED) ||
            g_get_monotonic_time() >= deadline ||
            (result == CONNECTION_BLOCKED &&
             !wait_for_io(transport_stream_read_fd(connection->stream), POLLIN, deadline))) {
            return result == CONNECTION_END;
        }
    }
}

gint64 relay_connection_last_received(Connection *connection)
{
    return connection->last_received;
}

gint64 relay_connection_last_sent(Connection *connection)
{
    return connection->last_sent;
}

int relay_connection_pollfds(Connection *connection, gboolean want_read, struct pollfd *pollfds)
{
    int read_fd = transport_stream_read_fd(connection->stream);
    int write_fd = transport_stream_write_fd(connection->stream);
    short in = want_read ? POLLIN : 0;
    short out = connection->out_count > 0 ? POLLOUT : 0;

    /* A descriptor that nothing is wanted of is left out: a hang-up on it would wake us again and again. */
    if (read_fd == write_fd) {
        pollfds[0] = (struct pollfd){.fd = in | out ? read_fd : -1, .events = (short)(in | out)};
        return 1;
    }
    pollfds[0] = (struct pollfd){.fd = in ? read_fd : -1, .events = in};
    pollfds[1] = (struct pollfd){.fd = out ? write_fd : -1, .events = out};
    return 2;
}
