/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "relay/checksum.h"

/* With the widest vectors of the processor that it runs on where the library can choose at run time. */
#ifdef RELAY_XXH_DISPATCH
#include <xxh_x86dispatch.h> /* declares the same names anew */
#else
#include <xxhash.h>
#endif

#include "migpage/layout.h"

void relay_checksum_init(Checksum *checksum)
{
    checksum->state = XXH3_createState();
    checksum->blocks = 0;
    XXH3_64bits_reset(checksum->state);
}

void relay_checksum_clear(Checksum *checksum)
{
    XXH3_freeState(checksum->state);
}

void relay_checksum_cover(Checksum *checksum, Window *window, uint64_t upto)
{
    while (checksum->blocks < upto) {
        void *start;
        uint64_t count = relay_window_peek(window, checksum->blocks, &start);

        count = MIN(count, upto - checksum->blocks);
        XXH3_64bits_update(checksum->state, start, count * MIGPAGE_BLOCK_SIZE);
        checksum->blocks += count;
    }
}

uint64_t relay_checksum_digest(const Checksum *checksum)
{
    return XXH3_64bits_digest(checksum->state);
}
