/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connected stream with what both wires need around it: a buffer for what came in, and a queue of what goes out.
 *
 * Nothing here waits. Blocks that go out are not copied: they are sent from the window, where they stay. Used by the
 * stream thread only.
 */
#ifndef RELAY_CONNECTION_H
#define RELAY_CONNECTION_H

#include "transports/transport.h"

typedef struct Connection Connection;

typedef enum ConnectionResult {
    CONNECTION_OK,      /* something moved, or there was nothing to do */
    CONNECTION_BLOCKED, /* poll first */
    CONNECTION_END,     /* the peer closed in an orderly way */
    CONNECTION_ERROR,   /* ERROR is set */
} ConnectionResult;

/* Takes STREAM over. */
Connection *relay_connection_new(TransportStream *stream);
void relay_connection_free(Connection *connection);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Connection, relay_connection_free)

TransportStream *relay_connection_stream(Connection *connection);

/* ---- Coming in ------------------------------------------------------------------------------------- */

/* Reads what is there, once, behind what is buffered. */
ConnectionResult relay_connection_fill(Connection *connection, GError **error);

/* LENGTH buffered bytes (at most CONNECTION_PEEK_MAX), or NULL while fewer have come. Valid until the next call. */
const guint8 *relay_connection_peek(Connection *connection, size_t length);
#define CONNECTION_PEEK_MAX 16384

/* How many bytes are buffered. */
size_t relay_connection_buffered(Connection *connection);

/* Drops LENGTH bytes that were peeked at. */
void relay_connection_consume(Connection *connection, size_t length);

/* Puts back LENGTH bytes that were just consumed; nothing was read since. */
void relay_connection_unread(Connection *connection, size_t length);

/* Moves up to LENGTH bytes to TARGET: buffered ones, else (for a large LENGTH) straight from the stream. *MOVED may be 0
 * with OK: fill first. */
ConnectionResult relay_connection_read_into(Connection *connection, void *target, size_t length,
                                            size_t *moved, GError **error);

/* ---- Going out ------------------------------------------------------------------------------------- */

/* Queues a copy of LENGTH bytes. FALSE when there is no room: flush first. */
gboolean relay_connection_queue(Connection *connection, const void *bytes, size_t length);

/* Queues LENGTH bytes that stay where they are until the queue is empty. FALSE when there is no room. */
gboolean relay_connection_queue_blocks(Connection *connection, const void *blocks, size_t length);

/* TRUE when everything queued was written. */
gboolean relay_connection_is_flushed(Connection *connection);

/* Writes as much as goes. OK: all is written. */
ConnectionResult relay_connection_flush(Connection *connection, GError **error);

/* Writes what is queued, waiting for at most TIMEOUT_MS: for the last words before a close. */
void relay_connection_flush_wait(Connection *connection, int timeout_ms);

/* Says that nothing more will be written, and reads and drops what still comes until the peer closes, all for at most TIMEOUT_MS:
 * a close with unread bytes would reset the connection, and the last words with it. TRUE: the peer has closed in time. */
gboolean relay_connection_close_orderly(Connection *connection, int timeout_ms);

/* ---- Time ------------------------------------------------------------------------------------------ */

/* When bytes last came, and when they last went or began to wait, g_get_monotonic_time(). At first: when the connection
 * was made. */
gint64 relay_connection_last_received(Connection *connection);
gint64 relay_connection_last_sent(Connection *connection);

/* What to poll for now: reading when WANT_READ, writing while something is queued. Returns how many of POLLFDS (2) were
 * filled in. */
struct pollfd;
int relay_connection_pollfds(Connection *connection, gboolean want_read, struct pollfd *pollfds);

#endif
