/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spinning, yielding and sleeping while a guest does nothing. */
#include "migpage/wait.h"

#include <sys/prctl.h>
#include <time.h>

#define SPINS_BETWEEN_CLOCKS 64 /* the clock costs as much as several looks at the page */
#define HOT_US 50 /* spin for this long: far more than a running guest needs for a block */
#define SHORTEST_NAP_US 20
#define IDLE_PER_NAP 100 /* sleep for a hundredth of the time that nothing has happened */

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
    wait->busy = busy;
    migpage_wait_reset(wait);
    /* The default slack of 50 us would more than double the shortest nap. It is the thread's own setting. */
    prctl(PR_SET_TIMERSLACK, 1000UL);
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
    nap(CLAMP(idle / IDLE_PER_NAP, SHORTEST_NAP_US, MIGPAGE_WAIT_LONGEST_US));
    wait->spins = SPINS_BETWEEN_CLOCKS - 1; /* after a nap, look once and read the clock again */
    return idle;
}
