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
#include <time.h>

#define SPINS_BETWEEN_CLOCKS 64 /* the clock costs as much as several looks at the page */
#define HOT_US 10 /* spin for this long: many times what a running guest needs for a block */
#define SHORTEST_NAP_US 20
#define IDLE_PER_NAP 100 /* sleep for a hundredth of the time that nothing has happened */
#define LONE_BLOCKS 2    /* so few blocks a sleep are no burst */
#define LONE_US 1000     /* a guest that takes longer has other reasons */
#define PATIENCE_MIN 16
#define PATIENCE_MAX 4096

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

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

void migpage_wait_woken(MigPageWait *wait)
{
    gboolean lone =
        wait->blocks <= LONE_BLOCKS && g_get_monotonic_time() - wait->idle_since < LONE_US;

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

static void nap(gint64 us)
{
    struct timespec time = {.tv_sec = 0, .tv_nsec = us * 1000};

    nanosleep(&time, NULL);
}

gint64 migpage_wait_turn(MigPageWait *wait)
{
    gint64 idle;

    cpu_relax();
    if (++wait->spins % SPINS_BETWEEN_CLOCKS != 0) {
        return 0;
    }
    if (wait->idle_since == 0) {
        wait->idle_since = g_get_monotonic_time();
        return 0;
    }
    idle = g_get_monotonic_time() - wait->idle_since;
    if (wait->busy || idle < HOT_US) {
        return idle;
    }
    wait->slept = TRUE;
    nap(CLAMP(idle / IDLE_PER_NAP, SHORTEST_NAP_US, MIGPAGE_WAIT_LONGEST_US));
    wait->spins = SPINS_BETWEEN_CLOCKS - 1; /* after a nap, look once and read the clock again */
    return idle;
}
