/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-guests: any number of source guests, played by one thread. Each has a page of its own and always has another
 * block to give; together they never take more than one processor, however many there are.
 */
#include "bench-common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    static uint8_t block[MIGPAGE_BLOCK_SIZE];
    unsigned count;
    uint8_t *pages;

    g_set_prgname("bench-guests");
    if (argc != 4 || bench_parse_number("count", argv[2]) < 1) {
        bench_fail(
            "usage: bench-guests MEMORY COUNT SECONDS: a page at byte 0, one behind it, ...");
    }
    count = (unsigned)bench_parse_number("count", argv[2]);
    pages = bench_map_pages(argv[1], 0, count);
    bench_limit_time(bench_parse_number("seconds", argv[3]));
    printf("%u pages\n", count);
    fflush(stdout);
    while (!bench_time_is_up) {
        for (unsigned i = 0; i < count; i++) {
            uint8_t *page = pages + (size_t)i * MIGPAGE_SIZE;

            if (bench_load(page, MIGPAGE_STATUS_OFFSET) == MIGPAGE_STATUS_RUNNING &&
                bench_load(page, MIGPAGE_DATA_OFFSET) == MIGPAGE_DATA_READ) {
                memcpy(page + MIGPAGE_BUFFER_OFFSET, block, MIGPAGE_BLOCK_SIZE);
                bench_store(page, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READY);
            }
        }
        bench_relax();
    }
    return EXIT_SUCCESS;
}
