/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The state machine of a migration: one table says what may happen in each state. */
#ifndef RELAY_STATES_H
#define RELAY_STATES_H

#include "snprelay/snprelay.h"

typedef enum RelayEvent {
    RELAY_EVENT_START,     /* a command started a migration */
    RELAY_EVENT_ACCEPTED,  /* both sides know each other: blocks flow */
    RELAY_EVENT_LOST,      /* the connection broke, or was broken on purpose */
    RELAY_EVENT_RECONNECT, /* connecting again, or a peer came that says it is the old one */
    RELAY_EVENT_CANCEL,    /* a person or a manager gives up, here or at the peer */
    RELAY_EVENT_CANCELLED, /* giving up is done, the page is put back */
    RELAY_EVENT_COMPLETED, /* the destination's guest has read every block */
    RELAY_EVENT_FAILED,    /* it cannot go on */
    RELAY_N_EVENTS
} RelayEvent;

/* The state after EVENT in STATUS. FALSE: EVENT means nothing in STATUS, which stays (a late event revives nothing). */
gboolean relay_next_status(SnprelayStatus status, RelayEvent event, SnprelayStatus *next);

/* "start", "accepted", ...; static. */
const char *relay_event_name(RelayEvent event);

#endif
