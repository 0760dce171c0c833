/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-blast: what a loopback socket can do. No page: large plain writes into a connection that is drained by a thread,
 * while another thread spins as a guest's processor does.
 */
#include "bench-common.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define CHUNK (256 * 1024)

static gpointer drain(gpointer data)
{
    int fd = GPOINTER_TO_INT(data);
    g_autofree uint8_t *buffer = g_malloc(CHUNK);

    /* The alarm interrupts any thread; the end of the stream is what ends this one. */
    while (recv(fd, buffer, CHUNK, 0) != 0) {
    }
    return NULL;
}

int main(int argc, char **argv)
{
    g_autofree uint8_t *chunk = g_malloc0(CHUNK);
    uint64_t bytes = 0;
    GThread *thread;
    double start;
    int ends[2];

    g_set_prgname("bench-blast");
    if (argc != 3) {
        bench_fail("usage: bench-blast unix|tcp SECONDS");
    }
    bench_connect_pair(argv[1], ends);
    bench_start_spinner();
    thread = g_thread_new("drain", drain, GINT_TO_POINTER(ends[1]));
    bench_limit_time(bench_parse_number("seconds", argv[2]));
    start = bench_now();
    while (bench_write_all(ends[0], chunk, CHUNK) && !bench_time_is_up) {
        bytes += CHUNK;
    }
    bench_print_result(bytes / MIGPAGE_BLOCK_SIZE, bench_now() - start);
    shutdown(ends[0], SHUT_WR);
    g_thread_join(thread);
    return EXIT_SUCCESS;
}
