/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The incoming channel: what its stream thread keeps, shared by the files incoming*.c, candidates.c and receive.c. */
#ifndef RELAY_INCOMING_H
#define RELAY_INCOMING_H

#include "relay/connection.h"
#include "relay/migration.h"

#define CANDIDATES_MAX 8

typedef struct Incoming {
    Migration *m;
    TransportListener *listener; /* NULL when no more connections are wanted */
    GPtrArray *candidates;       /* of Candidate: connected, hello not complete */
    gboolean knocked;            /* the last poll saw somebody who wants to connect */
    gint64 accept_again;         /* us: not before, after accepting failed */
    Connection *connection;      /* the source's, NULL while it is not connected */

    gboolean begun;     /* a source was accepted, the page is in use */
    gboolean poc;       /* with begun */
    gboolean one_way;   /* the stream comes from a file: nobody is answered */
    gboolean completed; /* all is read and told; only answering a source that missed it */
    gboolean served;    /* a connection was accepted at least once */
    gboolean untold;    /* paused here by command, and the source does not know */
    gboolean resumed;   /* the source came back and has not been told the end on this connection */
    gint64
        linger_until; /* completed: when waiting for a source that missed it is over, us; else 0 */
    gboolean echoed;  /* native: the source knows that we know */

    unsigned turns; /* without a poll */

    size_t block_filled; /* bytes of the next block that are in the window already */
    gboolean reset;      /* poc: the connection was reset while nothing was wanted of it */
    gboolean hung_up;    /* poc: the source has closed, as it may after the end */
    uint64_t data_left;  /* bytes of the present DATA frame or poc block still to come */
    guint32 window;      /* native: blocks that the source was promised room for */
    gboolean end_seen;
    gint64 acked_at;       /* native: when an acknowledgement was last sent, us */
    uint64_t end_checksum; /* native: the source's */
} Incoming;

/* Everything has come, was right, and was read, and the page says so: whether the source is there to hear it or not. */
static inline gboolean relay_incoming_is_complete(Incoming *in)
{
    return in->begun && atomic_load(&in->m->page_ended);
}

/* ---- incoming-listen.c: where the source can connect -------------------------------------------------- */

/* Listens at URI, and there only; looking up names takes its time. FD (-1: none) is used up in any case. Errors:
 * transport_listen()'s; the old place stays open then. */
gboolean relay_incoming_listen(Incoming *in, const TransportUri *uri, int fd, GError **error);
void relay_incoming_stop_listening(Incoming *in);

/* `snp_migrate_recover`, if somebody said so: listens anew, and answers whoever asked. */
void relay_incoming_take_recover_request(Incoming *in);
/* Nobody carries it out any more. */
void relay_incoming_refuse_recover_request(Incoming *in);

/* Makes candidates of those who knocked. */
void relay_incoming_accept_connections(Incoming *in);

/* ---- incoming-accept.c: who is the source ------------------------------------------------------------- */

/* Reads the candidates' hellos, and begins with the source, or takes it back. GOING_ON or FAILED. */
Outcome relay_incoming_look_at_candidates(Incoming *in, GError **error);

/* ---- incoming-wait.c ---------------------------------------------------------------------------------- */

/* Attends to the page, if that is ours to do, until there is something to do for the stream. */
void relay_incoming_wait(Incoming *in);

/* ---- candidates.c: connections that have yet to say who they are ------------------------------------- */

typedef struct Candidate Candidate;
void relay_candidate_free(gpointer candidate);

/* What became of a candidate in one look at it. */
typedef enum CandidateFate {
    CANDIDATE_WAITING,
    CANDIDATE_GONE, /* dropped without harm: a probe, a stranger, one that was refused (a warning tells) */
    CANDIDATE_NATIVE, /* HELLO is set, version and facts checked */
    CANDIDATE_POC,
    CANDIDATE_WRONG, /* not a stream of ours, or silent for too long: ERROR tells; the peer was told where it can be */
} CandidateFate;

Candidate *relay_candidate_new(Incoming *in, TransportStream *stream);
/* Reads what came. The candidate stays in the list in every case. */
CandidateFate relay_candidate_look(Incoming *in, Candidate *candidate, NativeHello *hello,
                                   GError **error);
Connection *relay_candidate_connection(Candidate *candidate);
/* Takes the connection out of it. */
Connection *relay_candidate_steal(Candidate *candidate);
/* When its time is over, us. */
gint64 relay_candidate_deadline(Candidate *candidate);
/* Says REFUSED with TEXT. */
void relay_candidate_refuse(Incoming *in, Candidate *candidate, const char *text);
/* Says that we go, and why, to one that has begun a native hello. */
void relay_candidate_leave(Candidate *candidate, Outcome outcome, const char *text);

/* ---- receive.c: bytes into the window, for both wires ------------------------------------------------ */

/* Moves bytes of the present frame into the window, until data_left is 0, the window is full or nothing is there: buffered
 * ones, and with FROM_STREAM also straight from the stream where that pays. */
ConnectionResult relay_incoming_receive(Incoming *in, gboolean from_stream, GError **error);
/* TRUE when the window has room for at least one byte. */
gboolean relay_incoming_has_room(Incoming *in);

/* ---- One turn of each wire: GOING_ON, COMPLETED, LOST, PAUSED, CANCELLED or FAILED -------------------- */

Outcome relay_incoming_native(Incoming *in, GError **error);
Outcome relay_incoming_poc(Incoming *in, GError **error);

/* Answers HELLO, after which CONNECTION is at a frame's beginning. */
void relay_incoming_native_accept(Incoming *in, const NativeHello *hello);

/* Everything is read: tells the source, if it is there and waits to hear so. */
void relay_incoming_native_done(Incoming *in);

/* After completion: reads the source's last frame. */
void relay_incoming_native_linger(Incoming *in);

#endif
