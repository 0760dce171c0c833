/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A token bucket in bytes. */
#include "relay/rate-limit.h"

#include "migpage/layout.h"

#define BURSTS_PER_SECOND 20
#define SHORTEST_WAIT_MS 2 /* a few blocks a wake-up, not one */

uint64_t relay_rate_limit_allow(RateLimit *limit, uint64_t rate, gint64 now)
{
    double most = MAX((double)rate / BURSTS_PER_SECOND, (double)MIGPAGE_BLOCK_SIZE);

    if (rate == 0) {
        *limit = (RateLimit){0}; /* what went without a limit is no debt when there is one again */
        return UINT64_MAX;
    }
    if (limit->last) {
        limit->budget += (double)rate * (double)(now - limit->last) / G_USEC_PER_SEC;
    }
    limit->last = now;
    limit->budget = MIN(limit->budget, most);
    return limit->budget > 0 ? (uint64_t)limit->budget : 0;
}

void relay_rate_limit_use(RateLimit *limit, uint64_t bytes)
{
    if (limit->last) {
        limit->budget -= (double)bytes;
    }
}

int relay_rate_limit_wait(const RateLimit *limit, uint64_t rate)
{
    double missing = MIGPAGE_BLOCK_SIZE - limit->budget;

    if (rate == 0 || missing <= 0) {
        return 0;
    }
    return (int)CLAMP(missing * 1000 / (double)rate + 1, SHORTEST_WAIT_MS, 1000);
}
