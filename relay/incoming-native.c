/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Receiving the native stream: data in order, acknowledged after the guest has read it, and the end. */
#include "relay/incoming.h"

#include <inttypes.h>
#include <string.h>

#include "migpage/layout.h"
#include "relay/native-stream.h"

#define ACKS_A_WINDOW 8
#define ACK_MS 4

static const char peer_role[] = "the source";

/* First block that has not come whole. */
static uint64_t wanted(Incoming *in)
{
    return relay_window_produced(&in->m->window);
}

static void queue_ack(Incoming *in, uint64_t read)
{
    guint8 frame[NATIVE_FRAME_MAX];

    relay_connection_queue(in->connection, frame, relay_native_encode_ack(frame, read));
    atomic_store(&in->m->acked, read);
    in->acked_at = g_get_monotonic_time();
}

void relay_incoming_native_accept(Incoming *in, const NativeHello *hello)
{
    NativeHello answer = {
        .version_min = NATIVE_VERSION,
        .version_max = NATIVE_VERSION,
        .window = in->window,
        .position = wanted(in),
        .kind = NATIVE_KIND_ACCEPT,
        .patience = relay_native_patience(in->m),
    };

    relay_native_note_patience(in->m, hello);
    memcpy(answer.session, hello->session, NATIVE_SESSION_SIZE);
    relay_native_queue_hello(in->connection, &answer);
    if (relay_window_released(&in->m->window) > 0) {
        queue_ack(in, relay_window_released(&in->m->window)); /* the last one may have been lost */
    }
    in->data_left = 0;
    in->block_filled = 0; /* a block that was cut comes again from its beginning */
    in->end_seen = FALSE;
}

/* ---- Frames ---------------------------------------------------------------------------------------- */

static Outcome nonsense(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static Outcome nonsense(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_propagate_error(error, g_error_new_valist(SNPRELAY_ERROR, SNPRELAY_ERROR_PEER, format, args));
    va_end(args);
    return OUTCOME_FAILED;
}

static Outcome take_data(Incoming *in, const NativeFrame *frame, GError **error)
{
    uint64_t first, room;
    guint32 blocks;

    relay_native_decode_data_header(frame->payload, frame->header.length, &first, &blocks);
    room = relay_window_released(&in->m->window) + in->window - wanted(in);
    if (relay_window_total(&in->m->window) != WINDOW_OPEN) {
        return nonsense(error, "block %" PRIu64 " came after the end, at block %" PRIu64, first,
                        wanted(in));
    }
    if (first != wanted(in)) {
        return nonsense(error, "block %" PRIu64 " came where block %" PRIu64 " was due", first,
                        wanted(in));
    }
    if (!in->one_way && blocks > room) {
        return nonsense(error, "%u blocks came where %" PRIu64 " had room (window)", blocks, room);
    }
    in->data_left = (uint64_t)blocks * MIGPAGE_BLOCK_SIZE;
    return OUTCOME_GOING_ON;
}

static Outcome take_end(Incoming *in, const NativeFrame *frame, GError **error)
{
    uint64_t blocks, ours;

    relay_checksum_cover(&in->m->sum, &in->m->window, wanted(in));
    ours = relay_checksum_digest(&in->m->sum);
    relay_native_decode_end(frame->payload, &blocks, &in->end_checksum);
    if (blocks != wanted(in) || in->end_checksum != ours) {
        return nonsense(error,
                        "the stream is damaged: its end speaks of %" PRIu64
                        " blocks with checksum %016" PRIx64 ", but %" PRIu64
                        " with checksum %016" PRIx64 " came",
                        blocks, in->end_checksum, wanted(in), ours);
    }
    in->end_seen = TRUE;
    relay_window_finish(&in->m->window);
    relay_wakeup_signal(&in->m->page_wakeup);
    return OUTCOME_GOING_ON;
}

static Outcome take_frame(Incoming *in, const NativeFrame *frame, GError **error)
{
    switch (frame->header.type) {
    case NATIVE_DATA:
        return take_data(in, frame, error);
    case NATIVE_END:
        return take_end(in, frame, error);
    case NATIVE_KEEPALIVE:
        return OUTCOME_GOING_ON;
    case NATIVE_ERROR: {
        Outcome outcome = relay_native_peer_error(frame, peer_role, error);

        return outcome == OUTCOME_REFUSED ? OUTCOME_LOST : outcome;
    }
    case NATIVE_PAUSE:
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_NETWORK, "paused at the source");
        return OUTCOME_PAUSED;
    case NATIVE_DONE:
        in->echoed = in->completed;
        return in->completed ? OUTCOME_GOING_ON
                             : nonsense(error, "the source confirmed an end that it was not told");
    default:
        return nonsense(error, "a frame of type %d cannot come from a source", frame->header.type);
    }
}

/* Everything that is buffered, as far as the window has room. */
static Outcome take_buffered(Incoming *in, GError **error)
{
    Outcome outcome = OUTCOME_GOING_ON;

    /* What lies behind the end in a file is none of ours. */
    while (outcome == OUTCOME_GOING_ON && !(in->one_way && in->end_seen)) {
        NativeFrame frame;

        relay_incoming_receive(in, FALSE, NULL);
        if (in->data_left > 0) {
            break;
        }
        switch (relay_native_next(in->connection, &frame, error)) {
        case NATIVE_NEXT_ERROR:
            return OUTCOME_FAILED;
        case NATIVE_NEXT_NONE:
            return OUTCOME_GOING_ON;
        case NATIVE_NEXT_FRAME:
            break;
        }
        outcome = take_frame(in, &frame, error);
        relay_native_consume(in->connection, &frame);
    }
    return outcome;
}

static Outcome lost(Incoming *in, ConnectionResult result, GError **error)
{
    const char *peer = transport_stream_peer(relay_connection_stream(in->connection));

    if (result == CONNECTION_END) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_NETWORK,
                    "%s closed the connection after %" PRIu64 " blocks, before the end", peer,
                    wanted(in));
    } else {
        g_prefix_error(error, "connection to %s broke after %" PRIu64 " blocks: ", peer,
                       wanted(in));
    }
    return in->one_way ? OUTCOME_FAILED : OUTCOME_LOST;
}

/* The end of a file is no break: its END frame came, or there was no room in the window for all that is buffered. (There may
 * be by now: the page thread goes on.) */
static gboolean ends_well(Incoming *in)
{
    return in->one_way &&
           (in->end_seen || (in->data_left > 0 && relay_connection_buffered(in->connection) > 0));
}

/* One read: straight into the window in the middle of a large DATA frame, else into the buffer. */
static ConnectionResult read_bytes(Incoming *in, GError **error)
{
    uint64_t before = in->data_left;
    ConnectionResult result = relay_incoming_receive(in, TRUE, error);

    if (result == CONNECTION_OK && in->data_left == before &&
        (in->data_left == 0 || relay_incoming_has_room(in))) {
        result = relay_connection_fill(in->connection, error);
    }
    return result;
}

static Outcome read_once(Incoming *in, GError **error)
{
    g_autoptr(GError) broken = NULL;
    ConnectionResult result;
    Outcome outcome = take_buffered(in, error);

    if (outcome != OUTCOME_GOING_ON) {
        return outcome;
    }
    result = read_bytes(in, &broken);
    outcome = take_buffered(in, error);
    if (outcome == OUTCOME_GOING_ON && (result == CONNECTION_END || result == CONNECTION_ERROR) &&
        !ends_well(in)) {
        relay_replace_error(error, g_steal_pointer(&broken));
        return lost(in, result, error);
    }
    return outcome;
}

/* ---- Answers --------------------------------------------------------------------------------------- */

/* Writing failed with CAUSE (taken over). The peer may have said why just before it went. */
static Outcome write_failed(Incoming *in, GError *cause, GError **error)
{
    g_autoptr(GError) last_words = NULL;
    Outcome outcome = read_once(in, &last_words);

    if (outcome == OUTCOME_GOING_ON || outcome == OUTCOME_LOST) {
        g_propagate_error(error, cause);
        return lost(in, CONNECTION_ERROR, error);
    }
    g_error_free(cause);
    relay_replace_error(error, g_steal_pointer(&last_words));
    return outcome;
}

/* Acknowledgements only free the source's window, so they can wait until a good part of it has been read or a few
 * milliseconds have passed. Each would wake the source's stream thread. */
static gboolean must_acknowledge(Incoming *in, uint64_t read, gint64 now)
{
    uint64_t news = read - atomic_load(&in->m->acked);

    return news > 0 && relay_connection_is_flushed(in->connection) &&
           (news >= in->window / ACKS_A_WINDOW || in->end_seen ||
            now - in->acked_at >= ACK_MS * G_TIME_SPAN_MILLISECOND);
}

static Outcome answer(Incoming *in, GError **error)
{
    uint64_t read = relay_window_released(&in->m->window);
    GError *cause = NULL;

    if (in->one_way) {
        atomic_store(&in->m->acked, read);
        return OUTCOME_GOING_ON;
    }
    if (must_acknowledge(in, read, g_get_monotonic_time())) {
        queue_ack(in, read);
    }
    if (relay_connection_flush(in->connection, &cause) == CONNECTION_ERROR) {
        return write_failed(in, cause, error);
    }
    return OUTCOME_GOING_ON;
}

static void queue_done(Incoming *in)
{
    guint8 frame[NATIVE_FRAME_MAX];

    relay_connection_queue(
        in->connection, frame,
        relay_native_encode_end(frame, NATIVE_DONE, wanted(in), in->end_checksum));
    relay_connection_flush(in->connection, NULL);
}

Outcome relay_incoming_native(Incoming *in, GError **error)
{
    Outcome outcome = read_once(in, error);

    if (outcome == OUTCOME_GOING_ON && !in->one_way) {
        outcome = relay_native_keep_alive(in->m, in->connection, error);
    }
    if (outcome == OUTCOME_GOING_ON) {
        outcome = answer(in, error);
    }
    return outcome;
}

void relay_incoming_native_done(Incoming *in)
{
    if (in->connection && in->end_seen && !in->one_way) {
        answer(in, NULL);
        in->resumed = FALSE;
        queue_done(in);
    }
}

void relay_incoming_native_linger(Incoming *in)
{
    Outcome outcome = read_once(in, NULL);

    if (outcome == OUTCOME_GOING_ON && in->end_seen && !in->echoed &&
        relay_connection_is_flushed(in->connection) && in->data_left == 0 && in->resumed) {
        in->resumed = FALSE; /* a source that came back has sent its end again */
        queue_done(in);
    }
    if (relay_connection_flush(in->connection, NULL) == CONNECTION_ERROR ||
        outcome != OUTCOME_GOING_ON) {
        g_clear_pointer(&in->connection, relay_connection_free);
    }
}
