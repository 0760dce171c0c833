/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How to wait for a guest: the one place that decides between spinning and sleeping. The sleeping is the caller's.
 *
 * A guest's vCPU answers within a microsecond while it runs, and may not answer for hours. So a wait is hot at first and
 * then sleeps in proportion to how long nothing has happened: a block that comes after a pause waits for at most about a
 * hundredth of that pause, and a guest that does nothing costs about 60 wake-ups a second. Where many more threads want
 * to run than there are processors, waits are longer: it is the guests that must run.
 */
#ifndef MIGPAGE_WAIT_H
#define MIGPAGE_WAIT_H

#include <glib.h>

typedef struct MigPageWait {
    gboolean busy;     /* never sleep */
    unsigned spins;    /* turns since the guest last acted */
    gint64 idle_since; /* us, monotonic; 0 until the clock was first read in this wait */
    gboolean slept;    /* in this wait */

    /* Whether the processors are crowded, see wait.c. */
    gint64 nap_end;     /* us, monotonic: when the last sleep was to end; 0: that was looked at */
    gint64 look_again;  /* us, monotonic: not before then */
    gint64 crowded_nap; /* us: sleep for at least so long; 0: no crowd */
    unsigned futile;    /* such sleeps in a row that brought hardly more than one block */

    /* Whether we keep our guest off its processor, see wait.c. */
    unsigned blocks;        /* since the last sleep */
    unsigned lone;          /* sleeps in a row that brought hardly more than one block */
    unsigned lone_patience; /* so many of them make us move */
} MigPageWait;

/* Prepares the calling thread and *WAIT. BUSY: never sleep (a dedicated core). */
void migpage_wait_init(MigPageWait *wait, gboolean busy);

/* A wait in which we slept is over. */
void migpage_wait_woken(MigPageWait *wait);

/* The guest acted. */
static inline void migpage_wait_reset(MigPageWait *wait)
{
    if (G_UNLIKELY(wait->slept)) {
        migpage_wait_woken(wait);
    }
    wait->blocks++;
    wait->spins = 0;
    wait->idle_since = 0;
}

/* The guest has not acted. Returns for how long to sleep before the next look, in us (at most MIGPAGE_WAIT_LONGEST_US, or
 * MIGPAGE_CROWD_LONGEST_US in a crowd); 0: look again at once. */
gint64 migpage_wait_turn(MigPageWait *wait);

/* One turn of a spinning loop. */
static inline void migpage_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#define MIGPAGE_WAIT_LONGEST_US 16000

#endif
