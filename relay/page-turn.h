/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns with the guest: blocks between its page and the window. They are taken by whoever has the page, the page thread
 * or the stream thread (page-thread.h), and never wait.
 */
#ifndef RELAY_PAGE_TURN_H
#define RELAY_PAGE_TURN_H

#include "relay/migration.h"

typedef enum PageTurn {
    PAGE_MOVED, /* blocks went through */
    PAGE_GUEST, /* none, it is the guest's turn */
    PAGE_STREAM, /* none, it is the stream's turn: the window is full (source) or empty (destination) */
    PAGE_OVER, /* the last one is through (page_ended), or the guest broke the rules and the migration will fail */
} PageTurn;

/* Moves some blocks, for as long as the guest takes or brings the next one at once. */
PageTurn relay_page_turn(Migration *migration);

/* FALSE: the next turn would be the stream's. Looked at between arming a wake-up and sleeping. */
gboolean relay_page_can_turn(Migration *migration);

/* For a query: since when the guest is waited for (us, monotonic), 0: it is busy, -1: it is not waited for. */
void relay_page_set_waiting(Migration *migration, gint64 since);

#endif
