/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sending the proof of concept's stream. Nothing is ever answered on it: a block is gone when it is written, and the only
 * sign that all of it arrived is the peer's orderly close after the end.
 */
#include "relay/outgoing.h"

#include <string.h>

#include "migpage/layout.h"
#include "relay/native-stream.h"
#include "relay/wire-poc.h"

#define CLOSE_AGAIN_MS 10

static void queue_header(Outgoing *o, uint64_t value)
{
    uint64_t header = GUINT64_TO_BE(value);

    relay_connection_queue(o->connection, &header, sizeof(header));
}

static void queue_output(Outgoing *o)
{
    guint8 *blocks;
    uint64_t count;

    if (!relay_connection_is_flushed(o->connection) || o->end_queued) {
        return;
    }
    count = relay_outgoing_ready(o, WINDOW_SEGMENT_BLOCKS, (void **)&blocks);
    for (uint64_t i = 0; i < count; i++) {
        queue_header(o, POC_BLOCK);
        relay_connection_queue_blocks(o->connection, blocks + i * MIGPAGE_BLOCK_SIZE,
                                      MIGPAGE_BLOCK_SIZE);
    }
    if (count > 0) {
        relay_outgoing_sent(o, count);
    } else if (relay_outgoing_all_sent(o)) {
        queue_header(o, POC_END);
        o->end_queued = TRUE;
    }
}

/* The peer has answered, where nothing is ever answered. If it is one of ours it says why it gives up. */
static Outcome take_answer(Outgoing *o, GError **error)
{
    const char *peer = transport_stream_peer(relay_connection_stream(o->connection));
    const guint8 *magic = relay_connection_peek(o->connection, NATIVE_MAGIC_SIZE);
    NativeNext next = NATIVE_NEXT_ERROR;
    NativeFrame frame;

    if (magic && memcmp(magic, NATIVE_MAGIC, NATIVE_MAGIC_SIZE) == 0) {
        relay_connection_consume(o->connection, NATIVE_MAGIC_SIZE);
        next = relay_native_next(o->connection, &frame, NULL);
    }
    if (next == NATIVE_NEXT_FRAME && frame.header.type == NATIVE_ERROR) {
        relay_native_peer_error(&frame, "the destination", error);
    } else {
        g_set_error(
            error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
            "%s answered on the poc wire, where nothing is answered; it may want the native "
            "wire",
            peer);
    }
    return OUTCOME_FAILED;
}

/* The peer may only close, and only after the end. */
static Outcome look_for_close(Outgoing *o, GError **error)
{
    gboolean ended = o->end_queued && relay_connection_is_flushed(o->connection);
    const char *peer = transport_stream_peer(relay_connection_stream(o->connection));

    switch (relay_connection_fill(o->connection, error)) {
    case CONNECTION_END:
        if (relay_connection_buffered(o->connection) > 0) {
            return take_answer(o, error);
        }
        if (ended) {
            return OUTCOME_COMPLETED;
        }
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_NETWORK,
                    "%s closed the connection in mid-stream", peer);
        return OUTCOME_FAILED;
    case CONNECTION_ERROR:
        g_prefix_error(error, "connection to %s broke: ", peer);
        return OUTCOME_FAILED;
    default:
        break;
    }
    return relay_connection_buffered(o->connection) > 0 ? take_answer(o, error) : OUTCOME_GOING_ON;
}

/* Writing failed with CAUSE (taken over). The peer may have said why just before it went. */
static Outcome write_failed(Outgoing *o, GError *cause, GError **error)
{
    if (relay_connection_fill(o->connection, NULL) == CONNECTION_OK) {
        g_error_free(cause);
        return take_answer(o, error);
    }
    g_propagate_prefixed_error(error, cause, "connection to %s broke: ",
                               transport_stream_peer(relay_connection_stream(o->connection)));
    return OUTCOME_FAILED;
}

/* Bytes that do not go out, or a close that does not come, for longer than the peer's patience. */
static Outcome check_patience(Outgoing *o, int *timeout_ms, GError **error)
{
    gint64 patience = (gint64)o->m->parameters->peer_timeout * G_TIME_SPAN_SECOND;
    gboolean flushed = relay_connection_is_flushed(o->connection);
    gint64 left = relay_connection_last_sent(o->connection) + patience - g_get_monotonic_time();

    *timeout_ms = -1;
    if (flushed && !o->end_queued) {
        return OUTCOME_GOING_ON; /* it is our guest that takes its time */
    }
    if (left > 0) {
        *timeout_ms = (int)MIN(left / G_TIME_SPAN_MILLISECOND + 1, G_MAXINT);
        return OUTCOME_GOING_ON;
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_TIMEOUT,
                flushed
                    ? "%s did not close the connection within %" G_GUINT64_FORMAT
                      " s after the end (peer-timeout); whether its guest has everything is not "
                      "known"
                    : "%s has taken nothing for %" G_GUINT64_FORMAT " s (peer-timeout)",
                transport_stream_peer(relay_connection_stream(o->connection)),
                o->m->parameters->peer_timeout);
    return OUTCOME_FAILED;
}

/* Says that nothing more will come, once the end is written. */
static Outcome half_close(Outgoing *o, GError **error)
{
    g_autoptr(GError) reason = NULL;

    if (!o->end_queued || o->end_time || !relay_connection_is_flushed(o->connection)) {
        return OUTCOME_GOING_ON;
    }
    if (!transport_stream_shutdown(relay_connection_stream(o->connection), &reason)) {
        if (g_error_matches(reason, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
            return OUTCOME_GOING_ON; /* TLS: its closing alert finds no room yet */
        }
        g_propagate_prefixed_error(error, g_steal_pointer(&reason), "connection broke: ");
        return OUTCOME_FAILED;
    }
    o->end_time = g_get_monotonic_time();
    return o->one_way ? OUTCOME_COMPLETED : OUTCOME_GOING_ON;
}

Outcome relay_outgoing_poc(Outgoing *o, GError **error)
{
    while (TRUE) {
        Outcome outcome = relay_migration_requested(o->m, error);
        GError *cause = NULL;
        int timeout_ms = -1;

        /* While there is always something to send, a peer that is gone shows when writing. */
        if (outcome == OUTCOME_GOING_ON && !o->one_way && (o->readable || o->end_queued)) {
            o->readable = FALSE;
            outcome = look_for_close(o, error);
        }
        if (outcome != OUTCOME_GOING_ON) {
            return outcome;
        }
        queue_output(o);
        if (relay_connection_flush(o->connection, &cause) == CONNECTION_ERROR) {
            return write_failed(o, cause, error);
        }
        if (relay_connection_is_flushed(o->connection)) {
            relay_outgoing_release(o, o->sent); /* nobody will ask for them again */
        }
        outcome = half_close(o, error);
        if (outcome == OUTCOME_GOING_ON) {
            outcome = check_patience(o, &timeout_ms, error);
        }
        if (outcome != OUTCOME_GOING_ON) {
            return outcome;
        }
        relay_outgoing_wait(o, o->end_queued && !o->end_time ? CLOSE_AGAIN_MS : timeout_ms);
    }
}
