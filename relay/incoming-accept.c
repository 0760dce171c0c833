/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A source is there: whether it is the right one, and how the migration begins or goes on with it. */
#include "relay/incoming.h"

#include <string.h>

#include "migpage/layout.h"
#include "relay/page-thread.h"

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
    relay_incoming_stop_listening(in); /* it cannot come back on this wire */
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

Outcome relay_incoming_look_at_candidates(Incoming *in, GError **error)
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
