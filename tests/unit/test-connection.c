/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Buffered reading and queued writing over a socketpair with tiny buffers. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/connection.h"

/* CONNECTION on one end of a socketpair, whose other end is PEER, not blocking. */
typedef struct Fixture {
    Connection *connection;
    int peer;
} Fixture;

static int set_up(void **state)
{
    Fixture *fixture = g_new0(Fixture, 1);
    g_autoptr(GError) error = NULL;
    g_autoptr(TransportUri) uri = transport_uri_parse("fd:0", &error);
    TransportOptions options = {.fd = -1};
    TransportStream *stream;
    int fds[2], small = 4096;

    assert_non_null(uri);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    }
    options.fd = fds[0];
    stream = transport_connect(uri, &options, &error);
    if (!stream) {
        fail_msg("%s", error->message);
    }
    fixture->connection = relay_connection_new(stream);
    fixture->peer = fds[1];
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    Fixture *fixture = *state;

    relay_connection_free(fixture->connection);
    if (fixture->peer >= 0) {
        close(fixture->peer);
    }
    g_free(fixture);
    return 0;
}

static guint8 byte_at(uint64_t position)
{
    return (guint8)(position * 2654435761u >> 13);
}

static void fill_pattern(guint8 *bytes, size_t length, uint64_t position)
{
    for (size_t i = 0; i < length; i++) {
        bytes[i] = byte_at(position + i);
    }
}

static void assert_pattern(const guint8 *bytes, size_t length, uint64_t position)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != byte_at(position + i)) {
            fail_msg("byte %" G_GUINT64_FORMAT " is wrong", position + i);
        }
    }
}

/* The peer writes LENGTH bytes of the pattern as far as they go; returns how many went. */
static size_t peer_send(Fixture *fixture, uint64_t position, size_t length)
{
    g_autofree guint8 *bytes = g_malloc(length);
    ssize_t sent;

    fill_pattern(bytes, length, position);
    sent = send(fixture->peer, bytes, length, MSG_NOSIGNAL);
    return sent > 0 ? (size_t)sent : 0;
}

/* ---- Coming in ------------------------------------------------------------------------------------- */

static void test_peek_and_consume(void **state)
{
    Fixture *fixture = *state;
    Connection *c = fixture->connection;
    g_autoptr(GError) error = NULL;
    gint64 before = relay_connection_last_received(c);

    assert_int_equal(relay_connection_fill(c, &error), CONNECTION_BLOCKED);
    assert_null(relay_connection_peek(c, 1));
    assert_non_null(relay_connection_peek(c, 0));
    assert_true(relay_connection_last_received(c) == before);
    g_usleep(1000);
    assert_int_equal(peer_send(fixture, 0, 10), 10);
    assert_int_equal(relay_connection_fill(c, &error), CONNECTION_OK);
    assert_true(relay_connection_last_received(c) > before);
    assert_int_equal(relay_connection_buffered(c), 10);
    assert_null(relay_connection_peek(c, 11));
    assert_pattern(relay_connection_peek(c, 10), 10, 0);
    relay_connection_consume(c, 4);
    assert_pattern(relay_connection_peek(c, 6), 6, 4);
    relay_connection_unread(c, 4);
    assert_pattern(relay_connection_peek(c, 10), 10, 0);
    relay_connection_consume(c, 10);
    assert_int_equal(relay_connection_buffered(c), 0);
    close(fixture->peer);
    fixture->peer = -1;
    assert_int_equal(relay_connection_fill(c, &error), CONNECTION_END);
    assert_null(error);
}

/* Far more than the buffer holds, in frames of all sizes, each looked at whole before it is taken. */
static void test_frames_across_the_buffer(void **state)
{
    Fixture *fixture = *state;
    Connection *c = fixture->connection;
    uint64_t sent = 0, taken = 0;
    g_autoptr(GError) error = NULL;

    while (taken < 2 * 1024 * 1024) {
        size_t frame = 1 + (size_t)(taken * 31 % CONNECTION_PEEK_MAX);
        const guint8 *bytes;

        while (!(bytes = relay_connection_peek(c, frame))) {
            sent += peer_send(fixture, sent, 50000);
            assert_int_not_equal(relay_connection_fill(c, &error), CONNECTION_ERROR);
        }
        assert_pattern(bytes, frame, taken);
        relay_connection_consume(c, frame);
        if (frame % 3 == 0) {
            relay_connection_unread(c, frame);
            assert_pattern(relay_connection_peek(c, frame), frame, taken);
            relay_connection_consume(c, frame);
        }
        taken += frame;
    }
}

/* A reader that does not read: the buffer fills up, nothing is lost, and filling goes on afterwards. */
static void test_full_buffer(void **state)
{
    Fixture *fixture = *state;
    Connection *c = fixture->connection;
    uint64_t sent = 0, taken = 0;

    for (int i = 0; i < 200; i++) {
        sent += peer_send(fixture, sent, 4096);
        assert_int_not_equal(relay_connection_fill(c, NULL), CONNECTION_ERROR);
    }
    assert_true(relay_connection_buffered(c) >= CONNECTION_PEEK_MAX);
    while (taken < sent) {
        size_t piece = MIN(relay_connection_buffered(c), 1000);

        assert_pattern(relay_connection_peek(c, piece), piece, taken);
        relay_connection_consume(c, piece);
        taken += piece;
        relay_connection_fill(c, NULL);
    }
    assert_int_equal(relay_connection_fill(c, NULL), CONNECTION_BLOCKED);
}

static void test_read_into(void **state)
{
    Fixture *fixture = *state;
    Connection *c = fixture->connection;
    g_autofree guint8 *target = g_malloc0(65536);
    g_autoptr(GError) error = NULL;
    size_t moved = 99;

    assert_int_equal(peer_send(fixture, 0, 100), 100);
    assert_int_equal(relay_connection_fill(c, &error), CONNECTION_OK);
    assert_int_equal(relay_connection_read_into(c, target, 60, &moved, &error), CONNECTION_OK);
    assert_int_equal(moved, 60);
    assert_int_equal(relay_connection_read_into(c, target + 60, 60000, &moved, &error),
                     CONNECTION_OK);
    assert_int_equal(moved, 40); /* what is buffered comes first, and alone */
    assert_pattern(target, 100, 0);
    /* Little is wanted: it is to come by way of the buffer. */
    assert_int_equal(peer_send(fixture, 100, 100), 100);
    assert_int_equal(relay_connection_read_into(c, target, 100, &moved, &error), CONNECTION_OK);
    assert_int_equal(moved, 0);
    /* Much is wanted: straight from the stream, never more than asked for. */
    assert_int_equal(relay_connection_read_into(c, target, 65536, &moved, &error), CONNECTION_OK);
    assert_int_equal(moved, 100);
    assert_pattern(target, 100, 100);
    assert_int_equal(relay_connection_read_into(c, target, 65536, &moved, &error),
                     CONNECTION_BLOCKED);
    assert_int_equal(moved, 0);
    shutdown(fixture->peer, SHUT_WR);
    assert_int_equal(relay_connection_read_into(c, target, 65536, &moved, &error), CONNECTION_END);
    assert_int_equal(moved, 0);
    assert_null(error);
}

/* ---- Going out ------------------------------------------------------------------------------------- */

/* The peer reads what is there, checks it, and returns how much it was. */
static size_t peer_receive(Fixture *fixture, uint64_t position)
{
    guint8 bytes[3000];
    ssize_t got = recv(fixture->peer, bytes, sizeof(bytes), 0);

    if (got <= 0) {
        return 0;
    }
    assert_pattern(bytes, (size_t)got, position);
    return (size_t)got;
}

/* Small copies and large blocks mixed, through a socket that takes a little at a time. */
static void test_partial_writes(void **state)
{
    Fixture *fixture = *state;
    Connection *c = fixture->connection;
    g_autofree guint8 *blocks = g_malloc(300000);
    uint64_t queued = 0, received = 0;
    unsigned blocked = 0;

    for (int round = 0; round < 20; round++) {
        uint64_t first = queued;

        assert_true(relay_connection_is_flushed(c));
        fill_pattern(blocks, 300000, first);
        for (int i = 0; i < 40; i++) {
            size_t length = (size_t)(i % 2 ? 5000 + i : 1 + i);

            assert_true(i % 2 ? relay_connection_queue_blocks(c, blocks + (queued - first), length)
                              : relay_connection_queue(c, blocks + (queued - first), length));
            queued += length;
        }
        assert_false(relay_connection_is_flushed(c));
        while (relay_connection_flush(c, NULL) == CONNECTION_BLOCKED) {
            blocked++;
            assert_false(relay_connection_is_flushed(c));
            received += peer_receive(fixture, received);
        }
    }
    while (received < queued) {
        size_t got = peer_receive(fixture, received);

        assert_true(got > 0);
        received += got;
    }
    assert_true(blocked > 100);
}

/* What is queued as a copy may be overwritten at once. */
static void test_copies(void **state)
{
    Fixture *fixture = *state;
    guint8 bytes[100];

    fill_pattern(bytes, sizeof(bytes), 0);
    assert_true(relay_connection_queue(fixture->connection, bytes, sizeof(bytes)));
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(relay_connection_flush(fixture->connection, NULL), CONNECTION_OK);
    assert_int_equal(peer_receive(fixture, 0), sizeof(bytes));
}

static void test_no_room(void **state)
{
    static const guint8 bytes[6000];
    Fixture *fixture = *state;
    Connection *c = fixture->connection;
    unsigned count = 0;

    while (relay_connection_queue(c, bytes, sizeof(bytes))) {
        assert_true(++count < 100);
    }
    assert_true(count >= 1);
    count = 0;
    while (relay_connection_queue_blocks(c, bytes, 1)) {
        assert_true(++count < 5000);
    }
    assert_false(relay_connection_queue(c, bytes, 1));
    while (relay_connection_flush(c, NULL) == CONNECTION_BLOCKED) {
        guint8 sink[8192];

        assert_true(recv(fixture->peer, sink, sizeof(sink), 0) > 0);
    }
    assert_true(relay_connection_queue(c, bytes, sizeof(bytes))); /* and room again */
}

static void test_flush_wait(void **state)
{
    static const guint8 bytes[100000];
    Fixture *fixture = *state;
    Connection *c = fixture->connection;
    gint64 start = g_get_monotonic_time();

    assert_true(relay_connection_queue_blocks(c, bytes, sizeof(bytes)));
    relay_connection_flush_wait(c, 50); /* nobody reads */
    assert_in_range(g_get_monotonic_time() - start, 40000, 60000000);
    assert_false(relay_connection_is_flushed(c));
    relay_connection_flush_wait(c, 0);
    assert_false(relay_connection_is_flushed(c));
}

static void test_broken(void **state)
{
    Fixture *fixture = *state;
    g_autoptr(GError) error = NULL;

    close(fixture->peer);
    fixture->peer = -1;
    assert_true(relay_connection_queue(fixture->connection, "x", 1));
    assert_int_equal(relay_connection_flush(fixture->connection, &error), CONNECTION_ERROR);
    assert_non_null(error);
    relay_connection_flush_wait(fixture->connection, 1000); /* does not wait for what cannot be */
}

static void test_pollfds(void **state)
{
    Fixture *fixture = *state;
    struct pollfd pollfds[2];

    for (int want_read = 0; want_read <= 1; want_read++) {
        for (int writing = 0; writing <= 1; writing++) {
            short wanted = (short)((want_read ? POLLIN : 0) | (writing ? POLLOUT : 0)), found = 0;
            int count = relay_connection_pollfds(fixture->connection, want_read, pollfds);

            assert_in_range(count, 1, 2);
            for (int i = 0; i < count; i++) {
                found = (short)(found | pollfds[i].events);
                assert_int_equal(pollfds[i].fd >= 0, pollfds[i].events != 0);
            }
            assert_int_equal(found, wanted);
            if (!writing) {
                assert_true(relay_connection_queue(fixture->connection, "x", 1));
            }
        }
        assert_int_equal(relay_connection_flush(fixture->connection, NULL), CONNECTION_OK);
    }
}

#define CONNECTION_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONNECTION_TEST(test_peek_and_consume), CONNECTION_TEST(test_frames_across_the_buffer),
        CONNECTION_TEST(test_full_buffer),      CONNECTION_TEST(test_read_into),
        CONNECTION_TEST(test_partial_writes),   CONNECTION_TEST(test_copies),
        CONNECTION_TEST(test_no_room),          CONNECTION_TEST(test_flush_wait),
        CONNECTION_TEST(test_broken),           CONNECTION_TEST(test_pollfds),
    };

    return cmocka_run_group_tests_name("connection", tests, NULL, NULL);
}
