/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sending the native stream: hello, data as far as the destination's window goes, acknowledgements, the end. */
#include "relay/outgoing.h"

#include <string.h>

#include "migpage/layout.h"
#include "relay/native-stream.h"

#define LAST_CLOSE_MS 1000
#define TURNS_A_READ 8

static const char peer_role[] = "the destination";

static Outcome lost(Outgoing *o, ConnectionResult result, GError **error)
{
    const char *peer = transport_stream_peer(relay_connection_stream(o->connection));

    if (result == CONNECTION_END) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_NETWORK,
                    "%s closed the connection before it confirmed the end", peer);
    } else {
        g_prefix_error(error, "connection to %s broke: ", peer);
    }
    return OUTCOME_LOST;
}

/* ---- Hello ----------------------------------------------------------------------------------------- */

static void queue_hello(Outgoing *o)
{
    NativeHello hello = {
        .version_min = NATIVE_VERSION,
        .version_max = NATIVE_VERSION,
        .window = (guint32)o->m->window.capacity,
        .position = relay_window_released(&o->m->window),
        .kind = o->accepted ? NATIVE_KIND_RESUME : NATIVE_KIND_START,
        .patience = relay_native_patience(o->m),
    };

    memcpy(hello.session, o->m->session, NATIVE_SESSION_SIZE);
    relay_native_queue_hello(o->connection, &hello);
}

/* Checks the answer and goes on from where the destination wants it. */
static Outcome accept_hello(Outgoing *o, const NativeFrame *frame, GError **error)
{
    NativeHello hello;

    if (!relay_native_decode_hello(frame->payload, frame->header.length, &hello, error)) {
        return OUTCOME_FAILED;
    }
    if (hello.kind != NATIVE_KIND_ACCEPT ||
        memcmp(hello.session, o->m->session, NATIVE_SESSION_SIZE) != 0) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                    "the answer to the hello is not for this session; is that a source, too?");
        return OUTCOME_FAILED;
    }
    if (hello.position < relay_window_released(&o->m->window) || hello.position > o->high) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                    "the destination wants block %" G_GUINT64_FORMAT
                    ", but only blocks %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT
                    " are kept here",
                    hello.position, relay_window_released(&o->m->window), o->high);
        return OUTCOME_FAILED;
    }
    relay_native_note_patience(o->m, &hello);
    o->sent = hello.position;
    o->peer_window = MIN(hello.window, o->m->window.capacity);
    o->accepted = TRUE;
    return OUTCOME_GOING_ON;
}

/* The magic and one frame, or LOST with no error set while they have not come. */
static Outcome read_answer(Outgoing *o, gboolean *complete, GError **error)
{
    const guint8 *magic = relay_connection_peek(o->connection, NATIVE_MAGIC_SIZE);
    Outcome outcome = OUTCOME_GOING_ON;
    NativeFrame frame;

    *complete = FALSE;
    if (!magic) {
        return OUTCOME_GOING_ON;
    }
    if (memcmp(magic, NATIVE_MAGIC, NATIVE_MAGIC_SIZE) != 0) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                    "%s does not speak the native stream; is that an incoming snprelay?",
                    transport_stream_peer(relay_connection_stream(o->connection)));
        return OUTCOME_FAILED;
    }
    relay_connection_consume(o->connection, NATIVE_MAGIC_SIZE);
    switch (relay_native_next(o->connection, &frame, error)) {
    case NATIVE_NEXT_ERROR:
        return OUTCOME_FAILED;
    case NATIVE_NEXT_NONE:
        relay_connection_unread(o->connection, NATIVE_MAGIC_SIZE);
        return OUTCOME_GOING_ON;
    case NATIVE_NEXT_FRAME:
        break;
    }
    *complete = TRUE;
    if (frame.header.type == NATIVE_HELLO) {
        outcome = accept_hello(o, &frame, error);
    } else if (frame.header.type == NATIVE_ERROR) {
        outcome = relay_native_peer_error(&frame, peer_role, error);
    } else {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                    "the destination's first frame is no hello (type %d)", frame.header.type);
        outcome = OUTCOME_FAILED;
    }
    relay_native_consume(o->connection, &frame);
    return outcome;
}

static void wait_until(Outgoing *o, gint64 deadline)
{
    gint64 left = deadline - g_get_monotonic_time();
    struct pollfd pollfds[3];
    nfds_t count = 1 + (nfds_t)relay_connection_pollfds(o->connection, TRUE, pollfds + 1);

    relay_wakeup_arm(&o->m->stream_wakeup, WAKEUP_COMMANDS);
    if (relay_migration_has_request(o->m) || g_cancellable_is_cancelled(o->m->cancellable)) {
        relay_wakeup_disarm(&o->m->stream_wakeup, FALSE);
    } else {
        relay_wakeup_poll(&o->m->stream_wakeup, pollfds, count, MAX(left, 0));
    }
}

Outcome relay_outgoing_native_hello(Outgoing *o, gint64 deadline, GError **error)
{
    gboolean complete = FALSE;

    queue_hello(o);
    if (o->one_way) {
        o->peer_window = o->m->window.capacity;
        return OUTCOME_GOING_ON;
    }
    while (TRUE) {
        Outcome outcome = relay_migration_requested(o->m, error);
        ConnectionResult result;

        if (outcome == OUTCOME_GOING_ON) {
            outcome = read_answer(o, &complete, error);
        }
        if (complete || outcome != OUTCOME_GOING_ON) {
            return outcome;
        }
        if (g_cancellable_set_error_if_cancelled(o->m->cancellable, error)) {
            return OUTCOME_LOST; /* told to connect elsewhere */
        }
        if (g_get_monotonic_time() >= deadline) {
            g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_TIMEOUT,
                        "%s did not answer the hello within %" G_GUINT64_FORMAT
                        " s (connect-timeout)",
                        transport_stream_peer(relay_connection_stream(o->connection)),
                        o->m->parameters->connect_timeout);
            return OUTCOME_LOST;
        }
        result = relay_connection_flush(o->connection, error);
        if (result != CONNECTION_ERROR) {
            result = relay_connection_fill(o->connection, error);
        }
        if (result == CONNECTION_BLOCKED) {
            wait_until(o, deadline);
        } else if (result != CONNECTION_OK) {
            return lost(o, result, error);
        }
    }
}

/* ---- The stream ------------------------------------------------------------------------------------ */

static Outcome take_ack(Outgoing *o, const NativeFrame *frame, GError **error)
{
    uint64_t blocks;

    relay_native_decode_ack(frame->payload, &blocks);
    if (blocks < relay_window_released(&o->m->window) || blocks > o->sent) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                    "the destination acknowledged %" G_GUINT64_FORMAT " blocks; %" G_GUINT64_FORMAT
                    " were sent",
                    blocks, o->sent);
        return OUTCOME_FAILED;
    }
    relay_outgoing_release(o, blocks);
    return OUTCOME_GOING_ON;
}

static Outcome take_done(Outgoing *o, const NativeFrame *frame, GError **error)
{
    uint64_t blocks, checksum, ours = relay_checksum_digest(&o->m->sum);
    guint8 echo[NATIVE_FRAME_MAX];

    relay_native_decode_end(frame->payload, &blocks, &checksum);
    if (!o->end_queued || blocks != o->sent || checksum != ours) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                    "the destination confirmed another stream: %" G_GUINT64_FORMAT
                    " blocks with checksum %016" G_GINT64_MODIFIER "x, not %" G_GUINT64_FORMAT
                    " with %016" G_GINT64_MODIFIER "x",
                    blocks, checksum, o->sent, ours);
        return OUTCOME_FAILED;
    }
    relay_outgoing_release(o, blocks);
    /* The echo lets the destination go. If it is lost, the destination just waits in vain for a while. */
    relay_connection_queue(o->connection, echo,
                           relay_native_encode_end(echo, NATIVE_DONE, blocks, checksum));
    return OUTCOME_COMPLETED;
}

static Outcome take_frame(Outgoing *o, const NativeFrame *frame, GError **error)
{
    switch (frame->header.type) {
    case NATIVE_ACK:
        return take_ack(o, frame, error);
    case NATIVE_DONE:
        return take_done(o, frame, error);
    case NATIVE_KEEPALIVE:
        return OUTCOME_GOING_ON;
    case NATIVE_ERROR: {
        Outcome outcome = relay_native_peer_error(frame, peer_role, error);

        return outcome == OUTCOME_REFUSED ? OUTCOME_LOST : outcome;
    }
    case NATIVE_PAUSE:
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_NETWORK, "paused at the destination");
        return OUTCOME_PAUSED;
    default:
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                    "a frame of type %d cannot come from a destination", frame->header.type);
        return OUTCOME_FAILED;
    }
}

static Outcome read_frames(Outgoing *o, GError **error)
{
    g_autoptr(GError) broken = NULL;
    ConnectionResult result = relay_connection_fill(o->connection, &broken);
    Outcome outcome = OUTCOME_GOING_ON;
    NativeFrame frame;

    while (outcome == OUTCOME_GOING_ON) {
        NativeNext next = relay_native_next(o->connection, &frame, error);

        if (next == NATIVE_NEXT_ERROR) {
            return OUTCOME_FAILED;
        }
        if (next == NATIVE_NEXT_NONE) {
            break;
        }
        outcome = take_frame(o, &frame, error);
        relay_native_consume(o->connection, &frame);
    }
    /* What the peer said last explains more than how the connection ended. */
    if (outcome == OUTCOME_GOING_ON && (result == CONNECTION_END || result == CONNECTION_ERROR)) {
        relay_replace_error(error, g_steal_pointer(&broken));
        return lost(o, result, error);
    }
    return outcome;
}

/* Queues the next blocks, or the end after the last of them. */
static void queue_output(Outgoing *o)
{
    guint8 frame[NATIVE_FRAME_MAX];
    void *blocks;
    uint64_t count;

    if (!relay_connection_is_flushed(o->connection)) {
        return;
    }
    count = relay_outgoing_ready(o, NATIVE_BLOCKS_MAX, &blocks);
    if (count > 0) {
        relay_connection_queue(o->connection, frame,
                               relay_native_encode_data_header(frame, o->sent, (guint32)count));
        relay_connection_queue_blocks(o->connection, blocks, count * MIGPAGE_BLOCK_SIZE);
        relay_outgoing_sent(o, count);
    } else if (relay_outgoing_all_sent(o) && !o->end_queued) {
        relay_connection_queue(
            o->connection, frame,
            relay_native_encode_end(frame, NATIVE_END, o->sent, relay_checksum_digest(&o->m->sum)));
        o->end_queued = TRUE;
    }
}

/* Writing failed with CAUSE (taken over). The peer may have said why just before it went. */
static Outcome write_failed(Outgoing *o, GError *cause, GError **error)
{
    g_autoptr(GError) last_words = NULL;
    Outcome outcome = read_frames(o, &last_words);

    if (outcome == OUTCOME_GOING_ON || outcome == OUTCOME_LOST) {
        g_propagate_error(error, cause);
        return lost(o, CONNECTION_ERROR, error);
    }
    g_error_free(cause);
    relay_replace_error(error, g_steal_pointer(&last_words));
    return outcome;
}

/* A file: the end is written, and is on the disk when this succeeds. */
static Outcome finish_one_way(Outgoing *o, GError **error)
{
    if (!transport_stream_shutdown(relay_connection_stream(o->connection), error)) {
        return OUTCOME_FAILED;
    }
    return OUTCOME_COMPLETED;
}

Outcome relay_outgoing_native(Outgoing *o, GError **error)
{
    unsigned turns = 0;

    while (TRUE) {
        Outcome outcome = relay_migration_requested(o->m, error);
        GError *cause = NULL;

        if (outcome == OUTCOME_CANCELLED && !o->one_way &&
            read_frames(o, NULL) == OUTCOME_COMPLETED) {
            outcome = OUTCOME_COMPLETED; /* the destination's word came first */
        }
        /* While there is always something to send nothing is polled: then look now and then. */
        if (outcome == OUTCOME_GOING_ON && !o->one_way &&
            (o->readable || ++turns % TURNS_A_READ == 0)) {
            o->readable = FALSE;
            outcome = read_frames(o, error);
        }
        if (outcome == OUTCOME_GOING_ON && !o->one_way) {
            outcome = relay_native_keep_alive(o->m, o->connection, error);
        }
        if (outcome == OUTCOME_COMPLETED) {
            relay_connection_flush_wait(o->connection, LAST_CLOSE_MS);
            relay_connection_close_orderly(o->connection, LAST_CLOSE_MS);
        }
        if (outcome != OUTCOME_GOING_ON) {
            return outcome;
        }
        queue_output(o);
        if (relay_connection_flush(o->connection, &cause) == CONNECTION_ERROR) {
            return write_failed(o, cause, error);
        }
        if (o->one_way && relay_connection_is_flushed(o->connection)) {
            relay_outgoing_release(o, o->sent); /* nobody will acknowledge them */
            if (o->end_queued) {
                return finish_one_way(o, error);
            }
        }
        relay_outgoing_wait(o, o->one_way ? -1 : relay_native_poll_timeout(o->m, o->connection));
    }
}
