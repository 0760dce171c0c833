/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Time, pages and loopback sockets for the programs of the bench. */
#include "bench-common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define UNIX_PREFIX "unix:@"
#define TCP_PREFIX "tcp:127.0.0.1:"

volatile sig_atomic_t bench_time_is_up;

typedef union {
    struct sockaddr any;
    struct sockaddr_un un;
    struct sockaddr_in in;
} Address;

void bench_fail(const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list arguments;

    va_start(arguments, format);
    message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s: %s\n", g_get_prgname(), message);
    exit(EXIT_FAILURE);
}

/* ---- Time ------------------------------------------------------------------------------------------ */

double bench_now(void)
{
    return (double)g_get_monotonic_time() / G_USEC_PER_SEC;
}

static void on_alarm(int number G_GNUC_UNUSED)
{
    bench_time_is_up = 1;
}

void bench_limit_time(double seconds)
{
    struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART: it must end a write */
    struct itimerval timer = {{0, 0}, {0, 0}};

    sigemptyset(&action.sa_mask);
    sigaction(SIGALRM, &action, NULL);
    timer.it_value.tv_sec = (time_t)seconds;
    timer.it_value.tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * G_USEC_PER_SEC);
    timer.it_interval.tv_usec = 10000; /* again: the first may come just before a call that waits */
    setitimer(ITIMER_REAL, &timer, NULL);
}

double bench_parse_number(const char *what, const char *text)
{
    char *end;
    double number = g_ascii_strtod(text, &end);

    if (end == text || *end != '\0' || number < 0) {
        bench_fail("%s: '%s' is not a number", what, text);
    }
    return number;
}

/* ---- The page -------------------------------------------------------------------------------------- */

uint8_t *bench_map_pages(const char *path, uint64_t offset, unsigned count)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *start = MAP_FAILED;

    if (fd >= 0) {
        start = mmap(NULL, (size_t)count * MIGPAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                     (off_t)offset);
        close(fd);
    }
    if (start == MAP_FAILED) {
        bench_fail("cannot map %u page(s) of %s: %s", count, path, g_strerror(errno));
    }
    return start;
}

static gpointer spin(gpointer data G_GNUC_UNUSED)
{
    while (TRUE) {
        bench_relax();
    }
    return NULL;
}

void bench_start_spinner(void)
{
    g_thread_unref(g_thread_new("spinner", spin, NULL));
}

/* ---- Sockets --------------------------------------------------------------------------------------- */

static socklen_t parse_address(const char *text, Address *address)
{
    memset(address, 0, sizeof(*address));
    if (g_str_has_prefix(text, UNIX_PREFIX)) {
        const char *name = text + strlen(UNIX_PREFIX);

        address->un.sun_family = AF_UNIX; /* the name begins after a zero */
        if (g_strlcpy(address->un.sun_path + 1, name, sizeof(address->un.sun_path) - 1) >=
            sizeof(address->un.sun_path) - 1) {
            bench_fail("'%s' is too long", text);
        }
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    }
    if (!g_str_has_prefix(text, TCP_PREFIX)) {
        bench_fail("'%s' is neither " UNIX_PREFIX "NAME nor " TCP_PREFIX "PORT", text);
    }
    address->in.sin_family = AF_INET;
    address->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address->in.sin_port = htons((uint16_t)bench_parse_number("port", text + strlen(TCP_PREFIX)));
    return sizeof(address->in);
}

static int new_socket(const Address *address)
{
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        bench_fail("cannot make a socket: %s", g_strerror(errno));
    }
    return fd;
}

/* As the relays do: a block that is written must go. */
static int set_no_delay(int fd)
{
    const int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* fails on a Unix socket */
    return fd;
}

/* Returns the listening descriptor, and what to connect to in ADDRESS. */
static int listen_on(const char *text, Address *address, socklen_t *length)
{
    int fd;

    *length = parse_address(text, address);
    fd = new_socket(address);
    if (bind(fd, &address->any, *length) < 0 || listen(fd, 128) < 0) {
        bench_fail("cannot listen on %s: %s", text, g_strerror(errno));
    }
    if (address->any.sa_family == AF_INET && getsockname(fd, &address->any, length) < 0) {
        bench_fail("cannot ask for the port of %s: %s", text, g_strerror(errno));
    }
    return fd;
}

int bench_listen(const char *text)
{
    Address address;
    socklen_t length;
    int fd = listen_on(text, &address, &length);

    if (address.any.sa_family == AF_INET) {
        printf("listening on " TCP_PREFIX "%u\n", ntohs(address.in.sin_port));
    } else {
        printf("listening on %s\n", text);
    }
    fflush(stdout);
    return fd;
}

int bench_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0) {
        bench_fail("cannot accept a connection: %s", g_strerror(errno));
    }
    return set_no_delay(fd);
}

static int connect_to(const Address *address, socklen_t length, const char *text)
{
    int fd = new_socket(address);

    if (connect(fd, &address->any, length) < 0) {
        bench_fail("cannot connect to %s: %s", text, g_strerror(errno));
    }
    return set_no_delay(fd);
}

int bench_connect(const char *text)
{
    Address address;
    socklen_t length = parse_address(text, &address);

    return connect_to(&address, length, text);
}

void bench_connect_pair(const char *kind, int ends[2])
{
    Address address;
    socklen_t length;
    int listener;

    if (g_str_equal(kind, "unix")) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
            bench_fail("cannot make a pair of sockets: %s", g_strerror(errno));
        }
        return;
    }
    if (!g_str_equal(kind, "tcp")) {
        bench_fail("'%s' is neither unix nor tcp", kind);
    }
    listener = listen_on(TCP_PREFIX "0", &address, &length);
    ends[0] = connect_to(&address, length, kind);
    ends[1] = bench_accept(listener);
    close(listener);
}

gboolean bench_write_all(int fd, const void *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = send(fd, bytes, length, MSG_NOSIGNAL);

        if (written < 0 && errno != EINTR) {
            bench_fail("cannot write: %s", g_strerror(errno));
        }
        if (written > 0) {
            bytes = (const uint8_t *)bytes + written;
            length -= (size_t)written;
        } else if (bench_time_is_up) {
            return FALSE;
        }
    }
    return TRUE;
}

size_t bench_read_some(int fd, void *bytes, size_t length)
{
    ssize_t count;

    do {
        count = recv(fd, bytes, length, 0);
    } while (count < 0 && errno == EINTR && !bench_time_is_up);
    if (count < 0 && errno != EINTR) {
        bench_fail("cannot read: %s", g_strerror(errno));
    }
    return count > 0 ? (size_t)count : 0;
}

gboolean bench_read_all(int fd, void *bytes, size_t length)
{
    while (length > 0) {
        size_t count = bench_read_some(fd, bytes, length);

        if (count == 0) {
            return FALSE;
        }
        bytes = (uint8_t *)bytes + count;
        length -= count;
    }
    return TRUE;
}

void bench_print_result(uint64_t blocks, double seconds)
{
    printf("blocks %" G_GUINT64_FORMAT " seconds %.6f\n", blocks, seconds);
    fflush(stdout);
}
