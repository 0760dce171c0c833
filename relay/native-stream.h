/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What both ends of the native stream do alike: opening, frames coming in, keep-alive, last words. Stream thread only. */
#ifndef RELAY_NATIVE_STREAM_H
#define RELAY_NATIVE_STREAM_H

#include "relay/connection.h"
#include "relay/migration.h"

/* Queues our magic and HELLO. */
void relay_native_queue_hello(Connection *connection, const NativeHello *hello);

/* What our own hello says of peer-timeout, and taking note of what the peer's says. */
guint16 relay_native_patience(Migration *migration);
void relay_native_note_patience(Migration *migration, const NativeHello *hello);

/* One frame whose payload is not data. */
typedef struct NativeFrame {
    NativeHeader header;
    const guint8 *payload; /* valid until the next call on the connection */
} NativeFrame;

typedef enum NativeNext {
    NATIVE_NEXT_NONE,  /* not all of it has come yet */
    NATIVE_NEXT_FRAME, /* FRAME is set; relay_native_consume() it afterwards */
    NATIVE_NEXT_ERROR, /* nonsense: ERROR is set */
} NativeNext;

/* Looks at the next buffered frame. For DATA only the header and the number of the first block are waited for. */
NativeNext relay_native_next(Connection *connection, NativeFrame *frame, GError **error);

/* Drops FRAME; of DATA only what comes before the blocks. */
void relay_native_consume(Connection *connection, const NativeFrame *frame);

/* Turns an ERROR frame into an Outcome and an error that says who gave up (PEER: "the destination"). */
Outcome relay_native_peer_error(const NativeFrame *frame, const char *peer, GError **error);

/* Queues a KEEPALIVE when nothing was sent for a third of the smaller peer-timeout. LOST when the peer was silent too long. */
Outcome relay_native_keep_alive(Migration *migration, Connection *connection, GError **error);

/* How long a poll may last, in ms, until the above has something to do. */
int relay_native_poll_timeout(Migration *migration, Connection *connection);

/* Tells the peer why, for a second or a few: CANCELLED and FAILED as an ERROR frame, PAUSED as PAUSE. TRUE: it has closed, too,
 * so it knows. */
gboolean relay_native_say_why(Connection *connection, Outcome outcome, const GError *error);

/* The same without waiting: for a stranger. */
void relay_native_say_why_now(Connection *connection, Outcome outcome, const GError *error);

#endif
