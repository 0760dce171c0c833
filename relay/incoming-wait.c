/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the incoming channel's stream thread waits for, and for how long. */
#include "relay/incoming.h"

#include "relay/native-stream.h"
#include "relay/page-thread.h"

#define LISTEN_FDS_MAX 32
#define TURNS_A_POLL 8        /* while the page always has something to do */
#define ANSWER_MS 5           /* how late an acknowledgement may be while blocks are being read */
#define STALLED_MS 1000       /* a guest that has read nothing for so long ... */
#define STALLED_ANSWER_MS 100 /* ... is looked at less often */

/* Looked at between arming the wake-up and sleeping. */
static gboolean has_something_to_do(Incoming *in)
{
    gboolean has;

    if (!in->completed && relay_migration_has_request(in->m)) {
        return TRUE;
    }
    g_mutex_lock(&in->m->lock);
    has = in->m->requests.quit || (!in->completed && in->m->requests.uri);
    g_mutex_unlock(&in->m->lock);
    return has;
}

static gint64 earliest_deadline(Incoming *in)
{
    gint64 earliest = in->linger_until ? in->linger_until : G_MAXINT64;

    if (in->accept_again > g_get_monotonic_time()) {
        earliest = MIN(earliest, in->accept_again);
    }
    for (guint i = 0; i < in->candidates->len; i++) {
        earliest = MIN(earliest, relay_candidate_deadline(in->candidates->pdata[i]));
    }
    return earliest;
}

static gboolean wants_bytes(Incoming *in)
{
    if (in->poc) {
        return !in->end_seen && relay_incoming_has_room(in);
    }
    return in->one_way ? !in->end_seen && relay_incoming_has_room(in) : TRUE;
}

/* While the guest reads, nobody wakes this thread for each block: how long the poll may last. */
static int answer_timeout(Incoming *in)
{
    gint64 since = atomic_load(&in->m->guest_waiting);
    gboolean stalled =
        since > 0 && g_get_monotonic_time() - since > STALLED_MS * G_TIME_SPAN_MILLISECOND;

    if (!in->begun || in->completed || !in->connection ||
        relay_window_produced(&in->m->window) == atomic_load(&in->m->acked)) {
        return G_MAXINT;
    }
    return stalled ? STALLED_ANSWER_MS : ANSWER_MS;
}

static int stream_timeout(Incoming *in)
{
    gint64 left = earliest_deadline(in) - g_get_monotonic_time();
    int timeout = (int)CLAMP(left / G_TIME_SPAN_MILLISECOND + 1, 0, G_MAXINT);
    int answer = answer_timeout(in), keep_alive;

    if (in->connection && !in->poc && !in->one_way && !in->completed) {
        keep_alive = relay_native_poll_timeout(in->m, in->connection);
        timeout = MIN(timeout, keep_alive);
    }
    if (in->connection && in->poc && !in->end_seen) {
        timeout = MIN(timeout, 1000);
    }
    return MIN(timeout, answer);
}

typedef struct Polled {
    struct pollfd fds[1 + LISTEN_FDS_MAX + 2 * (CANDIDATES_MAX + 1)];
    nfds_t listeners_end; /* they are from 1 on */
    nfds_t source;        /* behind the candidates' */
    nfds_t count;
    gboolean watched; /* nothing is wanted of the source but to hear that it is gone */
} Polled;

/* On the poc wire a full window stops the reading, and with it the only way to notice that the source has gone, but for a
 * reset. An orderly close is none: the source may have written everything. */
static void poll_connection(Incoming *in, Polled *polled)
{
    struct pollfd *pollfds = polled->fds + polled->source;

    polled->watched = in->poc && !wants_bytes(in) && !in->end_seen && !in->hung_up;
    if (polled->watched) {
        pollfds[0] = (struct pollfd){
            .fd = transport_stream_read_fd(relay_connection_stream(in->connection))};
        polled->count = polled->source + 1;
    } else {
        polled->count = polled->source +
                        (nfds_t)relay_connection_pollfds(in->connection, wants_bytes(in), pollfds);
    }
}

static void collect_pollfds(Incoming *in, Polled *polled)
{
    nfds_t count = 1;

    if (in->listener && g_get_monotonic_time() >= in->accept_again) {
        size_t listening;
        const int *fds = transport_listener_fds(in->listener, &listening);

        for (size_t i = 0; i < MIN(listening, LISTEN_FDS_MAX); i++) {
            polled->fds[count++] = (struct pollfd){.fd = fds[i], .events = POLLIN};
        }
    }
    polled->listeners_end = count;
    for (guint i = 0; i < in->candidates->len; i++) {
        Connection *connection = relay_candidate_connection(in->candidates->pdata[i]);

        count += (nfds_t)relay_connection_pollfds(connection, TRUE, polled->fds + count);
    }
    polled->source = polled->count = count;
    polled->watched = FALSE;
    if (in->connection) {
        poll_connection(in, polled);
    }
}

static void note_events(Incoming *in, const Polled *polled)
{
    for (nfds_t i = 1; i < polled->listeners_end; i++) {
        in->knocked = in->knocked || polled->fds[i].revents != 0;
    }
    if (polled->watched) {
        in->reset = (polled->fds[polled->source].revents & POLLERR) != 0;
        in->hung_up = in->hung_up || (polled->fds[polled->source].revents & POLLHUP) != 0;
    }
}

/* FALSE: nothing happened until DEADLINE. */
static gboolean sleep_until(Incoming *in, Polled *polled, gint64 deadline)
{
    gint64 left = deadline - g_get_monotonic_time();
    gboolean happened;

    relay_wakeup_arm(&in->m->stream_wakeup, WAKEUP_BLOCKS);
    if (has_something_to_do(in) || (relay_incoming_is_complete(in) && !in->completed)) {
        relay_wakeup_disarm(&in->m->stream_wakeup, FALSE);
        return TRUE;
    }
    happened = relay_wakeup_poll(&in->m->stream_wakeup, polled->fds, polled->count, MAX(left, 0));
    note_events(in, polled);
    return happened;
}

/* The page is ours to attend to while there is nothing to do for the stream. */
static void wait_with_page(Incoming *in, Polled *polled, gint64 deadline)
{
    gint64 nap_us;

    do {
        nap_us = relay_page_attend(in->m);
        if (nap_us == 0 && ++in->turns % TURNS_A_POLL != 0) {
            return;
        }
    } while (!sleep_until(in, polled, MIN(deadline, g_get_monotonic_time() + nap_us)) &&
             nap_us > 0 && g_get_monotonic_time() < deadline);
}

void relay_incoming_wait(Incoming *in)
{
    gint64 deadline;
    Polled polled;

    collect_pollfds(in, &polled);
    deadline = g_get_monotonic_time() + stream_timeout(in) * G_TIME_SPAN_MILLISECOND;
    if (relay_page_is_attended(in->m)) {
        wait_with_page(in, &polled, deadline);
    } else {
        sleep_until(in, &polled, deadline);
    }
}
