/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The incoming channel's stream thread: listens, finds out who connects, lets a wire receive the blocks, takes the source
 * back when its connection broke, and ends the migration.
 *
 * The listening socket stays open for as long as the native source may come back, also after the end: a source that
 * missed the last word gets it then.
 */
#include "relay/incoming.h"

#include <glib/gstdio.h>
#include <string.h>

#include "migpage/layout.h"
#include "relay/native-stream.h"
#include "relay/page-thread.h"

#define CANDIDATES_MAX 8
#define LISTEN_FDS_MAX 32
#define ACCEPT_AGAIN_MS 1000
#define LAST_CLOSE_MS 300
#define TURNS_A_POLL 8        /* while the page always has something to do */
#define ANSWER_MS 5           /* how late an acknowledgement may be while blocks are being read */
#define STALLED_MS 1000       /* a guest that has read nothing for so long ... */
#define STALLED_ANSWER_MS 100 /* ... is looked at less often */

/* ---- Listening ------------------------------------------------------------------------------------- */

static TransportListener *open_listener(Migration *m, const TransportUri *uri, int fd,
                                        GError **error)
{
    gint64 patience = (gint64)m->parameters->connect_timeout * G_TIME_SPAN_SECOND;
    TransportOptions options = {.cancellable = m->cancellable,
                                .deadline = g_get_monotonic_time() + patience,
                                .tls = m->tls,
                                .fd = fd,
                                .allow_exec = m->allow_exec};

    if (uri->kind == TRANSPORT_FD && fd < 0) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_NETWORK, "%s was used up", uri->text);
        return NULL;
    }
    return transport_listen(uri, &options, error);
}

static void take_listener(Incoming *in, TransportListener *listener)
{
    g_clear_pointer(&in->listener, transport_listener_free);
    in->listener = listener;
    g_mutex_lock(&in->m->lock);
    g_strfreev(in->m->listening);
    in->m->listening = g_strdupv(transport_listener_uris(listener));
    g_mutex_unlock(&in->m->lock);
}

static void stop_listening(Incoming *in)
{
    g_clear_pointer(&in->listener, transport_listener_free);
    g_mutex_lock(&in->m->lock);
    g_clear_pointer(&in->m->listening, g_strfreev);
    g_mutex_unlock(&in->m->lock);
}

/* `snp_migrate_recover`: listens anew, and answers whoever asked. */
static void take_recover_request(Incoming *in)
{
    g_autoptr(TransportUri) uri = NULL;
    g_autoptr(GError) error = NULL;
    MigrationRequests *requests = &in->m->requests;
    TransportListener *listener;
    SnprelayReadyFunc ready;
    gpointer ready_opaque;
    int fd;

    g_mutex_lock(&in->m->lock);
    uri = g_steal_pointer(&requests->uri);
    ready = requests->ready;
    ready_opaque = requests->ready_opaque;
    fd = requests->fd;
    requests->fd = -1;
    g_mutex_unlock(&in->m->lock);
    if (!uri) {
        return;
    }
    relay_page_hand_over(in->m, NULL); /* name servers take their time */
    listener = open_listener(in->m, uri, fd, &error);
    relay_page_take_over(in->m);
    if (listener) {
        take_listener(in, listener);
        in->untold = FALSE; /* whoever comes here was told where */
        g_mutex_lock(&in->m->lock);
        transport_uri_free(in->m->uri);
        in->m->uri = g_steal_pointer(&uri);
        g_mutex_unlock(&in->m->lock);
    }
    in->m->notify.answer(in->m->notify.opaque, ready, ready_opaque, g_steal_pointer(&error));
}

/* Nobody carries it out any more. */
static void refuse_recover_request(Incoming *in)
{
    MigrationRequests *requests = &in->m->requests;
    TransportUri *uri;
    GError *error = NULL;

    g_mutex_lock(&in->m->lock);
    uri = g_steal_pointer(&requests->uri);
    g_mutex_unlock(&in->m->lock);
    if (uri) {
        g_set_error(&error, SNPRELAY_ERROR, SNPRELAY_ERROR_STATE,
                    "the migration ended before it could be recovered");
        in->m->notify.answer(in->m->notify.opaque, requests->ready, requests->ready_opaque, error);
        transport_uri_free(uri);
    }
}

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

static void accept_connections(Incoming *in)
{
    g_autoptr(GError) error = NULL;
    TransportStream *stream;

    if (!in->knocked || g_get_monotonic_time() < in->accept_again) {
        return;
    }
    in->knocked = FALSE;
    while (in->listener && (stream = transport_listener_accept(in->listener, &error)) != NULL) {
        if (in->candidates->len == CANDIDATES_MAX) {
            relay_candidate_refuse(in, in->candidates->pdata[0], "too many connections");
            g_ptr_array_remove_index(in->candidates, 0);
        }
        in->served = TRUE;
        g_ptr_array_add(in->candidates, relay_candidate_new(in, stream));
    }
    if (error && !g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        relay_migration_warn(in->m, "a connection could not be accepted: %s", error->message);
        /* Out of descriptors, say: the connection still waits, and would wake us at once again. */
        in->accept_again = g_get_monotonic_time() + ACCEPT_AGAIN_MS * G_TIME_SPAN_MILLISECOND;
    }
}

/* ---- A source is there ------------------------------------------------------------------------------ */

/* The first source: from here on the page is in use. */
static Outcome begin(Incoming *in, uint64_t window_blocks, GError **error)
{
    if (!relay_window_init(&in->m->window, window_blocks * MIGPAGE_BLOCK_SIZE, error) ||
        !relay_page_begin(in->m, error)) {
        return OUTCOME_FAILED;
    }
    in->begun = TRUE;
    relay_migration_set_resumable(in->m, !in->poc && !in->one_way);
    relay_migration_set_wire(in->m, in->poc ? "poc" : "native");
    relay_migration_event(in->m, RELAY_EVENT_ACCEPTED, NULL);
    return OUTCOME_GOING_ON;
}

static uint64_t own_window(Incoming *in)
{
    return MAX(in->m->parameters->window / MIGPAGE_BLOCK_SIZE, 1);
}

static Outcome begin_native(Incoming *in, Candidate *candidate, const NativeHello *hello,
                            GError **error)
{
    Outcome outcome;

    if (hello->position != 0) {
        relay_candidate_refuse(in, candidate, "this session is not known here");
        return OUTCOME_GOING_ON;
    }
    memcpy(in->m->session, hello->session, NATIVE_SESSION_SIZE);
    in->window = (guint32)MIN(own_window(in), hello->window);
    in->connection = relay_candidate_steal(candidate);
    in->one_way = transport_stream_is_one_way(relay_connection_stream(in->connection));
    outcome = begin(in, in->window, error);
    if (outcome == OUTCOME_GOING_ON && !in->one_way) {
        relay_incoming_native_accept(in, hello);
    } else if (!in->one_way) {
        relay_connection_queue(in->connection, NATIVE_MAGIC,
                               NATIVE_MAGIC_SIZE); /* the reason follows */
    }
    return outcome;
}

/* The source is back, perhaps before we noticed that it was gone. */
static void take_back(Incoming *in, Candidate *candidate, const NativeHello *hello)
{
    g_autoptr(GError) reason = NULL;

    if (in->connection) {
        g_set_error(&reason, SNPRELAY_ERROR, SNPRELAY_ERROR_NETWORK, "the source connected again");
        relay_migration_event(in->m, RELAY_EVENT_LOST, reason);
        relay_connection_free(in->connection);
    }
    in->connection = relay_candidate_steal(candidate);
    in->resumed = TRUE;
    relay_migration_event(in->m, RELAY_EVENT_RECONNECT, NULL);
    relay_incoming_native_accept(in, hello);
    relay_migration_event(in->m, RELAY_EVENT_ACCEPTED, NULL);
}

static Outcome accept_native(Incoming *in, Candidate *candidate, const NativeHello *hello,
                             GError **error)
{
    if (!in->begun && hello->kind == NATIVE_KIND_START) {
        return begin_native(in, candidate, hello, error);
    }
    if (!in->begun || in->poc || memcmp(hello->session, in->m->session, NATIVE_SESSION_SIZE) != 0) {
        relay_candidate_refuse(in, candidate,
                               in->begun ? "another migration is going on here"
                                         : "this session is not known here");
        return OUTCOME_GOING_ON;
    }
    if (transport_stream_is_one_way(
            relay_connection_stream(relay_candidate_connection(candidate)))) {
        relay_candidate_refuse(in, candidate, "a file cannot take up a migration that is going on");
        return OUTCOME_GOING_ON;
    }
    if (hello->position > relay_window_produced(&in->m->window)) {
        relay_candidate_refuse(in, candidate, "blocks that are missing here are not offered");
        return OUTCOME_GOING_ON;
    }
    if (in->untold) {
        in->untold = FALSE;
        relay_candidate_refuse(in, candidate, "paused at the destination");
        return OUTCOME_GOING_ON;
    }
    take_back(in, candidate, hello);
    return OUTCOME_GOING_ON;
}

static Outcome accept_poc(Incoming *in, Candidate *candidate, GError **error)
{
    if (in->begun) {
        relay_candidate_refuse(in, candidate, "another migration is going on here");
        return OUTCOME_GOING_ON;
    }
    in->poc = TRUE;
    in->connection = relay_candidate_steal(candidate);
    in->one_way = transport_stream_is_one_way(relay_connection_stream(in->connection));
    stop_listening(in); /* it cannot come back on this wire */
    return begin(in, own_window(in), error);
}

/* Before a source was accepted the first connection must be right; later a wrong one is only told about. */
static Outcome look_at_candidate(Incoming *in, Candidate *candidate, gboolean *keep, GError **error)
{
    g_autoptr(GError) reason = NULL;
    NativeHello hello;

    *keep = FALSE;
    switch (relay_candidate_look(in, candidate, &hello, &reason)) {
    case CANDIDATE_WAITING:
        *keep = TRUE;
        break;
    case CANDIDATE_GONE:
        break;
    case CANDIDATE_NATIVE:
        return accept_native(in, candidate, &hello, error);
    case CANDIDATE_POC:
        return accept_poc(in, candidate, error);
    case CANDIDATE_WRONG:
        if (!in->begun) {
            g_propagate_error(error, g_steal_pointer(&reason));
            return OUTCOME_FAILED;
        }
        relay_migration_warn(in->m, "dropped a connection: %s", reason->message);
        break;
    }
    return OUTCOME_GOING_ON;
}

static Outcome look_at_candidates(Incoming *in, GError **error)
{
    Outcome outcome = OUTCOME_GOING_ON;
    gboolean keep;

    for (guint i = 0; i < in->candidates->len && outcome == OUTCOME_GOING_ON;) {
        outcome = look_at_candidate(in, in->candidates->pdata[i], &keep, error);
        if (keep) {
            i++;
        } else {
            g_ptr_array_remove_index(in->candidates, i);
        }
    }
    if (outcome == OUTCOME_GOING_ON && !in->begun && in->candidates->len == 0 && in->listener &&
        !transport_listener_is_repeatable(in->listener) && in->served) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_NETWORK,
                    "%s ended before a stream began, and nobody else can connect to it",
                    in->m->uri->text);
        return OUTCOME_FAILED;
    }
    return outcome;
}

/* Everything has come, was right, and was read, and the page says so: whether the source is there to hear it or not. */
static gboolean is_complete(Incoming *in)
{
    return in->begun && atomic_load(&in->m->page_ended);
}

/* ---- Waiting --------------------------------------------------------------------------------------- */

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

    if (in->connection && !in->poc && !in->one_way && !in->completed) {
        timeout = MIN(timeout, relay_native_poll_timeout(in->m, in->connection));
    }
    if (in->connection && in->poc && !in->end_seen) {
        timeout = MIN(timeout, 1000);
    }
    return MIN(timeout, answer_timeout(in));
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

/* FALSE: nothing happened within TIMEOUT_US. */
static gboolean sleep_until_event(Incoming *in, Polled *polled, gint64 timeout_us)
{
    gboolean happened;

    relay_wakeup_arm(&in->m->stream_wakeup, WAKEUP_BLOCKS);
    if (has_something_to_do(in) || (is_complete(in) && !in->completed)) {
        relay_wakeup_disarm(&in->m->stream_wakeup, FALSE);
        return TRUE;
    }
    happened =
        relay_wakeup_poll(&in->m->stream_wakeup, polled->fds, polled->count, MAX(timeout_us, 0));
    note_events(in, polled);
    return happened;
}

/* Attends to the page, if that is ours to do, until there is something to do for the stream. */
static void wait_for_something(Incoming *in)
{
    gint64 now, deadline, nap_us;
    Polled polled;

    collect_pollfds(in, &polled);
    now = g_get_monotonic_time();
    deadline = now + stream_timeout(in) * G_TIME_SPAN_MILLISECOND;
    do {
        nap_us = relay_page_is_attended(in->m) ? relay_page_attend(in->m) : deadline - now;
        if (nap_us == 0 && ++in->turns % TURNS_A_POLL != 0) {
            return;
        }
        now = g_get_monotonic_time();
    } while (!sleep_until_event(in, &polled, MIN(nap_us, deadline - now)) && nap_us > 0 &&
             (now = g_get_monotonic_time()) < deadline);
}

/* ---- The thread ------------------------------------------------------------------------------------ */

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
        if (is_complete(in)) {
            return OUTCOME_COMPLETED; /* whatever else was asked meanwhile */
        }
        outcome = relay_migration_requested(in->m, error);
        if (outcome == OUTCOME_PAUSED) {
            outcome = pause_connection(in, error);
        }
        if (outcome == OUTCOME_GOING_ON) {
            take_recover_request(in);
            accept_connections(in);
            outcome = look_at_candidates(in, error);
        }
        if (outcome == OUTCOME_GOING_ON) {
            outcome = turn_connection(in, error);
        }
        if (outcome == OUTCOME_GOING_ON) {
            wait_for_something(in);
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
        accept_connections(in);
        look_at_candidates(in, NULL);
        if (in->connection) {
            relay_incoming_native_linger(in);
        }
        if (!in->echoed) {
            wait_for_something(in);
        }
    }
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
    if (in->end_seen || relay_connection_buffered(in->connection) > 0) {
        relay_connection_queue(in->connection, NATIVE_MAGIC, NATIVE_MAGIC_SIZE);
        relay_native_say_why(in->connection, outcome, error);
    }
}

static void end(Incoming *in, Outcome outcome, const GError *error)
{
    relay_page_stop(in->m);
    if (is_complete(in)) {
        outcome = OUTCOME_COMPLETED; /* it was as soon as the page said so */
    }
    if (outcome == OUTCOME_COMPLETED) {
        in->completed = TRUE;
        relay_migration_set_checksum(in->m, relay_checksum_digest(&in->m->sum));
        relay_migration_finish(in->m, outcome, NULL);
        refuse_recover_request(in);
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
    stop_listening(in);
    relay_migration_finish(in->m, outcome, error);
    refuse_recover_request(in);
}

gpointer relay_incoming_thread(gpointer data)
{
    Migration *m = data;
    Incoming in = {.m = m};
    g_autoptr(GError) error = NULL;
    TransportListener *listener = open_listener(m, m->uri, m->fd, &error);
    Outcome outcome;

    m->fd = -1;
    if (!listener) {
        m->notify.answer(m->notify.opaque, m->ready, m->ready_opaque, g_steal_pointer(&error));
        return NULL;
    }
    in.candidates = g_ptr_array_new_with_free_func(relay_candidate_free);
    take_listener(&in, listener);
    relay_migration_event(m, RELAY_EVENT_START, NULL);
    m->notify.answer(m->notify.opaque, m->ready, m->ready_opaque, NULL);
    outcome = move_blocks(&in, &error);
    end(&in, outcome, error);
    g_clear_pointer(&in.connection, relay_connection_free);
    g_ptr_array_unref(in.candidates);
    stop_listening(&in);
    m->notify.settled(m->notify.opaque);
    return NULL;
}
