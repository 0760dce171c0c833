/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* XXH3 over the stream's blocks, in order and each once, however often it is sent. The stream thread's. */
#ifndef RELAY_CHECKSUM_H
#define RELAY_CHECKSUM_H

#include "relay/window.h"

typedef struct Checksum {
    struct XXH3_state_s *state;
    uint64_t blocks; /* so many, from the stream's first one on, are covered */
} Checksum;

void relay_checksum_init(Checksum *checksum);
void relay_checksum_clear(Checksum *checksum);

/* Covers the blocks below number UPTO, which are in WINDOW as far as they are not covered yet. */
void relay_checksum_cover(Checksum *checksum, Window *window, uint64_t upto);

/* Of what is covered. */
uint64_t relay_checksum_digest(const Checksum *checksum);

#endif
