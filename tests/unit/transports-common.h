/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of the transports share: URIs to streams, and reads and writes that wait, with an
 * end.
 */
#ifndef TESTS_UNIT_TRANSPORTS_COMMON_H
#define TESTS_UNIT_TRANSPORTS_COMMON_H

#include "transports/transport.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <glib/gstdio.h>

/* No test waits longer for anything. */
#define PATIENCE_MS 30000

/* What should take no time took less than any time-out would have (us). */
#define LONG_US 20000000

static inline gint64 after_ms(int milliseconds)
{
    return g_get_monotonic_time() + (gint64)milliseconds * 1000;
}

static inline TransportOptions plain_options(void)
{
    TransportOptions options = {.deadline = after_ms(PATIENCE_MS), .fd = -1};

    return options;
}

static inline TransportUri *uri_of(const char *text)
{
    g_autoptr(GError) error = NULL;
    TransportUri *uri = transport_uri_parse(text, &error);

    if (!uri) {
        fail_msg("%s", error->message);
    }
    return uri;
}

static inline TransportListener *must_listen(const char *text, const TransportOptions *options)
{
    g_autoptr(TransportUri) uri = uri_of(text);
    g_autoptr(GError) error = NULL;
    TransportListener *listener = transport_listen(uri, options, &error);

    if (!listener) {
        fail_msg("%s", error->message);
    }
    return listener;
}

static inline TransportStream *must_connect(const char *text, const TransportOptions *options)
{
    g_autoptr(TransportUri) uri = uri_of(text);
    g_autoptr(GError) error = NULL;
    TransportStream *stream = transport_connect(uri, options, &error);

    if (!stream) {
        fail_msg("%s", error->message);
    }
    return stream;
}

/* Fails unless ERROR is there and its text has WORDS. */
static inline void assert_words(const GError *error, const char *words)
{
    assert_non_null(error);
    if (!strstr(error->message, words)) {
        fail_msg("'%s' is not in: %s", words, error->message);
    }
}

static inline void must_not_connect(const char *text, const TransportOptions *options,
                                    const char *words)
{
    g_autoptr(TransportUri) uri = uri_of(text);
    g_autoptr(GError) error = NULL;
    g_autoptr(TransportStream) stream = transport_connect(uri, options, &error);

    assert_null(stream);
    assert_words(error, words);
    assert_words(error, text);
}

static inline void must_not_listen(const char *text, const TransportOptions *options,
                                   const char *words)
{
    g_autoptr(TransportUri) uri = uri_of(text);
    g_autoptr(GError) error = NULL;
    g_autoptr(TransportListener) listener = transport_listen(uri, options, &error);

    assert_null(listener);
    assert_words(error, words);
    assert_words(error, text);
}

static inline void must_become_ready(int fd, short events)
{
    struct pollfd pollfd = {fd, events, 0};

    assert_int_equal(poll(&pollfd, 1, PATIENCE_MS), 1);
}

static inline TransportStream *must_accept(TransportListener *listener)
{
    g_autoptr(GError) error = NULL;
    struct pollfd pollfds[8];
    size_t count;
    const int *fds = transport_listener_fds(listener, &count);
    TransportStream *stream;

    assert_in_range(count, 1, G_N_ELEMENTS(pollfds));
    for (size_t i = 0; i < count; i++) {
        pollfds[i] = (struct pollfd){fds[i], POLLIN, 0};
    }
    assert_true(poll(pollfds, count, PATIENCE_MS) > 0);
    stream = transport_listener_accept(listener, &error);
    if (!stream) {
        fail_msg("%s", error->message);
    }
    return stream;
}

/* One read, waiting for it; as transport_stream_read(). */
static inline gssize read_waiting(TransportStream *stream, void *buffer, size_t length,
                                  GError **error)
{
    for (;;) {
        g_autoptr(GError) failure = NULL;
        gssize count = transport_stream_read(stream, buffer, length, &failure);

        if (count >= 0) {
            return count;
        }
        if (!g_error_matches(failure, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return -1;
        }
        must_become_ready(transport_stream_read_fd(stream), POLLIN);
    }
}

/* As transport_stream_writev() of one vector, but waiting, and until all is written. */
static inline gboolean write_waiting(TransportStream *stream, const void *data, size_t length,
                                     GError **error)
{
    while (length > 0) {
        g_autoptr(GError) failure = NULL;
        struct iovec vector = {(void *)data, length};
        gssize count = transport_stream_writev(stream, &vector, 1, &failure);

        if (count > 0) {
            data = (const char *)data + count;
            length -= (size_t)count;
        } else if (!g_error_matches(failure, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return FALSE;
        } else {
            must_become_ready(transport_stream_write_fd(stream), POLLOUT);
        }
    }
    return TRUE;
}

static inline void must_write(TransportStream *stream, const void *data, size_t length)
{
    g_autoptr(GError) error = NULL;

    if (!write_waiting(stream, data, length, &error)) {
        fail_msg("%s", error->message);
    }
}

static inline void must_read(TransportStream *stream, const void *wanted, size_t length)
{
    g_autofree char *buffer = g_malloc(length);
    size_t have = 0;

    while (have < length) {
        g_autoptr(GError) error = NULL;
        gssize count = read_waiting(stream, buffer + have, length - have, &error);

        if (count <= 0) {
            fail_msg("%s", error ? error->message : "unexpected end");
        }
        have += (size_t)count;
    }
    assert_memory_equal(buffer, wanted, length);
}

static inline void must_read_end(TransportStream *stream)
{
    g_autoptr(GError) error = NULL;
    char byte;
    gssize count = read_waiting(stream, &byte, 1, &error);

    if (count != 0) {
        fail_msg("no end: %s", error ? error->message : "data");
    }
}

static inline void must_fail_to_read(TransportStream *stream, const char *words)
{
    g_autoptr(GError) error = NULL;
    char byte;

    assert_int_equal(read_waiting(stream, &byte, 1, &error), -1);
    assert_words(error, words);
}

static inline void must_shut_down(TransportStream *stream)
{
    g_autoptr(GError) error = NULL;

    if (!transport_stream_shutdown(stream, &error)) {
        fail_msg("%s", error->message);
    }
}

/* A thread that cancels while the test's own thread waits. */
static inline gpointer cancel_soon(gpointer cancellable)
{
    g_usleep(50000);
    g_cancellable_cancel(cancellable);
    return NULL;
}

/* Both directions, end by end. */
static inline void must_talk(TransportStream *a, TransportStream *b)
{
    must_write(a, "hello", 5);
    must_read(b, "hello", 5);
    must_write(b, "world", 5);
    must_shut_down(b);
    must_shut_down(b);
    must_read(a, "world", 5);
    must_read_end(a);
    must_write(a, "still", 5);
    must_read(b, "still", 5);
    must_shut_down(a);
    must_read_end(b);
}

/* ---- A directory for each test program ------------------------------------------------------- */

typedef struct Fixture {
    char *directory;
} Fixture;

static inline int set_up(void **state)
{
    Fixture *fixture = g_new0(Fixture, 1);

    fixture->directory = g_dir_make_tmp("transports-XXXXXX", NULL);
    *state = fixture;
    return fixture->directory ? 0 : -1;
}

static inline int tear_down(void **state)
{
    Fixture *fixture = *state;
    GDir *directory = g_dir_open(fixture->directory, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(directory))) {
        g_autofree char *path = g_build_filename(fixture->directory, name, NULL);
        g_unlink(path);
    }
    g_dir_close(directory);
    g_rmdir(fixture->directory);
    g_free(fixture->directory);
    g_free(fixture);
    return 0;
}

static inline char *path_uri(void **state, const char *scheme, const char *name)
{
    Fixture *fixture = *state;

    return g_strdup_printf("%s:%s/%s", scheme, fixture->directory, name);
}

#endif
