/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waking a sleeping thread, at next to no cost while it is awake.
 *
 * The sleeper arms, looks once more whether there is something to do, and then polls the descriptor. Whoever makes
 * something to do signals afterwards: a system call only when the sleeper is armed. Each side has a full fence between
 * its store and its load, so one of them always sees the other. Shared by two or more threads; one sleeps.
 */
#ifndef RELAY_WAKEUP_H
#define RELAY_WAKEUP_H

#include <glib.h>
#include <poll.h>
#include <stdatomic.h>

typedef struct Wakeup {
    int fd;           /* an eventfd */
    atomic_int armed; /* a WakeupFor; 0: awake */
} Wakeup;

/* What a sleeper wants to be woken for. */
typedef enum WakeupFor {
    WAKEUP_COMMANDS = 1, /* relay_wakeup_signal() alone */
    WAKEUP_BLOCKS = 2,   /* relay_wakeup_signal_block(), too */
} WakeupFor;

gboolean relay_wakeup_init(Wakeup *wakeup, GError **error);
void relay_wakeup_clear(Wakeup *wakeup);

/* Sleeper: from here on a signal makes the descriptor readable. Look at the condition again after this. */
void relay_wakeup_arm(Wakeup *wakeup, WakeupFor what);

/* Sleeper: awake again. READABLE: the poll saw the descriptor readable, so the signal is taken off it. */
void relay_wakeup_disarm(Wakeup *wakeup, gboolean readable);

/* Sleeper: polls POLLFDS, the first of which is filled in here, for at most TIMEOUT_US (-1: no limit), then disarms. FALSE:
 * nothing happened in that time. */
gboolean relay_wakeup_poll(Wakeup *wakeup, struct pollfd *pollfds, nfds_t count, gint64 timeout_us);

/* The same with the wake-up's descriptor alone, and ms. */
void relay_wakeup_sleep(Wakeup *wakeup, int timeout_ms);

/* Anybody, after a change that the sleeper must see. */
void relay_wakeup_signal(Wakeup *wakeup);

/* The other thread, after a block came or went: wakes only a sleeper that can do something with it. */
void relay_wakeup_signal_block(Wakeup *wakeup);

#endif
