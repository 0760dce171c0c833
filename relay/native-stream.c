/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The native stream's common part. */
#include "relay/native-stream.h"

#include <string.h>

#include "migpage/layout.h"

#define LAST_WORDS_MS 1000
#define KEEP_ALIVES 3 /* in the time after which the peer loses patience */

G_STATIC_ASSERT(NATIVE_HEADER_SIZE + NATIVE_PAYLOAD_MAX <= CONNECTION_PEEK_MAX);

void relay_native_queue_hello(Connection *connection, const NativeHello *hello)
{
    guint8 frame[NATIVE_FRAME_MAX];

    relay_connection_queue(connection, NATIVE_MAGIC, NATIVE_MAGIC_SIZE);
    relay_connection_queue(connection, frame, relay_native_encode_hello(frame, hello));
}

NativeNext relay_native_next(Connection *connection, NativeFrame *frame, GError **error)
{
    const guint8 *bytes = relay_connection_peek(connection, NATIVE_HEADER_SIZE);
    size_t wanted;

    if (!bytes) {
        return NATIVE_NEXT_NONE;
    }
    if (!relay_native_decode_header(bytes, &frame->header, error)) {
        return NATIVE_NEXT_ERROR;
    }
    wanted = frame->header.type == NATIVE_DATA ? NATIVE_DATA_HEADER_SIZE : frame->header.length;
    bytes = relay_connection_peek(connection, NATIVE_HEADER_SIZE + wanted);
    if (!bytes) {
        return NATIVE_NEXT_NONE;
    }
    frame->payload = bytes + NATIVE_HEADER_SIZE;
    return NATIVE_NEXT_FRAME;
}

void relay_native_consume(Connection *connection, const NativeFrame *frame)
{
    size_t payload =
        frame->header.type == NATIVE_DATA ? NATIVE_DATA_HEADER_SIZE : frame->header.length;

    relay_connection_consume(connection, NATIVE_HEADER_SIZE + payload);
}

Outcome relay_native_peer_error(const NativeFrame *frame, const char *peer, GError **error)
{
    g_autofree char *text = NULL;
    NativeReason reason;

    relay_native_decode_error(frame->payload, frame->header.length, &reason, &text);
    switch (reason) {
    case NATIVE_REASON_CANCELLED:
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_CANCELLED, "%s cancelled: %s", peer,
                    text);
        return OUTCOME_CANCELLED;
    case NATIVE_REASON_REFUSED:
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER, "%s refused: %s", peer, text);
        return OUTCOME_REFUSED;
    default:
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER, "%s gave up: %s", peer, text);
        return OUTCOME_FAILED;
    }
}

guint16 relay_native_patience(Migration *m)
{
    return (guint16)MIN(m->parameters->peer_timeout, G_MAXUINT16);
}

void relay_native_note_patience(Migration *m, const NativeHello *hello)
{
    m->peer_patience = hello->patience * G_TIME_SPAN_SECOND;
}

static gint64 own_patience(Migration *m)
{
    return (gint64)m->parameters->peer_timeout * G_TIME_SPAN_SECOND;
}

/* How long we may be silent. */
static gint64 speak_after(Migration *m)
{
    gint64 patience = own_patience(m);

    return (m->peer_patience ? MIN(m->peer_patience, patience) : patience) / KEEP_ALIVES;
}

Outcome relay_native_keep_alive(Migration *m, Connection *connection, GError **error)
{
    gint64 now = g_get_monotonic_time();
    guint8 frame[NATIVE_FRAME_MAX];

    if (now - relay_connection_last_received(connection) >= own_patience(m)) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_TIMEOUT,
                    "%s has been silent for %" G_GUINT64_FORMAT " s (peer-timeout)",
                    transport_stream_peer(relay_connection_stream(connection)),
                    m->parameters->peer_timeout);
        return OUTCOME_LOST;
    }
    if (now - relay_connection_last_sent(connection) >= speak_after(m) &&
        relay_connection_is_flushed(connection)) {
        relay_connection_queue(connection, frame,
                               relay_native_encode_header(frame, NATIVE_KEEPALIVE, 0));
    }
    return OUTCOME_GOING_ON;
}

int relay_native_poll_timeout(Migration *m, Connection *connection)
{
    gint64 speak = relay_connection_last_sent(connection) + speak_after(m);
    gint64 listen = relay_connection_last_received(connection) + own_patience(m);
    gint64 now = g_get_monotonic_time();
    gint64 next = relay_connection_is_flushed(connection) ? MIN(speak, listen) : listen;

    return (int)CLAMP((next - now) / G_TIME_SPAN_MILLISECOND + 1, 0, G_MAXINT);
}

static gboolean say_why(Connection *connection, Outcome outcome, const GError *error,
                        int timeout_ms)
{
    guint8 frame[NATIVE_FRAME_MAX];
    NativeReason reason;
    size_t length;

    switch (outcome) {
    case OUTCOME_PAUSED:
        reason = 0;
        break;
    case OUTCOME_CANCELLED:
        reason = NATIVE_REASON_CANCELLED;
        break;
    case OUTCOME_REFUSED:
        reason = NATIVE_REASON_REFUSED;
        break;
    case OUTCOME_FAILED:
        reason = NATIVE_REASON_FAILED;
        break;
    default:
        return FALSE;
    }
    length = reason
                 ? relay_native_encode_error(frame, reason, error ? error->message : "by command")
                 : relay_native_encode_header(frame, NATIVE_PAUSE, 0);
    /* A frame that was begun must be finished first. */
    relay_connection_flush_wait(connection, timeout_ms);
    if (!relay_connection_is_flushed(connection) ||
        !relay_connection_queue(connection, frame, length)) {
        return FALSE;
    }
    relay_connection_flush_wait(connection, timeout_ms);
    return relay_connection_close_orderly(connection, timeout_ms);
}

gboolean relay_native_say_why(Connection *connection, Outcome outcome, const GError *error)
{
    return say_why(connection, outcome, error, LAST_WORDS_MS);
}

void relay_native_say_why_now(Connection *connection, Outcome outcome, const GError *error)
{
    say_why(connection, outcome, error, 0);
}
