/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The outgoing channel's stream thread: connects, lets a wire move the blocks, connects again when the connection
 * breaks, and ends the migration.
 */
#include "relay/outgoing.h"

#include <glib/gstdio.h>

#include "migpage/layout.h"
#include "relay/native-stream.h"
#include "relay/page-thread.h"

#define FIRST_RETRY_MS 50
#define LONGEST_RETRY_MS 2000

/* ---- For the wires --------------------------------------------------------------------------------- */

/* Blocks that the destination has room for. It may come back with less than it promised before. */
static uint64_t credit(Outgoing *o)
{
    uint64_t limit = relay_window_released(&o->m->window) + o->peer_window;

    return limit > o->sent ? limit - o->sent : 0;
}

uint64_t relay_outgoing_ready(Outgoing *o, uint64_t most, void **start)
{
    uint64_t count = relay_window_peek(&o->m->window, o->sent, start);
    uint64_t rate = atomic_load_explicit(&o->m->max_bandwidth, memory_order_relaxed);
    uint64_t allowed;

    count = MIN(MIN(count, most), credit(o));
    if (count > 0) {
        /* Asked once: the macro would ask again, and then it may be more than there is. */
        allowed = relay_rate_limit_allow(&o->limit, rate, g_get_monotonic_time());
        count = MIN(count, allowed / MIGPAGE_BLOCK_SIZE);
    }
    return count;
}

void relay_outgoing_sent(Outgoing *o, uint64_t count)
{
    o->sent += count;
    o->high = MAX(o->high, o->sent);
    relay_checksum_cover(&o->m->sum, &o->m->window, o->high);
    relay_rate_limit_use(&o->limit, count * MIGPAGE_BLOCK_SIZE);
}

gboolean relay_outgoing_all_sent(Outgoing *o)
{
    return relay_window_total(&o->m->window) == o->sent;
}

void relay_outgoing_release(Outgoing *o, uint64_t upto)
{
    atomic_store(&o->m->acked, upto);
    relay_window_release(&o->m->window, upto);
    relay_wakeup_signal(&o->m->page_wakeup);
}

static gboolean has_output(Outgoing *o)
{
    void *start;

    return relay_connection_is_flushed(o->connection) &&
           (relay_outgoing_ready(o, 1, &start) > 0 ||
            (relay_outgoing_all_sent(o) && !o->end_queued));
}

/* A new block is no reason to wake while what was queued is not written, or while there is no credit. */
static WakeupFor reason_to_wake(Outgoing *o)
{
    return relay_connection_is_flushed(o->connection) && credit(o) > 0 ? WAKEUP_BLOCKS
                                                                       : WAKEUP_COMMANDS;
}

static int limit_timeout(Outgoing *o, int timeout_ms)
{
    uint64_t rate = atomic_load_explicit(&o->m->max_bandwidth, memory_order_relaxed);
    void *start;

    if (rate == 0 || relay_window_peek(&o->m->window, o->sent, &start) == 0 ||
        reason_to_wake(o) != WAKEUP_BLOCKS) {
        return timeout_ms;
    }
    /* Blocks are there and only the bucket holds them back. */
    return MIN((unsigned)timeout_ms, (unsigned)MAX(relay_rate_limit_wait(&o->limit, rate), 1));
}

/* When the wait must be over, us; G_MAXINT64: never. */
static gint64 wait_deadline(Outgoing *o, int timeout_ms)
{
    timeout_ms = limit_timeout(o, timeout_ms);
    return timeout_ms < 0 ? G_MAXINT64
                          : g_get_monotonic_time() + timeout_ms * (gint64)G_TIME_SPAN_MILLISECOND;
}

/* FALSE: nothing happened until DEADLINE. */
static gboolean sleep_until(Outgoing *o, gint64 deadline)
{
    struct pollfd pollfds[3];
    nfds_t count = 1 + (nfds_t)relay_connection_pollfds(o->connection, !o->one_way, pollfds + 1);
    gboolean happened;
    gint64 limited, left;

    relay_wakeup_arm(&o->m->stream_wakeup, reason_to_wake(o));
    if (relay_migration_has_request(o->m) || has_output(o)) {
        relay_wakeup_disarm(&o->m->stream_wakeup, FALSE);
        return TRUE;
    }
    limited = wait_deadline(o, -1); /* a limit may have been set since */
    deadline = MIN(deadline, limited);
    left = deadline - g_get_monotonic_time();
    happened = relay_wakeup_poll(&o->m->stream_wakeup, pollfds, count,
                                 deadline == G_MAXINT64 ? -1 : MAX(left, 0));
    o->readable = pollfds[1].revents != 0;
    return happened;
}

/* The page is ours to attend to while there is nothing to do for the stream. */
static void wait_with_page(Outgoing *o, gint64 deadline)
{
    gboolean happened = FALSE;

    while (!happened && g_get_monotonic_time() < deadline) {
        gint64 nap_us = relay_page_attend(o->m);

        happened = nap_us == 0 || sleep_until(o, MIN(deadline, g_get_monotonic_time() + nap_us));
    }
}

void relay_outgoing_wait(Outgoing *o, int timeout_ms)
{
    gint64 deadline;

    if (has_output(o)) {
        return; /* arming would only make the page thread pay for waking us */
    }
    deadline = wait_deadline(o, timeout_ms);
    if (relay_page_is_attended(o->m)) {
        wait_with_page(o, deadline);
    } else {
        sleep_until(o, deadline);
    }
}

/* ---- Connecting ------------------------------------------------------------------------------------ */

static gboolean has_resume_request(Outgoing *o)
{
    gboolean resume;

    g_mutex_lock(&o->m->lock);
    resume = o->m->requests.resume;
    g_mutex_unlock(&o->m->lock);
    return resume;
}

/* A connection that both sides agree on. LOST with o->connection NULL: it could not be made; else the hello broke off. */
static Outcome connect_once(Outgoing *o, gint64 deadline, GError **error)
{
    TransportOptions options = {.cancellable = o->m->cancellable,
                                .deadline = deadline,
                                .tls = o->m->tls,
                                .fd = o->m->fd,
                                .allow_exec = o->m->allow_exec};
    TransportStream *stream;
    Outcome outcome;

    g_clear_pointer(&o->connection, relay_connection_free);
    if (o->m->uri->kind == TRANSPORT_FD && o->m->fd < 0) {
        g_set_error(
            error, SNPRELAY_ERROR, SNPRELAY_ERROR_NETWORK,
            "%s was used up; a descriptor cannot be connected again, resume with another URI",
            o->m->uri->text);
        return OUTCOME_REFUSED;
    }
    g_cancellable_reset(o->m->cancellable);
    outcome = relay_migration_requested(o->m, error);
    if (outcome != OUTCOME_GOING_ON) {
        return outcome;
    }
    if (has_resume_request(o)) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_NETWORK, "told to connect elsewhere");
        return OUTCOME_LOST;
    }
    o->m->fd = -1;
    stream = transport_connect(o->m->uri, &options, error);
    if (!stream) {
        return OUTCOME_LOST;
    }
    o->connection = relay_connection_new(stream);
    o->readable = TRUE;
    o->one_way = transport_stream_is_one_way(stream);
    if (o->one_way && o->accepted) {
        g_clear_pointer(&o->connection, relay_connection_free);
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "%s answers nothing: a paused migration cannot go on there", o->m->uri->text);
        return OUTCOME_REFUSED;
    }
    relay_migration_set_resumable(o->m, !o->poc && !o->one_way);
    o->end_queued = FALSE;
    if (o->poc) {
        o->peer_window = o->m->window.capacity;
        return OUTCOME_GOING_ON;
    }
    return relay_outgoing_native_hello(o, deadline, error);
}

static gint64 connect_deadline(Outgoing *o)
{
    return g_get_monotonic_time() + (gint64)o->m->parameters->connect_timeout * G_TIME_SPAN_SECOND;
}

/* Sleeps for up to TIMEOUT_MS (-1: no limit) or until somebody asks for something. */
static void wait_for_request(Outgoing *o, int timeout_ms)
{
    relay_wakeup_arm(&o->m->stream_wakeup, WAKEUP_COMMANDS);
    if (relay_migration_has_request(o->m) || has_resume_request(o)) {
        relay_wakeup_disarm(&o->m->stream_wakeup, FALSE);
    } else {
        relay_wakeup_sleep(&o->m->stream_wakeup, timeout_ms);
    }
}

/* A request that came while we were connecting explains the end better than "operation was cancelled". */
static Outcome prefer_request(Outgoing *o, Outcome outcome, GError **error)
{
    g_autoptr(GError) reason = NULL;
    Outcome requested;

    if (outcome != OUTCOME_LOST) {
        return outcome;
    }
    requested = relay_migration_requested(o->m, &reason);
    if (requested != OUTCOME_GOING_ON) {
        relay_replace_error(error, g_steal_pointer(&reason));
        return requested;
    }
    return outcome;
}

/* The first connection. One that was made and broke off in the hello is tried again while there is time: nobody can tell
 * how much of the hello the other side has seen. */
static Outcome connect_first(Outgoing *o, GError **error)
{
    gint64 deadline = connect_deadline(o);
    g_autoptr(GError) broken = NULL;
    Outcome outcome;

    while (TRUE) {
        g_clear_error(error);
        outcome = prefer_request(o, connect_once(o, deadline, error), error);
        if (outcome != OUTCOME_LOST || !o->connection || o->m->uri->kind == TRANSPORT_FD ||
            o->m->uri->kind == TRANSPORT_EXEC || g_get_monotonic_time() >= deadline) {
            break;
        }
        g_clear_error(&broken);
        broken = g_steal_pointer(error);
        wait_for_request(o, FIRST_RETRY_MS);
    }
    if (outcome == OUTCOME_LOST && broken) {
        /* Why the peer went away says more than that nobody is there any more. */
        relay_replace_error(error, g_steal_pointer(&broken));
    }
    return outcome == OUTCOME_LOST || outcome == OUTCOME_REFUSED ? OUTCOME_FAILED : outcome;
}

/* Takes over what `snp_migrate -r` asked for, if it did. */
static gboolean take_resume_request(Outgoing *o)
{
    MigrationRequests *requests = &o->m->requests;
    gboolean resume;

    g_mutex_lock(&o->m->lock);
    resume = requests->resume;
    requests->resume = FALSE;
    if (resume && requests->uri) {
        transport_uri_free(o->m->uri);
        o->m->uri = g_steal_pointer(&requests->uri);
        if (o->m->fd >= 0) {
            g_close(o->m->fd, NULL);
        }
        o->m->fd = requests->fd;
        requests->fd = -1;
    }
    g_mutex_unlock(&o->m->lock);
    return resume;
}

/* One that came while another attempt was about to succeed must not undo a later pause. */
static void forget_resume_request(Outgoing *o)
{
    g_mutex_lock(&o->m->lock);
    o->m->requests.resume = FALSE;
    relay_requests_drop_uri(&o->m->requests);
    g_mutex_unlock(&o->m->lock);
}

/* One attempt to go on with the session. LOST: worth another; PAUSED: only when a person says so. */
static Outcome try_again(Outgoing *o, GError **error)
{
    Outcome outcome;

    g_clear_error(error);
    relay_migration_event(o->m, RELAY_EVENT_RECONNECT, NULL);
    outcome = prefer_request(o, connect_once(o, connect_deadline(o), error), error);
    switch (outcome) {
    case OUTCOME_GOING_ON:
        relay_migration_event(o->m, RELAY_EVENT_ACCEPTED, NULL);
        return outcome;
    case OUTCOME_REFUSED:
        outcome = OUTCOME_PAUSED;
        break;
    case OUTCOME_FAILED:
        /* Nonsense from whoever answered there does not harm what is kept here; our own guest's end does. */
        if (!relay_migration_has_request(o->m)) {
            outcome = OUTCOME_PAUSED;
        }
        break;
    default:
        break;
    }
    relay_migration_event(o->m, RELAY_EVENT_LOST, *error);
    return outcome;
}

/* The connection broke (LOST), or was broken on purpose (PAUSED): connects again until it works or something ends it. */
static Outcome reconnect(Outgoing *o, Outcome outcome, GError **error)
{
    gint64 timeout = (gint64)o->m->parameters->reconnect_timeout * G_TIME_SPAN_SECOND;
    gint64 until = outcome == OUTCOME_LOST ? g_get_monotonic_time() + timeout : 0;
    int retry_ms = 0;

    relay_migration_event(o->m, RELAY_EVENT_LOST, *error);
    if (outcome == OUTCOME_PAUSED) {
        relay_native_say_why(o->connection, outcome, NULL);
    }
    g_clear_pointer(&o->connection, relay_connection_free);
    while (outcome == OUTCOME_LOST || outcome == OUTCOME_PAUSED) {
        gboolean by_itself = outcome == OUTCOME_LOST && g_get_monotonic_time() < until;
        g_autoptr(GError) reason = NULL;
        Outcome requested;

        if (!by_itself || retry_ms > 0) {
            wait_for_request(o, by_itself ? retry_ms : -1);
        }
        requested = relay_migration_requested(o->m, &reason);
        if (requested == OUTCOME_CANCELLED || requested == OUTCOME_FAILED) {
            relay_replace_error(error, g_steal_pointer(&reason));
            return requested;
        }
        if (requested == OUTCOME_PAUSED) {
            outcome = OUTCOME_PAUSED;
            continue;
        }
        if (take_resume_request(o)) {
            until = g_get_monotonic_time() + timeout;
            retry_ms = 0;
        } else if (!by_itself) {
            continue;
        }
        outcome = try_again(o, error);
        if (outcome == OUTCOME_GOING_ON) {
            forget_resume_request(o);
        }
        retry_ms = CLAMP(retry_ms * 2, FIRST_RETRY_MS, LONGEST_RETRY_MS);
    }
    return outcome;
}

/* ---- The thread ------------------------------------------------------------------------------------ */

static Outcome move_blocks(Outgoing *o, GError **error)
{
    Outcome outcome = OUTCOME_GOING_ON;
    GError *no_thread = NULL;

    while (outcome == OUTCOME_GOING_ON) {
        outcome = o->poc ? relay_outgoing_poc(o, error) : relay_outgoing_native(o, error);
        if (outcome != OUTCOME_LOST && outcome != OUTCOME_PAUSED) {
            break;
        }
        if (o->poc || o->one_way) {
            return OUTCOME_FAILED;
        }
        if (!relay_page_hand_over(o->m, &no_thread)) {
            relay_replace_error(error, no_thread);
            return OUTCOME_FAILED;
        }
        outcome = reconnect(o, outcome, error);
        relay_page_take_over(o->m);
    }
    return outcome;
}

static Outcome run(Outgoing *o, GError **error)
{
    Outcome outcome = connect_first(o, error);

    if (outcome != OUTCOME_GOING_ON) {
        return outcome;
    }
    if (!relay_page_begin(o->m, error)) {
        return OUTCOME_FAILED;
    }
    relay_migration_event(o->m, RELAY_EVENT_ACCEPTED, NULL);
    return move_blocks(o, error);
}

gpointer relay_outgoing_thread(gpointer data)
{
    Migration *m = data;
    Outgoing o = {.m = m, .poc = g_str_equal(m->wire, "poc")};
    g_autoptr(GError) error = NULL;
    Outcome outcome;

    outcome = run(&o, &error);
    if (o.connection && !o.poc && !o.one_way) {
        relay_native_say_why(o.connection, outcome, error);
    } else if (o.connection && outcome != OUTCOME_COMPLETED) {
        transport_stream_abort(
            relay_connection_stream(o.connection)); /* the only word that this wire has */
    }
    if (outcome == OUTCOME_COMPLETED) {
        relay_migration_set_checksum(m, relay_checksum_digest(&m->sum));
    }
    relay_connection_free(o.connection);
    relay_migration_finish(m, outcome, error);
    /* Descriptors that nobody will use: whoever is at their other end waits. */
    forget_resume_request(&o);
    if (m->fd >= 0) {
        g_close(m->fd, NULL);
        m->fd = -1;
    }
    m->notify.settled(m->notify.opaque);
    return NULL;
}
