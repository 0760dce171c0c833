/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How many bytes may go out now (max-bandwidth): a bucket that fills at the rate and holds a twentieth of a second. */
#ifndef RELAY_RATE_LIMIT_H
#define RELAY_RATE_LIMIT_H

#include <glib.h>
#include <stdint.h>

typedef struct RateLimit {
    double budget; /* bytes */
    gint64 last;   /* us, monotonic */
} RateLimit;

/* Bytes that may be sent at NOW; RATE in bytes a second, 0: no limit. */
uint64_t relay_rate_limit_allow(RateLimit *limit, uint64_t rate, gint64 now);

/* BYTES were sent; without a limit at the last relay_rate_limit_allow() they do not count. */
void relay_rate_limit_use(RateLimit *limit, uint64_t bytes);

/* How long to wait, in ms, until at least one block may be sent; 0: now. */
int relay_rate_limit_wait(const RateLimit *limit, uint64_t rate);

#endif
