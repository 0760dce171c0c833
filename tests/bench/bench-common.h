/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the programs of the bench have in common: time, pages, loopback sockets. Whatever goes wrong ends the program. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <glib.h>
#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

#include "migpage/layout.h"

/* Set to 1 when the time of bench_limit_time() is over. */
extern volatile sig_atomic_t bench_time_is_up;

/* Says what is wrong on standard error, and exits with status 1. */
G_NORETURN void bench_fail(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Seconds, monotonic. */
double bench_now(void);

/* From now on SECONDS are left; then bench_time_is_up is set, and a call that waits returns with EINTR. */
void bench_limit_time(double seconds);

/* A number from the command line; WHAT names it when it is none. */
double bench_parse_number(const char *what, const char *text);

/* Maps COUNT pages of the guest's RAM in the file PATH, from byte OFFSET on. They stay mapped. */
uint8_t *bench_map_pages(const char *path, uint64_t offset, unsigned count);

/* A page's register, as migpage/page.c and the guests load and store it. */
static inline uint8_t bench_load(const uint8_t *page, unsigned offset)
{
    return __atomic_load_n(page + offset, __ATOMIC_ACQUIRE);
}

static inline void bench_store(uint8_t *page, unsigned offset, uint8_t value)
{
    __atomic_store_n(page + offset, value, __ATOMIC_RELEASE);
}

/* One turn of a spinning loop. */
static inline void bench_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* A thread that spins for as long as the program lives, as a guest's processor does that waits for its page. */
void bench_start_spinner(void);

/*
 * ADDRESS is tcp:127.0.0.1:PORT or unix:@NAME. Listens, and says "listening on ADDRESS" on standard output (with the port
 * that was taken in place of port 0). Returns the listening descriptor.
 */
int bench_listen(const char *address);
int bench_accept(int listener);
int bench_connect(const char *address);

/* Two ends of one loopback connection: "unix" or "tcp". */
void bench_connect_pair(const char *kind, int ends[2]);

/* All of it, waiting. FALSE: the time is up (or, reading, the stream ended) before. */
gboolean bench_write_all(int fd, const void *bytes, size_t length);
gboolean bench_read_all(int fd, void *bytes, size_t length);

/* One read: 0 at the end of the stream, and when the time is up. */
size_t bench_read_some(int fd, void *bytes, size_t length);

/* "blocks N seconds S" on standard output. */
void bench_print_result(uint64_t blocks, double seconds);

#endif
