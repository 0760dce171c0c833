/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The public API from end to end: whole migrations over every transport that needs no privileges, and both wires. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>
#include <gio/gio.h>
#include <glib/gstdio.h>

#include "relay-rig.h"

#define BLOCKS 700

/* Both sides have completed and agree with their guests. */
static void assert_transferred(Rig *rig, const char *wire, uint64_t blocks)
{
    g_autoptr(SnprelayInfo) source = snprelay_query(rig->source.relay);
    g_autoptr(SnprelayInfo) destination = snprelay_query(rig->destination.relay);

    if (source->status != SNPRELAY_STATUS_COMPLETED ||
        destination->status != SNPRELAY_STATUS_COMPLETED) {
        fail_msg("source: %s; destination: %s", source->error_desc, destination->error_desc);
    }
    assert_true(source->blocks == blocks && destination->blocks == blocks);
    assert_true(source->bytes == blocks * MIGPAGE_BLOCK_SIZE);
    assert_string_equal(source->wire, wire);
    assert_string_equal(destination->wire, wire);
    assert_true(source->has_checksum && destination->has_checksum);
    assert_true(source->checksum == destination->checksum);
    assert_null(source->error_desc);
    assert_null(destination->error_desc);
    assert_null(destination->listening);
    assert_true(!source->has_acked || source->acked_bytes == source->bytes);
    assert_true(source->setup_time >= 0 && source->total_time >= source->setup_time);
    assert_int_equal(source->guest_idle_time, -1);
    rig_guest_join(&rig->source);
    rig_guest_join(&rig->destination);
    assert_true(rig_guest_done(&rig->destination) == blocks);
    assert_false(rig->destination.guest.wrong);
    rig_assert_registers(&rig->source, MIGPAGE_STATUS_COMPLETED, MIGPAGE_DATA_READ);
    rig_assert_registers(&rig->destination, MIGPAGE_STATUS_COMPLETED, MIGPAGE_DATA_READ);
    for (size_t i = 2; i < MIGPAGE_BUFFER_OFFSET; i++) {
        assert_int_equal(rig->source.page[i], 0xa5);
        assert_int_equal(rig->destination.page[i], 0xa5);
    }
}

static void fill_reserved(RigSide *side)
{
    memset(side->page + 2, 0xa5, MIGPAGE_BUFFER_OFFSET - 2);
}

static void start_guests(Rig *rig, uint64_t blocks, uint64_t stop_at)
{
    fill_reserved(&rig->source);
    fill_reserved(&rig->destination);
    rig_guest_start(rig, &rig->source, blocks, stop_at);
    rig_guest_start(rig, &rig->destination, 0, UINT64_MAX);
}

static void transfer(Rig *rig, const char *listen_uri, const char *send_uri, const char *wire,
                     uint64_t blocks)
{
    g_autofree char *listening = NULL;

    rig_set(&rig->source, "wire", wire);
    start_guests(rig, blocks, UINT64_MAX);
    listening = rig_must_listen(rig, listen_uri);
    rig_must_send(rig, send_uri ? send_uri : listening);
    rig_wait_end(rig, &rig->destination);
    rig_wait_end(rig, &rig->source);
    rig_assert_history(&rig->source, "setup active completed");
    rig_assert_history(&rig->destination, "setup active completed");
    assert_transferred(rig, wire, blocks);
    assert_string_equal(rig->source.warnings->str, "");
    assert_string_equal(rig->destination.warnings->str, "");
}

static void test_unix_native(void **state)
{
    transfer(*state, NULL, NULL, "native", BLOCKS);
}

static void test_unix_poc(void **state)
{
    transfer(*state, NULL, NULL, "poc", BLOCKS);
}

static void test_tcp_native(void **state)
{
    transfer(*state, "tcp:127.0.0.1:0", NULL, "native", BLOCKS);
}

static void test_tcp_poc(void **state)
{
    transfer(*state, "tcp:127.0.0.1:0", NULL, "poc", BLOCKS);
}

/* An empty stream is a stream. */
static void test_no_blocks(void **state)
{
    transfer(*state, NULL, NULL, "native", 0);
}

static void test_no_blocks_poc(void **state)
{
    transfer(*state, NULL, NULL, "poc", 0);
}

/* A window of 32 blocks: it is full all the time, and wraps. */
static void test_small_window(void **state)
{
    Rig *rig = *state;

    rig_set(&rig->source, "window", "64k");
    rig_set(&rig->destination, "window", "64k");
    transfer(rig, NULL, NULL, "native", BLOCKS);
}

static void test_access_functions(void **state)
{
    Rig *rig = *state;

    rig->source.map = rig->destination.map = RIG_MAP_ACCESS;
    transfer(rig, NULL, NULL, "native", BLOCKS);
    assert_int_equal(rig->source.released, 1);
    assert_int_equal(rig->destination.released, 1);
}

static void add_pair(Rig *rig)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_true(snprelay_add_fd(rig->source.relay, "out", fds[0], NULL));
    assert_true(snprelay_add_fd(rig->destination.relay, "in", fds[1], NULL));
}

static void test_fd_native(void **state)
{
    add_pair(*state);
    transfer(*state, "fd:in", "fd:out", "native", BLOCKS);
    assert_false(snprelay_remove_fd(((Rig *)*state)->source.relay, "out", NULL)); /* used up */
}

static void test_fd_poc(void **state)
{
    add_pair(*state);
    transfer(*state, "fd:in", "fd:out", "poc", BLOCKS);
}

static void test_file(void **state)
{
    Rig *rig = *state;
    g_autofree char *path = g_build_filename(rig->directory, "stream", NULL);
    g_autofree char *uri = g_strconcat("file:", path, NULL);
    g_autoptr(GError) error = NULL;

    start_guests(rig, BLOCKS, UINT64_MAX);
    rig_must_send(rig, uri);
    rig_wait_end(rig, &rig->source);
    rig_assert_history(&rig->source, "setup active completed");
    error = rig_listen(rig, uri, SNPRELAY_FLAG_NONE); /* may be over by now: it listens no more */
    assert_null(error);
    rig_wait_end(rig, &rig->destination);
    assert_transferred(rig, "native", BLOCKS);
    g_unlink(path);
}

/* Again and again on the same pages, in turns of the wires: nothing is left over from the run before. */
static void test_many_runs(void **state)
{
    Rig *rig = *state;

    for (uint64_t run = 0; run < 6; run++) {
        g_string_truncate(rig->source.history, 0);
        g_string_truncate(rig->destination.history, 0);
        transfer(rig, NULL, NULL, run % 2 ? "poc" : "native", 20 + run);
    }
    assert_int_equal(rig->source.released, 6);
    assert_int_equal(rig->destination.released, 6);
}

/* ---- Pause, resume, recover ------------------------------------------------------------------------- */

static void start_and_pause(Rig *rig, RigSide *pausing)
{
    g_autoptr(GError) error = NULL;

    start_guests(rig, BLOCKS, 300);
    g_free(rig_must_listen(rig, NULL));
    rig_must_send(rig, NULL);
    rig_wait_blocks(rig, &rig->destination, 100);
    assert_true(snprelay_pause(pausing->relay, &error));
    rig_wait_status(rig, &rig->source, SNPRELAY_STATUS_PAUSED);
    rig_wait_status(rig, &rig->destination, SNPRELAY_STATUS_PAUSED);
    rig_guest_go(&rig->source);
}

static void finish_resumed(Rig *rig)
{
    g_autoptr(SnprelayInfo) info = NULL;

    rig_wait_end(rig, &rig->source);
    rig_wait_end(rig, &rig->destination);
    assert_transferred(rig, "native", BLOCKS);
    info = snprelay_query(rig->source.relay);
    assert_int_equal(info->reconnects, 1);
    rig_assert_history(&rig->source, "setup active paused recovering active completed");
    rig_assert_history(&rig->destination, "setup active paused recovering active completed");
}

static void test_pause_source(void **state)
{
    Rig *rig = *state;

    start_and_pause(rig, &rig->source);
    rig_assert_error(&rig->source, "paused by command");
    rig_assert_error(&rig->destination, "paused at the source");
    assert_true(snprelay_resume(rig->source.relay, NULL, NULL));
    finish_resumed(rig);
}

static void test_pause_destination(void **state)
{
    Rig *rig = *state;

    start_and_pause(rig, &rig->destination);
    rig_assert_error(&rig->source, "paused at the destination");
    assert_true(snprelay_resume(rig->source.relay, rig->uri, NULL));
    finish_resumed(rig);
}

static gboolean is_answered(gpointer user)
{
    return ((RigSide *)user)->ready > 0;
}

/* To another address: the destination listens anew, the source is told where. */
static void test_recover(void **state)
{
    Rig *rig = *state;
    g_autoptr(SnprelayInfo) info = NULL;

    start_and_pause(rig, &rig->source);
    rig->destination.ready = 0;
    snprelay_recover(rig->destination.relay, "tcp:127.0.0.1:0", rig_ready, &rig->destination);
    rig_run_until(rig, is_answered, &rig->destination);
    assert_null(rig->destination.ready_error);
    info = snprelay_query(rig->destination.relay);
    assert_true(g_str_has_prefix(info->listening[0], "tcp:127.0.0.1:"));
    assert_true(snprelay_resume(rig->source.relay, info->listening[0], NULL));
    finish_resumed(rig);
}

/* A recover that cannot be is answered with an error, and changes nothing. */
static void test_recover_fails(void **state)
{
    Rig *rig = *state;

    start_and_pause(rig, &rig->source);
    rig->destination.ready = 0;
    snprelay_recover(rig->destination.relay, "unix:/nowhere/at/all", rig_ready, &rig->destination);
    rig_run_until(rig, is_answered, &rig->destination);
    assert_non_null(rig->destination.ready_error);
    assert_true(snprelay_resume(rig->source.relay, NULL, NULL));
    finish_resumed(rig);
}

/* A recover that is overtaken by the end is answered all the same, once. */
static void test_recover_too_late(void **state)
{
    Rig *rig = *state;

    start_and_pause(rig, &rig->source);
    rig->destination.ready = 0;
    snprelay_recover(rig->destination.relay, "tcp:127.0.0.1:0", rig_ready, &rig->destination);
    snprelay_cancel(rig->destination.relay);
    rig_run_until(rig, is_answered, &rig->destination);
    rig_wait_status(rig, &rig->destination, SNPRELAY_STATUS_CANCELLED);
    snprelay_cancel(rig->source.relay);
    rig_wait_status(rig, &rig->source, SNPRELAY_STATUS_CANCELLED);
    assert_int_equal(rig->destination.ready, 1);
    rig_guest_stop(&rig->source);
    rig_guest_stop(&rig->destination);
}

static gboolean has_failed_to_resume(gpointer user)
{
    return g_str_has_suffix(((RigSide *)user)->history->str, "recovering paused");
}

/* A resume to where nobody listens leaves it paused, with nothing lost. */
static void test_resume_fails_first(void **state)
{
    Rig *rig = *state;
    g_autoptr(SnprelayInfo) info = NULL;

    rig_set(&rig->source, "reconnect-timeout", "0");
    start_and_pause(rig, &rig->source);
    assert_true(snprelay_resume(rig->source.relay, "unix:/nowhere/at/all", NULL));
    info = snprelay_query(rig->source.relay);
    assert_string_equal(info->uri, "unix:/nowhere/at/all"); /* at once */
    rig_run_until(rig, has_failed_to_resume, &rig->source);
    rig_assert_error(&rig->source, "/nowhere/at/all");
    assert_true(snprelay_resume(rig->source.relay, rig->uri, NULL));
    rig_wait_end(rig, &rig->source);
    rig_wait_end(rig, &rig->destination);
    assert_transferred(rig, "native", BLOCKS);
}

/* Somebody who takes connections and says nothing. */
static GSocketListener *listen_silently(char **uri)
{
    g_autoptr(GSocketListener) listener = g_socket_listener_new();
    g_autoptr(GInetAddress) loopback = g_inet_address_new_loopback(G_SOCKET_FAMILY_IPV4);
    g_autoptr(GSocketAddress) any = g_inet_socket_address_new(loopback, 0);
    g_autoptr(GSocketAddress) effective = NULL;
    g_autoptr(GError) error = NULL;

    if (!g_socket_listener_add_address(listener, any, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP,
                                       NULL, &effective, &error)) {
        fail_msg("%s", error->message);
    }
    *uri = g_strdup_printf("tcp:127.0.0.1:%u",
                           g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(effective)));
    return g_steal_pointer(&listener);
}

/* Who asked to go on must not read "paused" again before an attempt has failed. */
static void test_resume_shows_at_once(void **state)
{
    Rig *rig = *state;
    g_autofree char *silent = NULL;
    g_autoptr(GSocketListener) listener = listen_silently(&silent);
    g_autoptr(GSocketConnection) taken = NULL;
    g_autoptr(SnprelayInfo) info = NULL;

    start_and_pause(rig, &rig->source);
    assert_true(snprelay_resume(rig->source.relay, silent, NULL));
    info = snprelay_query(rig->source.relay);
    assert_int_equal(info->status, SNPRELAY_STATUS_RECOVERING);
    taken = g_socket_listener_accept(listener, NULL, NULL, NULL);
    assert_non_null(taken);
    assert_true(snprelay_resume(rig->source.relay, rig->uri, NULL)); /* instead */
    finish_resumed(rig);
}

/* ---- Speed ----------------------------------------------------------------------------------------- */

/* A limit that is set while the migration runs holds from then on, and does not punish what went before. */
static void test_bandwidth_while_running(void **state)
{
    Rig *rig = *state;
    gint64 start;

    start_guests(rig, 2025, 2000);
    g_free(rig_must_listen(rig, NULL));
    rig_must_send(rig, NULL);
    rig_wait_blocks(rig, &rig->destination, 2000); /* 4 MB */
    rig_set(&rig->source, "max-bandwidth", "128k");
    start = g_get_monotonic_time();
    rig_guest_go(&rig->source);
    rig_wait_end(rig, &rig->source);
    /* 50 KB: 0.4 s. With a debt of 4 MB it were half a minute. */
    assert_in_range(g_get_monotonic_time() - start, 150000, 20000000);
    rig_wait_end(rig, &rig->destination);
    assert_transferred(rig, "native", 2025);
}

static gboolean has_stalled(gpointer user)
{
    return ((RigSide *)user)->stalled > 0;
}

static void test_stall_warning(void **state)
{
    Rig *rig = *state;

    rig_set(&rig->source, "stall-warning", "100");
    start_guests(rig, 20, 10);
    g_free(rig_must_listen(rig, NULL));
    rig_must_send(rig, NULL);
    rig_run_until(rig, has_stalled, &rig->source);
    rig_guest_go(&rig->source);
    rig_wait_end(rig, &rig->source);
    assert_true(rig->source.stalled >= 1);
    assert_int_equal(rig->destination.stalled, 0); /* its guest was not waited for */
}

#define RIG_TEST(function) cmocka_unit_test_setup_teardown(function, rig_set_up, rig_tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_unix_native),
        RIG_TEST(test_unix_poc),
        RIG_TEST(test_tcp_native),
        RIG_TEST(test_tcp_poc),
        RIG_TEST(test_no_blocks),
        RIG_TEST(test_no_blocks_poc),
        RIG_TEST(test_small_window),
        RIG_TEST(test_access_functions),
        RIG_TEST(test_fd_native),
        RIG_TEST(test_fd_poc),
        RIG_TEST(test_file),
        RIG_TEST(test_many_runs),
        RIG_TEST(test_pause_source),
        RIG_TEST(test_pause_destination),
        RIG_TEST(test_recover),
        RIG_TEST(test_recover_fails),
        RIG_TEST(test_recover_too_late),
        RIG_TEST(test_resume_fails_first),
        RIG_TEST(test_resume_shows_at_once),
        RIG_TEST(test_bandwidth_while_running),
        RIG_TEST(test_stall_warning),
    };

    rig_poll = argc > 1 ? argv[1] : rig_poll;
    return cmocka_run_group_tests_name("relay", tests, NULL, NULL);
}
