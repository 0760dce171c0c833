/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The incoming channel's stream thread: listens, finds out who connects, lets a wire receive the blocks, takes the source
 * back when its connection broke, and ends the migration.
 *
 * The listening socket stays open for as long as the native source may come back, also after the end: a source that
 * missed the last word gets it then.
 */
#include "relay/incoming.h"

#include "relay/native-stream.h"
#include "relay/page-thread.h"

#define LAST_CLOSE_MS 300

static Outcome turn_connection(Incoming *in, GError **error)
{
    Outcome outcome;

    if (!in->connection) {
        return OUTCOME_GOING_ON;
    }
    outcome = in->poc ? relay_incoming_poc(in, error) : relay_incoming_native(in, error);
    if (outcome == OUTCOME_LOST || outcome == OUTCOME_PAUSED) {
        relay_migration_event(in->m, RELAY_EVENT_LOST, *error);
        g_clear_error(error);
        g_clear_pointer(&in->connection, relay_connection_free);
        return OUTCOME_GOING_ON;
    }
    return outcome;
}

/* A person broke the connection: the source is told not to come back by itself. */
static Outcome pause_connection(Incoming *in, GError **error)
{
    if (in->poc || in->one_way) {
        g_clear_error(error);
        return OUTCOME_GOING_ON;
    }
    relay_migration_event(in->m, RELAY_EVENT_LOST, *error);
    g_clear_error(error);
    in->untold = TRUE;
    if (in->connection) {
        relay_page_hand_over(in->m, NULL); /* a peer that hangs takes its time */
        in->untold = !relay_native_say_why(in->connection, OUTCOME_PAUSED, NULL);
        relay_page_take_over(in->m);
        g_clear_pointer(&in->connection, relay_connection_free);
    }
    return OUTCOME_GOING_ON;
}

static Outcome move_blocks(Incoming *in, GError **error)
{
    Outcome outcome = OUTCOME_GOING_ON;

    while (outcome == OUTCOME_GOING_ON) {
        if (relay_incoming_is_complete(in)) {
            return OUTCOME_COMPLETED; /* whatever else was asked meanwhile */
        }
        outcome = relay_migration_requested(in->m, error);
        if (outcome == OUTCOME_PAUSED) {
            outcome = pause_connection(in, error);
        }
        if (outcome == OUTCOME_GOING_ON) {
            relay_incoming_take_recover_request(in);
            relay_incoming_accept_connections(in);
            outcome = relay_incoming_look_at_candidates(in, error);
        }
        if (outcome == OUTCOME_GOING_ON) {
            outcome = turn_connection(in, error);
        }
        if (outcome == OUTCOME_GOING_ON) {
            relay_incoming_wait(in);
        }
    }
    return outcome;
}

static gboolean told_to_quit(Incoming *in)
{
    gboolean quit;

    g_mutex_lock(&in->m->lock);
    quit = in->m->requests.quit;
    g_mutex_unlock(&in->m->lock);
    return quit;
}

/* The migration is completed. A native source that has not heard so may come back for a while. */
static void linger(Incoming *in)
{
    gint64 patience = (gint64)in->m->parameters->reconnect_timeout * G_TIME_SPAN_SECOND;

    in->linger_until = g_get_monotonic_time() + patience;
    while (!in->poc && !in->one_way && !in->echoed && !told_to_quit(in) &&
           g_get_monotonic_time() < in->linger_until) {
        relay_incoming_accept_connections(in);
        relay_incoming_look_at_candidates(in, NULL);
        if (in->connection) {
            relay_incoming_native_linger(in);
        }
        if (!in->echoed) {
            relay_incoming_wait(in);
        }
    }
}

/* A reader of vsock sees an orderly end, however it is closed. */
static gboolean shows_no_reset(Connection *connection)
{
    return g_str_has_prefix(transport_stream_peer(relay_connection_stream(connection)), "vsock:");
}

/* Nothing is answered on the poc wire, and an orderly close after the end means that all is well. So the connection is reset;
 * but a unix socket knows no reset, and where the end may have been taken off it, any byte in answer tells the source (ours
 * reads the reason). */
static void leave_poc(Incoming *in, Outcome outcome, const GError *error)
{
    if (in->one_way) {
        return;
    }
    transport_stream_abort(relay_connection_stream(in->connection));
    if (in->end_seen || relay_connection_buffered(in->connection) > 0 ||
        shows_no_reset(in->connection)) {
        relay_connection_queue(in->connection, NATIVE_MAGIC, NATIVE_MAGIC_SIZE);
        relay_native_say_why(in->connection, outcome, error);
    }
}

static void end(Incoming *in, Outcome outcome, const GError *error)
{
    relay_page_stop(in->m);
    if (relay_incoming_is_complete(in)) {
        outcome = OUTCOME_COMPLETED; /* it was as soon as the page said so */
    }
    if (outcome == OUTCOME_COMPLETED) {
        in->completed = TRUE;
        relay_migration_set_checksum(in->m, relay_checksum_digest(&in->m->sum));
        relay_migration_finish(in->m, outcome, NULL);
        relay_incoming_refuse_recover_request(in);
        if (!in->poc) {
            relay_incoming_native_done(in);
        }
        linger(in);
        if (in->connection && !told_to_quit(in)) {
            relay_connection_close_orderly(in->connection, LAST_CLOSE_MS);
        }
        return;
    }
    if (in->connection && in->poc) {
        leave_poc(in, outcome, error);
    } else if (in->connection && !in->one_way) {
        relay_native_say_why(in->connection, outcome, error);
    }
    for (guint i = 0; i < in->candidates->len; i++) {
        relay_candidate_leave(in->candidates->pdata[i], outcome,
                              error ? error->message : "cancelled by command");
    }
    /* The port is free and nobody is connected before anybody hears of the end. */
    g_clear_pointer(&in->connection, relay_connection_free);
    relay_incoming_stop_listening(in);
    relay_migration_finish(in->m, outcome, error);
    relay_incoming_refuse_recover_request(in);
}

gpointer relay_incoming_thread(gpointer data)
{
    Migration *m = data;
    Incoming in = {.m = m};
    g_autoptr(GError) error = NULL;
    Outcome outcome;
    gboolean listening = relay_incoming_listen(&in, m->uri, m->fd, &error);

    m->fd = -1;
    if (!listening) {
        m->notify.refused(m->notify.opaque, m->ready, m->ready_opaque, g_steal_pointer(&error));
        return NULL;
    }
    in.candidates = g_ptr_array_new_with_free_func(relay_candidate_free);
    relay_migration_event(m, RELAY_EVENT_START, NULL);
    m->notify.answer(m->notify.opaque, m->ready, m->ready_opaque, NULL);
    outcome = move_blocks(&in, &error);
    end(&in, outcome, error);
    g_clear_pointer(&in.connection, relay_connection_free);
    g_ptr_array_unref(in.candidates);
    relay_incoming_stop_listening(&in);
    m->notify.settled(m->notify.opaque);
    return NULL;
}
