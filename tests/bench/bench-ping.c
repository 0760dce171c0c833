/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-ping: how long a lone block takes through a loopback socket to a thread that sleeps in a read, while another thread
 * spins as a guest's processor does. No page: what the machine's timers and scheduler leave of a delay.
 */
#include "bench-common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gpointer write_blocks(gpointer data)
{
    int *ends = data;
    uint8_t block[MIGPAGE_BLOCK_SIZE] = {0};
    unsigned count = (unsigned)ends[2];

    for (unsigned i = 0; i < count; i++) {
        double now;

        g_usleep((gulong)ends[3]);
        now = bench_now();
        memcpy(block, &now, sizeof(now));
        bench_write_all(ends[0], block, sizeof(block));
    }
    return NULL;
}

static gint compare(gconstpointer a, gconstpointer b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return left < right ? -1 : left > right;
}

int main(int argc, char **argv)
{
    g_autoptr(GArray) delays = g_array_new(FALSE, FALSE, sizeof(double));
    uint8_t block[MIGPAGE_BLOCK_SIZE];
    int ends[4]; /* two descriptors, the count and the pause */
    GThread *thread;

    g_set_prgname("bench-ping");
    if (argc != 4 || bench_parse_number("count", argv[2]) < 1) {
        bench_fail("usage: bench-ping unix|tcp COUNT INTERVAL-IN-US");
    }
    bench_connect_pair(argv[1], ends);
    ends[2] = (int)bench_parse_number("count", argv[2]);
    ends[3] = (int)bench_parse_number("interval", argv[3]);
    bench_start_spinner();
    thread = g_thread_new("writer", write_blocks, ends);
    for (int i = 0; i < ends[2] && bench_read_all(ends[1], block, sizeof(block)); i++) {
        double sent, delay;

        memcpy(&sent, block, sizeof(sent));
        delay = (bench_now() - sent) * G_USEC_PER_SEC;
        g_array_append_val(delays, delay);
    }
    g_thread_join(thread);
    g_array_sort(delays, compare);
    printf("latency median %.1f us p99 %.1f us blocks %u\n",
           g_array_index(delays, double, delays->len / 2),
           g_array_index(delays, double, (guint64)delays->len * 99 / 100), delays->len);
    return EXIT_SUCCESS;
}
