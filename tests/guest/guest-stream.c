/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The test guests' stream: its generator and its checksum. */
#include "guest-stream.h"

/* SplitMix64: small, and good enough to fill one block. */
static uint64_t guest_stream_next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void guest_stream_init(GuestStream *stream, uint64_t seed)
{
    uint64_t state = seed;

    for (unsigned i = 0; i < GUEST_BLOCK_WORDS; i++) {
        stream->base[i] = guest_stream_next_random(&state);
    }
}

void guest_stream_fill(const GuestStream *stream, uint64_t number, uint8_t *block)
{
    uint64_t *words = __builtin_assume_aligned(block, sizeof(uint64_t));
    uint64_t mix = (number + 1) * 0x9e3779b97f4a7c15u; /* odd: another value for every number */

    for (unsigned i = 0; i < GUEST_BLOCK_WORDS; i++) {
        words[i] = stream->base[i] ^ mix;
    }
}

void guest_tally_start(GuestTally *tally, bool hashing)
{
    tally->blocks = 0;
    tally->hashing = hashing;
    XXH3_64bits_reset(&tally->hash);
}

void guest_tally_add(GuestTally *tally, const uint8_t *block)
{
    tally->blocks++;
    if (tally->hashing) {
        XXH3_64bits_update(&tally->hash, block, MIGPAGE_BLOCK_SIZE);
    }
}

uint64_t guest_tally_checksum(const GuestTally *tally)
{
    return XXH3_64bits_digest(&tally->hash);
}
