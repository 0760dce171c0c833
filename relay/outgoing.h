/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The outgoing channel: what its stream thread keeps, shared by outgoing.c and one file for each wire. */
#ifndef RELAY_OUTGOING_H
#define RELAY_OUTGOING_H

#include "relay/connection.h"
#include "relay/migration.h"
#include "relay/rate-limit.h"

typedef struct Outgoing {
    Migration *m;
    Connection *connection; /* NULL while not connected */
    gboolean poc;
    gboolean one_way;     /* a file: nobody answers */
    gboolean accepted;    /* a destination has accepted this session before */
    uint64_t sent;        /* first block that was not queued on this connection */
    uint64_t high;        /* first block that was never sent at all */
    uint64_t peer_window; /* blocks that the destination takes beyond what it acknowledged */
    gboolean readable;    /* the last poll saw bytes of the peer, or its end */
    gboolean end_queued;
    gint64 end_time; /* poc: when the end was written, us */
    RateLimit limit;
} Outgoing;

/* Blocks that may be sent now, in one piece from *START, at most MOST. */
uint64_t relay_outgoing_ready(Outgoing *o, uint64_t most, void **start);

/* COUNT blocks, which begin with number o->sent, were queued. */
void relay_outgoing_sent(Outgoing *o, uint64_t count);

/* TRUE when the guest's last block was queued. */
gboolean relay_outgoing_all_sent(Outgoing *o);

/* Blocks below UPTO are no longer needed. */
void relay_outgoing_release(Outgoing *o, uint64_t upto);

/* Sleeps until the connection (or for one way: only a command or the guest) has something for us. */
void relay_outgoing_wait(Outgoing *o, int timeout_ms);

/* Exchanges hellos until DEADLINE; sets where to go on from. GOING_ON, LOST, REFUSED, CANCELLED or FAILED. */
Outcome relay_outgoing_native_hello(Outgoing *o, gint64 deadline, GError **error);

/* Move blocks until something ends it; never GOING_ON. */
Outcome relay_outgoing_native(Outgoing *o, GError **error);
Outcome relay_outgoing_poc(Outgoing *o, GError **error);

#endif
