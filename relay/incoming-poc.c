/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Receiving the proof of concept's stream. */
#include "relay/incoming.h"

#include <inttypes.h>
#include <string.h>

#include "migpage/layout.h"
#include "relay/wire-poc.h"

static Outcome take_header(Incoming *in, const guint8 *bytes, GError **error)
{
    uint64_t header;

    memcpy(&header, bytes, sizeof(header));
    header = GUINT64_FROM_BE(header);
    relay_connection_consume(in->connection, POC_HEADER_SIZE);
    switch (header) {
    case POC_BLOCK:
        in->data_left = MIGPAGE_BLOCK_SIZE;
        return OUTCOME_GOING_ON;
    case POC_END:
        in->end_seen = TRUE;
        relay_window_finish(&in->m->window);
        relay_wakeup_signal(&in->m->page_wakeup);
        return OUTCOME_GOING_ON;
    default:
        relay_connection_consume(in->connection, relay_connection_buffered(in->connection));
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                    "unknown header 0x%016" PRIx64 " after block %" PRIu64
                    " of the poc wire (5 and 6 are known)",
                    header, relay_window_produced(&in->m->window));
        return OUTCOME_FAILED;
    }
}

/* Everything that is buffered, as far as the window has room. */
static Outcome take_buffered(Incoming *in, GError **error)
{
    Outcome outcome = OUTCOME_GOING_ON;

    while (outcome == OUTCOME_GOING_ON && !in->end_seen) {
        const guint8 *header;

        if (in->data_left > 0) {
            relay_incoming_receive(in, FALSE, NULL);
            if (in->data_left > 0) {
                break;
            }
        }
        header = relay_connection_peek(in->connection, POC_HEADER_SIZE);
        if (!header) {
            break;
        }
        outcome = take_header(in, header, error);
    }
    if (outcome == OUTCOME_GOING_ON && in->end_seen && !in->one_way &&
        relay_connection_buffered(in->connection) > 0) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER, "more bytes came after the end");
        return OUTCOME_FAILED;
    }
    return outcome;
}

static Outcome broken(Incoming *in, ConnectionResult result, GError **error)
{
    uint64_t blocks = relay_window_produced(&in->m->window);

    if (result == CONNECTION_END) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_NETWORK,
                    "the stream ended after %" PRIu64 " blocks%s, without the end mark", blocks,
                    in->data_left ? " in the middle of a block" : "");
    } else {
        g_prefix_error(error, "the connection broke after %" PRIu64 " blocks: ", blocks);
    }
    return OUTCOME_FAILED;
}

static Outcome check_patience(Incoming *in, GError **error)
{
    gint64 silent = g_get_monotonic_time() - relay_connection_last_received(in->connection);

    if (silent < (gint64)in->m->parameters->peer_timeout * G_TIME_SPAN_SECOND) {
        return OUTCOME_GOING_ON;
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_TIMEOUT,
                "the source has sent nothing for %" PRIu64
                " s (peer-timeout; the poc wire cannot tell a slow guest from a dead host)",
                in->m->parameters->peer_timeout);
    return OUTCOME_FAILED;
}

Outcome relay_incoming_poc(Incoming *in, GError **error)
{
    g_autoptr(GError) local = NULL;
    ConnectionResult result = CONNECTION_OK;
    Outcome outcome = take_buffered(in, error);

    atomic_store(&in->m->acked, relay_window_released(&in->m->window));
    if (outcome != OUTCOME_GOING_ON) {
        return outcome;
    }
    if (in->reset) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_NETWORK,
                    "the source reset the connection after %" PRIu64 " blocks",
                    relay_window_produced(&in->m->window));
        return OUTCOME_FAILED;
    }
    if (in->end_seen || !relay_incoming_has_room(in)) {
        return OUTCOME_GOING_ON;
    }
    result = relay_connection_fill(in->connection, &local);
    outcome = take_buffered(in, error);
    if (outcome != OUTCOME_GOING_ON || in->end_seen) {
        return outcome;
    }
    if (result == CONNECTION_END || result == CONNECTION_ERROR) {
        if (relay_connection_buffered(in->connection) >= POC_HEADER_SIZE + MIGPAGE_BLOCK_SIZE) {
            return OUTCOME_GOING_ON; /* the window is full; the rest is read first */
        }
        relay_replace_error(error, g_steal_pointer(&local));
        return broken(in, result, error);
    }
    return in->one_way ? OUTCOME_GOING_ON : check_patience(in, error);
}
