/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-limit: what the page's handshake can do on this machine. No network and no window: a bare loop takes each block
 * off the page of a simulated guest (source), or gives the same block again and again (destination).
 */
#include "bench-common.h"

#include <stdlib.h>
#include <string.h>

static uint8_t block[MIGPAGE_BLOCK_SIZE] __attribute__((aligned(64)));

/* The compiler must believe that somebody reads, or has changed, the block. */
static inline void use_block(void)
{
    __asm__ volatile("" : : "r"(block) : "memory");
}

static uint64_t take_blocks(uint8_t *page)
{
    uint64_t blocks = 0;

    bench_store(page, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READ);
    bench_store(page, MIGPAGE_STATUS_OFFSET, MIGPAGE_STATUS_RUNNING);
    while (!bench_time_is_up) {
        uint8_t status = bench_load(page, MIGPAGE_STATUS_OFFSET);

        if (bench_load(page, MIGPAGE_DATA_OFFSET) == MIGPAGE_DATA_READY) {
            memcpy(block, page + MIGPAGE_BUFFER_OFFSET, MIGPAGE_BLOCK_SIZE);
            use_block();
            bench_store(page, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READ);
            blocks++;
        } else if (status == MIGPAGE_STATUS_COMPLETED) {
            break;
        } else {
            bench_relax();
        }
    }
    return blocks;
}

static void wait_read(uint8_t *page)
{
    while (bench_load(page, MIGPAGE_DATA_OFFSET) != MIGPAGE_DATA_READ && !bench_time_is_up) {
        bench_relax();
    }
}

static uint64_t give_blocks(uint8_t *page, uint64_t blocks)
{
    uint64_t given = 0;

    bench_store(page, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READ);
    bench_store(page, MIGPAGE_STATUS_OFFSET, MIGPAGE_STATUS_INCOMING);
    while (given < blocks) {
        wait_read(page);
        if (bench_time_is_up) {
            return given;
        }
        use_block();
        memcpy(page + MIGPAGE_BUFFER_OFFSET, block, MIGPAGE_BLOCK_SIZE);
        bench_store(page, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READY);
        given++;
    }
    wait_read(page);
    bench_store(page, MIGPAGE_STATUS_OFFSET, MIGPAGE_STATUS_COMPLETED);
    return given;
}

int main(int argc, char **argv)
{
    uint64_t blocks;
    uint8_t *page;
    double start;

    g_set_prgname("bench-limit");
    if (argc != 6 || !(g_str_equal(argv[1], "source") || g_str_equal(argv[1], "destination"))) {
        bench_fail("usage: bench-limit source|destination MEMORY OFFSET BLOCKS SECONDS");
    }
    page = bench_map_pages(argv[2], (uint64_t)bench_parse_number("offset", argv[3]), 1);
    blocks = (uint64_t)bench_parse_number("blocks", argv[4]);
    bench_limit_time(bench_parse_number("seconds", argv[5]));
    start = bench_now();
    blocks = g_str_equal(argv[1], "source") ? take_blocks(page) : give_blocks(page, blocks);
    bench_print_result(blocks, bench_now() - start);
    return EXIT_SUCCESS;
}
