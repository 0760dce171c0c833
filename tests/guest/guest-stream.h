/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the test guests send: a stream of blocks that follows from a seed alone, and its checksum. Every word of a block
 * depends on the block's number, so that a lost, doubled, swapped or torn block changes the checksum. Compiled into the
 * simulated and into the bare-metal guest: no library but the header of xxhash.
 */
#ifndef GUEST_STREAM_H
#define GUEST_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#ifndef XXH_INLINE_ALL
#define XXH_INLINE_ALL
#endif
#include <xxhash.h>

#include "migpage/layout.h"

#define GUEST_BLOCK_WORDS (MIGPAGE_BLOCK_SIZE / sizeof(uint64_t))

/* The generator: one random block, into which the numbers of the blocks are mixed. */
typedef struct {
    uint64_t base[GUEST_BLOCK_WORDS];
} GuestStream;

/* What was given or taken in one run. Set up with guest_tally_start(). */
typedef struct {
    XXH3_state_t hash;
    uint64_t blocks;
    bool hashing;
} GuestTally;

/* Makes the stream of this seed. */
void guest_stream_init(GuestStream *stream, uint64_t seed);

/* Writes block NUMBER of the stream to BLOCK (MIGPAGE_BLOCK_SIZE bytes, aligned to 8). */
void guest_stream_fill(const GuestStream *stream, uint64_t number, uint8_t *block);

/* Begins a run's tally at zero blocks. Without HASHING the checksum stays that of nothing. */
void guest_tally_start(GuestTally *tally, bool hashing);

/* Adds one block of MIGPAGE_BLOCK_SIZE bytes. */
void guest_tally_add(GuestTally *tally, const uint8_t *block);

/* Returns XXH3 (64 bits, seed 0) over all blocks so far, in order. More may be added afterwards. */
uint64_t guest_tally_checksum(const GuestTally *tally);

#endif
