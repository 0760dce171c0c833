/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Spinning and sleeping while a guest does nothing, and moving out of its way.
 *
 * A relay and its guest's vCPU on one processor are the worst case: while we spin the guest cannot run, so each block costs
 * a whole spin and a sleep. It shows by blocks that come one a sleep, again and again. Then we ask for any other processor
 * that we are allowed to use, once, and leave the rest to the scheduler: on another one the blocks flow in bursts.
 */
#include "migpage/wait.h"

#include <sched.h>
#include <sys/prctl.h>

#include "migpage/crowd.h"

#define SPINS_BETWEEN_CLOCKS 64 /* the clock costs as much as several looks at the page */
#define HOT_US 30 /* spin for this long: many times what a running guest needs for a block */
#define SHORTEST_NAP_US 20
#define IDLE_PER_NAP 100  /* sleep for a hundredth of the time that nothing has happened */
#define LATE_US 50        /* running again so late may mean that others were in front ... */
#define LONG_US 100000    /* ... or, in so long a wait, that the processor slept deeply */
#define LOOK_US 5000      /* how often they are counted */
#define FUTILE_NAPS 128   /* so many longer sleeps in vain: it is not relays that crowd here ... */
#define FUTILE_US 2000000 /* ... and others leave no processor free by our sleeping */
#define LONE_BLOCKS 2     /* so few blocks a sleep are no burst */
#define LONE_US 1000      /* a guest that takes longer has other reasons */
#define PATIENCE_MIN 16
#define PATIENCE_MAX 4096

void migpage_wait_init(MigPageWait *wait, gboolean busy)
{
    *wait = (MigPageWait){.busy = busy, .lone_patience = PATIENCE_MIN};
    /* The default slack of 50 us would more than double the shortest nap. It is the thread's own setting. */
    prctl(PR_SET_TIMERSLACK, 1000UL);
}

/* Moves this thread off its processor, if there is another one for it. Where it may run stays as it was. */
static void move_away(void)
{
    cpu_set_t allowed, others;
    int here = sched_getcpu();

    if (here < 0 || sched_getaffinity(0, sizeof(allowed), &allowed) != 0 ||
        CPU_COUNT(&allowed) < 2) {
        return;
    }
    others = allowed;
    CPU_CLR(here, &others);
    if (sched_setaffinity(0, sizeof(others), &others) == 0) {
        sched_setaffinity(0, sizeof(allowed), &allowed);
    }
}

/* Among many relays longer sleeps give the guests time, and now and then a sleeper finds his guest running and moves much.
 * Other busy threads take all the time there is. */
static void judge_crowded_nap(MigPageWait *wait)
{
    wait->futile = wait->crowded_nap > 0 && wait->blocks <= LONE_BLOCKS ? wait->futile + 1 : 0;
    if (wait->futile >= FUTILE_NAPS) {
        wait->futile = 0;
        wait->crowded_nap = 0;
        wait->look_again = g_get_monotonic_time() + FUTILE_US;
    }
}

void migpage_wait_woken(MigPageWait *wait)
{
    gboolean lone =
        wait->blocks <= LONE_BLOCKS && g_get_monotonic_time() - wait->idle_since < LONE_US;

    judge_crowded_nap(wait);
    wait->slept = FALSE;
    if (wait->blocks > PATIENCE_MIN) {
        wait->lone_patience = PATIENCE_MIN; /* it flows here */
    }
    wait->blocks = 0;
    wait->lone = lone ? wait->lone + 1 : 0;
    if (wait->lone >= wait->lone_patience) {
        move_away();
        wait->lone = 0;
        wait->lone_patience = MIN(wait->lone_patience * 2, PATIENCE_MAX);
    }
}

/* Whoever runs again late after a sleep may have had to queue for the processor. */
static void look_at_crowd(MigPageWait *wait, gint64 now)
{
    gboolean queued = wait->nap_end != 0 && now - wait->nap_end >= LATE_US;

    if (now >= wait->look_again && now - wait->idle_since < LONG_US &&
        (queued || wait->crowded_nap > 0)) {
        gint64 nap = migpage_crowd_nap();

        wait->crowded_nap = MAX(nap, wait->crowded_nap / 2); /* it comes and goes */
        wait->look_again = now + LOOK_US;
    }
    wait->nap_end = 0;
}

gint64 migpage_wait_turn(MigPageWait *wait)
{
    gint64 now, idle, nap;

    migpage_relax();
    if (++wait->spins % SPINS_BETWEEN_CLOCKS != 0) {
        return 0;
    }
    now = g_get_monotonic_time();
    if (wait->idle_since == 0) {
        wait->idle_since = now;
        return 0;
    }
    look_at_crowd(wait, now);
    idle = now - wait->idle_since;
    if (wait->busy || (idle < HOT_US && wait->crowded_nap == 0)) {
        return 0;
    }
    nap = CLAMP(idle / IDLE_PER_NAP, SHORTEST_NAP_US, MIGPAGE_WAIT_LONGEST_US);
    nap = MAX(nap, wait->crowded_nap);
    wait->slept = TRUE;
    wait->nap_end = now + nap;
    wait->spins = SPINS_BETWEEN_CLOCKS - 1; /* after the nap, look once and read the clock again */
    return nap;
}
