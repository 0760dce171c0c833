/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connections that have yet to say who they are. Anybody can connect: what comes is bounded in bytes and in time. Before a
 * source was accepted, the first one that says something wrong, or nothing, ends the wait with a reason, as in QEMU;
 * afterwards a stranger neither delays nor ends what is going on.
 */
#include "relay/incoming.h"

#include <inttypes.h>
#include <string.h>

#include "relay/native-stream.h"
#include "relay/wire-poc.h"

struct Candidate {
    Connection *connection;
    gint64 deadline;
    gboolean told; /* why it is not wanted */
};

Candidate *relay_candidate_new(Incoming *in, TransportStream *stream)
{
    Candidate *candidate = g_new0(Candidate, 1);

    candidate->connection = relay_connection_new(stream);
    candidate->deadline =
        g_get_monotonic_time() + (gint64)in->m->parameters->connect_timeout * G_TIME_SPAN_SECOND;
    return candidate;
}

void relay_candidate_free(gpointer data)
{
    Candidate *candidate = data;

    if (candidate->connection && !candidate->told) {
        /* It may speak the poc wire, where an orderly close means that all is well. */
        transport_stream_abort(relay_connection_stream(candidate->connection));
    }
    relay_connection_free(candidate->connection);
    g_free(candidate);
}

Connection *relay_candidate_connection(Candidate *candidate)
{
    return candidate->connection;
}

Connection *relay_candidate_steal(Candidate *candidate)
{
    return g_steal_pointer(&candidate->connection);
}

gint64 relay_candidate_deadline(Candidate *candidate)
{
    return candidate->deadline;
}

static void say(Candidate *candidate, Outcome outcome, const char *text)
{
    g_autoptr(GError) reason = g_error_new_literal(SNPRELAY_ERROR, SNPRELAY_ERROR_PEER, text);

    candidate->told = TRUE;
    relay_connection_queue(candidate->connection, NATIVE_MAGIC, NATIVE_MAGIC_SIZE);
    relay_connection_flush(candidate->connection, NULL);
    /* A stranger is not waited for: his socket has room for this, or he does not hear it. */
    relay_native_say_why_now(candidate->connection, outcome, reason);
}

void relay_candidate_refuse(Incoming *in, Candidate *candidate, const char *text)
{
    relay_migration_warn(in->m, "refused a connection from %s: %s",
                         transport_stream_peer(relay_connection_stream(candidate->connection)),
                         text);
    say(candidate, OUTCOME_REFUSED, text);
}

static const char *peer_of(Candidate *candidate)
{
    return transport_stream_peer(relay_connection_stream(candidate->connection));
}

/* The first frame behind the magic. */
static CandidateFate look_at_frame(Candidate *candidate, NativeHello *hello, GError **error)
{
    g_autoptr(GError) reason = NULL;
    NativeFrame frame;

    relay_connection_consume(candidate->connection, NATIVE_MAGIC_SIZE);
    switch (relay_native_next(candidate->connection, &frame, &reason)) {
    case NATIVE_NEXT_NONE:
        relay_connection_unread(candidate->connection, NATIVE_MAGIC_SIZE);
        return CANDIDATE_WAITING;
    case NATIVE_NEXT_ERROR:
        break;
    case NATIVE_NEXT_FRAME:
        if (frame.header.type != NATIVE_HELLO) {
            g_set_error(&reason, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                        "the first frame is no hello (type %d)", frame.header.type);
        } else if (relay_native_decode_hello(frame.payload, frame.header.length, hello, &reason)) {
            if (hello->kind == NATIVE_KIND_ACCEPT) {
                g_set_error(&reason, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                            "the hello is a destination's");
            } else {
                relay_native_consume(candidate->connection, &frame);
                return CANDIDATE_NATIVE;
            }
        }
    }
    say(candidate, OUTCOME_FAILED, reason->message);
    g_set_error(error, reason->domain, reason->code, "%s: %s", peer_of(candidate), reason->message);
    return CANDIDATE_WRONG;
}

static CandidateFate look_at_bytes(Candidate *candidate, NativeHello *hello, GError **error)
{
    const guint8 *bytes = relay_connection_peek(candidate->connection, POC_HEADER_SIZE);
    uint64_t header;

    if (!bytes) {
        return CANDIDATE_WAITING;
    }
    if (memcmp(bytes, NATIVE_MAGIC, NATIVE_MAGIC_SIZE) == 0) {
        return look_at_frame(candidate, hello, error);
    }
    memcpy(&header, bytes, sizeof(header));
    header = GUINT64_FROM_BE(header);
    if (header == POC_BLOCK || header == POC_END) {
        return CANDIDATE_POC;
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                "%s sends no migration stream: it begins with 0x%016" PRIx64
                ", neither the native wire's \"SNPRELAY\" nor the poc wire's 5 or 6",
                peer_of(candidate), header);
    return CANDIDATE_WRONG;
}

/* TRUE when what came may be the beginning of a native hello: an honest source's connection that broke, or a probe. A TLS
 * handshake that failed is none: that is a matter of credentials, which does not mend itself. */
static gboolean is_broken_hello(Candidate *candidate)
{
    TransportStream *stream = relay_connection_stream(candidate->connection);
    size_t length = MIN(relay_connection_buffered(candidate->connection), NATIVE_MAGIC_SIZE);

    return !transport_stream_failed_tls(stream) &&
           (length == 0 || memcmp(relay_connection_peek(candidate->connection, length),
                                  NATIVE_MAGIC, length) == 0);
}

void relay_candidate_leave(Candidate *candidate, Outcome outcome, const char *text)
{
    if (relay_connection_buffered(candidate->connection) > 0 && is_broken_hello(candidate)) {
        say(candidate, outcome,
            text); /* who said nothing, or something else, may not speak this wire */
    }
}

CandidateFate relay_candidate_look(Incoming *in, Candidate *candidate, NativeHello *hello,
                                   GError **error)
{
    g_autoptr(GError) broken = NULL;
    ConnectionResult result = relay_connection_fill(candidate->connection, &broken);
    CandidateFate fate = look_at_bytes(candidate, hello, error);

    if (fate != CANDIDATE_WAITING) {
        return fate;
    }
    if (result == CONNECTION_END || result == CONNECTION_ERROR) {
        const char *how = broken ? broken->message : "it closed the connection";

        if (is_broken_hello(candidate)) {
            relay_migration_warn(in->m, "%s went away before its hello was complete: %s",
                                 peer_of(candidate), how);
            return CANDIDATE_GONE;
        }
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                    "%s went away before it said who it is: %s", peer_of(candidate), how);
        return CANDIDATE_WRONG;
    }
    if (g_get_monotonic_time() >= candidate->deadline) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_TIMEOUT,
                    "%s connected and did not say who it is within %" PRIu64 " s (connect-timeout)",
                    peer_of(candidate), in->m->parameters->connect_timeout);
        return CANDIDATE_WRONG;
    }
    return CANDIDATE_WAITING;
}
