/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The public API where it says no, gives up, or is asked in the wrong state; and relays that are freed in each state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay-rig.h"

static void assert_refused(GError *error, SnprelayErrorCode code, const char *words)
{
    assert_non_null(error);
    if (!g_error_matches(error, SNPRELAY_ERROR, (int)code) || !strstr(error->message, words)) {
        fail_msg("code %d, not %d with '%s': %s", error->code, (int)code, words, error->message);
    }
    g_error_free(error);
}

static void set_registers(RigSide *side, guint8 status, guint8 data)
{
    side->page[MIGPAGE_STATUS_OFFSET] = status;
    side->page[MIGPAGE_DATA_OFFSET] = data;
}

static SnprelayStatus status_of(RigSide *side)
{
    g_autoptr(SnprelayInfo) info = snprelay_query(side->relay);

    return info->status;
}

/* Blocks flow, and the source's guest keeps the migration going until it is told to go on. */
static void start_running(Rig *rig)
{
    rig_guest_start(rig, &rig->source, 200, 100);
    rig_guest_start(rig, &rig->destination, 0, UINT64_MAX);
    g_free(rig_must_listen(rig, NULL));
    rig_must_send(rig, NULL);
    rig_wait_blocks(rig, &rig->destination, 50);
    rig_wait_status(rig, &rig->source, SNPRELAY_STATUS_ACTIVE);
    rig_wait_status(rig, &rig->destination, SNPRELAY_STATUS_ACTIVE);
}

static void wait_both(Rig *rig, SnprelayStatus status)
{
    rig_wait_status(rig, &rig->source, status);
    rig_wait_status(rig, &rig->destination, status);
}

/* A listening unix socket at the rig's URI that accepts nobody. */
static int silent_listener(Rig *rig)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(address.sun_path, rig->uri + strlen("unix:"), sizeof(address.sun_path));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

/* ---- Refused at once ------------------------------------------------------------------------------- */

static void test_bad_arguments(void **state)
{
    static const struct {
        const char *uri;
        SnprelayErrorCode code;
        const char *words;
    } bad[] = {
        {"", SNPRELAY_ERROR_INVALID, "tcp:"},
        {"rdma:host:1", SNPRELAY_ERROR_INVALID, "tcp:"},
        {"tcp:127.0.0.1", SNPRELAY_ERROR_INVALID, "tcp:127.0.0.1"},
        {"exec:cat", SNPRELAY_ERROR_POLICY, "--allow-exec"},
        {"fd:nobody", SNPRELAY_ERROR_INVALID, "nobody"},
    };
    Rig *rig = *state;

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        assert_refused(rig_send(rig, bad[i].uri, SNPRELAY_FLAG_NONE), bad[i].code, bad[i].words);
        assert_refused(rig_listen(rig, bad[i].uri, SNPRELAY_FLAG_NONE), bad[i].code, bad[i].words);
    }
    rig->source.ready = 0;
    snprelay_migrate(rig->source.relay, rig->uri, 0x7001, SNPRELAY_FLAG_NONE, rig_ready,
                     &rig->source);
    assert_refused(g_steal_pointer(&rig->source.ready_error), SNPRELAY_ERROR_INVALID, "0x7001");
    rig_assert_history(&rig->source, "");
    rig_assert_history(&rig->destination, "");
    rig_assert_registers(&rig->source, 0, 0);
    rig_assert_registers(&rig->destination, 0, 0);
}

static void test_no_page(void **state)
{
    Rig *rig = *state;

    rig->source.map = rig->destination.map = RIG_MAP_FAIL;
    assert_refused(rig_send(rig, rig->uri, SNPRELAY_FLAG_NONE), SNPRELAY_ERROR_PAGE,
                   "no such page");
    assert_refused(rig_listen(rig, rig->uri, SNPRELAY_FLAG_NONE), SNPRELAY_ERROR_PAGE,
                   "no such page");
    assert_int_equal(status_of(&rig->source), SNPRELAY_STATUS_NONE);
}

/* A page that was broken off is refused; with force it is used. */
static void test_force(void **state)
{
    Rig *rig = *state;
    g_autoptr(GError) error = NULL;

    set_registers(&rig->source, 2, 4);
    set_registers(&rig->destination, 0, 5);
    assert_refused(rig_send(rig, rig->uri, SNPRELAY_FLAG_NONE), SNPRELAY_ERROR_PAGE, "force");
    assert_refused(rig_listen(rig, rig->uri, SNPRELAY_FLAG_NONE), SNPRELAY_ERROR_PAGE, "force");
    rig_assert_registers(&rig->source, 2, 4);
    rig_assert_registers(&rig->destination, 0, 5);
    assert_null(rig_listen(rig, rig->uri, SNPRELAY_FLAG_FORCE));
    rig_assert_registers(&rig->destination, 0, 5); /* nobody is there yet */
    rig->source.page[MIGPAGE_STATUS_OFFSET] = 0;   /* its guest waits for the start */
    rig_guest_start(rig, &rig->destination, 0, UINT64_MAX);
    rig_guest_start(rig, &rig->source, 10, UINT64_MAX);
    assert_null(rig_send(rig, rig->uri, SNPRELAY_FLAG_FORCE));
    wait_both(rig, SNPRELAY_STATUS_COMPLETED);
    rig_guest_join(&rig->destination); /* it counts after its answer */
    assert_true(rig_guest_done(&rig->destination) ==
                10); /* the *ready* that was left over is none */
}

static void test_cannot_listen(void **state)
{
    Rig *rig = *state;
    g_autoptr(GError) error = rig_listen(rig, "unix:/nowhere/at/all", SNPRELAY_FLAG_NONE);

    assert_non_null(error);
    rig_assert_history(&rig->destination, "");
    assert_int_equal(rig->destination.released, 1);
    g_free(rig_must_listen(rig, NULL)); /* and another start is taken */
}

/* Nobody is there: the page is as fresh as before, and the migration has failed. */
static void test_nobody_listens(void **state)
{
    Rig *rig = *state;

    rig_must_send(rig, NULL);
    rig_wait_end(rig, &rig->source);
    rig_assert_history(&rig->source, "setup failed");
    rig_assert_error(&rig->source, "socket");
    rig_assert_registers(&rig->source, 0, 0);
    assert_int_equal(rig->source.released, 1);
}

/* ---- Only one at a time ---------------------------------------------------------------------------- */

static void test_second_start(void **state)
{
    Rig *rig = *state;

    start_running(rig);
    assert_refused(rig_send(rig, "unix:/x", SNPRELAY_FLAG_NONE), SNPRELAY_ERROR_STATE, "active");
    assert_refused(rig_listen(rig, "unix:/x", SNPRELAY_FLAG_FORCE), SNPRELAY_ERROR_STATE, "active");
    rig_guest_go(&rig->source);
    wait_both(rig, SNPRELAY_STATUS_COMPLETED);
    assert_false(rig->destination.guest.wrong);
}

static void test_second_start_while_mapping(void **state)
{
    Rig *rig = *state;
    GError *error;

    rig->source.map = RIG_MAP_HOLD;
    snprelay_migrate(rig->source.relay, rig->uri, RIG_ADDRESS, SNPRELAY_FLAG_NONE, NULL, NULL);
    assert_non_null(rig->source.held);
    assert_refused(rig_send(rig, rig->uri, SNPRELAY_FLAG_NONE), SNPRELAY_ERROR_STATE, "starting");
    snprelay_cancel(rig->source.relay);
    rig->source.ready = 0;
    snprelay_map_failed(g_steal_pointer(&rig->source.held),
                        g_error_new_literal(SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE, "late"));
    while (g_main_context_iteration(rig->context, FALSE)) {
        /* the answer */
    }
    rig->source.map = RIG_MAP_FAIL;
    error = rig_send(rig, rig->uri, SNPRELAY_FLAG_NONE);
    assert_refused(error, SNPRELAY_ERROR_PAGE, "no such page"); /* free for another one */
}

/* ---- Cancelling ------------------------------------------------------------------------------------ */

static void test_cancel_nothing(void **state)
{
    Rig *rig = *state;

    snprelay_cancel(rig->source.relay);
    snprelay_guest_gone(rig->source.relay, "it is off");
    assert_int_equal(status_of(&rig->source), SNPRELAY_STATUS_NONE);
}

static void test_cancel_listening(void **state)
{
    Rig *rig = *state;
    g_autoptr(SnprelayInfo) info = NULL;

    g_free(rig_must_listen(rig, NULL));
    snprelay_cancel(rig->destination.relay);
    rig_wait_end(rig, &rig->destination);
    rig_assert_history(&rig->destination, "setup cancelling cancelled");
    rig_assert_registers(&rig->destination, 0, 0);
    info = snprelay_query(rig->destination.relay);
    assert_null(info->listening);
    assert_string_equal(info->error_desc, "cancelled by command");
    g_free(rig_must_listen(rig, NULL)); /* the address is free again */
}

static void test_cancel_connecting(void **state)
{
    Rig *rig = *state;
    int fd = silent_listener(rig);
    gint64 start = g_get_monotonic_time();

    rig_set(&rig->source, "connect-timeout", "600");
    rig_must_send(rig, NULL);
    snprelay_cancel(rig->source.relay);
    rig_wait_end(rig, &rig->source);
    assert_true(g_get_monotonic_time() - start < 60 * G_USEC_PER_SEC);
    rig_assert_history(&rig->source, "setup cancelling cancelled");
    rig_assert_registers(&rig->source, 0, 0);
    close(fd);
}

/* One side cancels while blocks flow: the other hears of it, and both pages say "not started". */
static void cancel_running(Rig *rig, RigSide *cancelling, RigSide *other, const char *words)
{
    start_running(rig);
    snprelay_cancel(cancelling->relay);
    wait_both(rig, SNPRELAY_STATUS_CANCELLED);
    rig_assert_history(cancelling, "setup active cancelling cancelled");
    rig_assert_history(other, "setup active cancelling cancelled");
    rig_assert_error(cancelling, "cancelled by command");
    rig_assert_error(other, words);
    assert_int_equal(rig->source.page[MIGPAGE_STATUS_OFFSET], 0);
    assert_int_equal(rig->destination.page[MIGPAGE_STATUS_OFFSET], 0);
    /* Broken off in mid-stream: only by force from here. */
    assert_refused(rig_send(rig, rig->uri, SNPRELAY_FLAG_NONE), SNPRELAY_ERROR_PAGE, "force");
}

static void test_cancel_source(void **state)
{
    Rig *rig = *state;

    cancel_running(rig, &rig->source, &rig->destination, "the source cancelled");
}

static void test_cancel_destination(void **state)
{
    Rig *rig = *state;

    cancel_running(rig, &rig->destination, &rig->source, "the destination cancelled");
}

static void test_cancel_poc(void **state)
{
    Rig *rig = *state;

    rig_set(&rig->source, "wire", "poc");
    start_running(rig);
    snprelay_cancel(rig->source.relay);
    rig_wait_end(rig, &rig->source);
    rig_wait_end(rig, &rig->destination);
    rig_assert_history(&rig->source, "setup active cancelling cancelled");
    rig_assert_history(&rig->destination, "setup active failed");
    rig_assert_error(&rig->destination, "without the end mark");
}

static void test_cancel_paused(void **state)
{
    Rig *rig = *state;

    start_running(rig);
    assert_true(snprelay_pause(rig->source.relay, NULL));
    wait_both(rig, SNPRELAY_STATUS_PAUSED);
    snprelay_cancel(rig->source.relay);
    snprelay_cancel(rig->destination.relay);
    wait_both(rig, SNPRELAY_STATUS_CANCELLED);
    rig_assert_history(&rig->source, "setup active paused cancelling cancelled");
}

/* ---- Guests ---------------------------------------------------------------------------------------- */

static void test_guest_gone(void **state)
{
    Rig *rig = *state;

    start_running(rig);
    snprelay_guest_gone(rig->destination.relay, "the machine was switched off");
    wait_both(rig, SNPRELAY_STATUS_FAILED);
    rig_assert_error(&rig->destination, "the machine was switched off");
    rig_assert_error(&rig->source, "the destination gave up: the machine was switched off");
}

static void test_impossible_registers(void **state)
{
    Rig *rig = *state;

    start_running(rig);
    rig_wait_blocks(rig, &rig->destination, 100); /* all that was given was taken */
    rig_guest_stop(&rig->source);
    __atomic_store_n(rig->source.page + MIGPAGE_DATA_OFFSET, 0x77, __ATOMIC_RELEASE);
    wait_both(rig, SNPRELAY_STATUS_FAILED);
    rig_assert_error(&rig->source, "impossible");
    rig_assert_error(&rig->destination, "impossible");
}

/* The destination's page is spoilt while it listens: the source hears why, not that it met a stranger. */
static void test_page_spoilt_while_listening(void **state)
{
    Rig *rig = *state;

    g_free(rig_must_listen(rig, NULL));
    set_registers(&rig->destination, 2, 4);
    rig_must_send(rig, NULL);
    rig_wait_end(rig, &rig->destination);
    rig_wait_end(rig, &rig->source);
    rig_assert_error(&rig->destination, "broken off");
    rig_assert_error(&rig->source, "broken off");
    rig_assert_registers(&rig->source, 0, 0);
    rig_assert_registers(&rig->destination, 2, 4);
}

/* ---- The wrong state ------------------------------------------------------------------------------- */

static void assert_no_pause_resume_recover(RigSide *side, gboolean may_pause)
{
    GError *error = NULL;

    if (!may_pause) {
        assert_false(snprelay_pause(side->relay, &error));
        assert_refused(g_steal_pointer(&error), SNPRELAY_ERROR_STATE, "state is");
    }
    assert_false(snprelay_resume(side->relay, NULL, &error));
    assert_refused(g_steal_pointer(&error), SNPRELAY_ERROR_STATE, "no paused outgoing");
    side->ready = 0;
    snprelay_recover(side->relay, "unix:/x", rig_ready, side);
    assert_int_equal(side->ready, 1);
    assert_refused(g_steal_pointer(&side->ready_error), SNPRELAY_ERROR_STATE, "no paused incoming");
}

static void test_wrong_states(void **state)
{
    Rig *rig = *state;
    GError *error = NULL;

    assert_no_pause_resume_recover(&rig->source, FALSE);
    g_free(rig_must_listen(rig, NULL));
    assert_no_pause_resume_recover(&rig->destination, FALSE);
    snprelay_cancel(rig->destination.relay);
    rig_wait_end(rig, &rig->destination);
    assert_no_pause_resume_recover(&rig->destination, FALSE);
    start_running(rig);
    assert_no_pause_resume_recover(&rig->source, TRUE);
    assert_no_pause_resume_recover(&rig->destination, TRUE);
    assert_true(snprelay_pause(rig->source.relay, NULL));
    wait_both(rig, SNPRELAY_STATUS_PAUSED);
    assert_false(snprelay_resume(rig->destination.relay, NULL, &error)); /* it is for the source */
    assert_refused(g_steal_pointer(&error), SNPRELAY_ERROR_STATE, "no paused outgoing");
    assert_false(snprelay_resume(rig->source.relay, "rdma:x", &error));
    assert_refused(g_steal_pointer(&error), SNPRELAY_ERROR_INVALID, "rdma");
    assert_false(snprelay_pause(rig->source.relay, &error));
    assert_refused(g_steal_pointer(&error), SNPRELAY_ERROR_STATE, "paused");
}

static void test_pause_poc(void **state)
{
    Rig *rig = *state;
    GError *error = NULL;

    rig_set(&rig->source, "wire", "poc");
    start_running(rig);
    assert_false(snprelay_pause(rig->source.relay, &error));
    assert_refused(g_steal_pointer(&error), SNPRELAY_ERROR_STATE, "poc wire");
    assert_false(snprelay_pause(rig->destination.relay, &error));
    assert_refused(g_steal_pointer(&error), SNPRELAY_ERROR_STATE, "poc wire");
    rig_guest_go(&rig->source);
    wait_both(rig, SNPRELAY_STATUS_COMPLETED);
}

static void test_parameters_while_running(void **state)
{
    Rig *rig = *state;
    const SnprelayParameterValue values[] = {{"max-bandwidth", NULL, 1 << 20},
                                             {"window", NULL, 1 << 20}};
    SnprelayParameterValue *now;
    GError *error = NULL;

    start_running(rig);
    assert_false(snprelay_set_parameters(rig->source.relay, values, 2, &error));
    assert_refused(g_steal_pointer(&error), SNPRELAY_ERROR_STATE, "window");
    now = snprelay_get_parameters(rig->source.relay);
    assert_true(now[1].number == 0);
    snprelay_parameters_free(now);
    assert_true(snprelay_set_parameters(rig->source.relay, values, 1, &error));
    rig_guest_go(&rig->source);
    wait_both(rig, SNPRELAY_STATUS_COMPLETED);
    assert_true(snprelay_set_parameters(rig->source.relay, values, 2, &error));
}

static void test_query(void **state)
{
    Rig *rig = *state;
    g_autoptr(SnprelayInfo) none = snprelay_query(rig->source.relay);
    g_autoptr(SnprelayInfo) listening = NULL, active = NULL;

    assert_int_equal(none->status, SNPRELAY_STATUS_NONE);
    assert_null(none->uri);
    assert_int_equal(none->setup_time, -1);
    g_free(rig_must_listen(rig, NULL));
    listening = snprelay_query(rig->destination.relay);
    assert_int_equal(listening->status, SNPRELAY_STATUS_SETUP);
    assert_true(listening->incoming);
    assert_true(listening->address == RIG_ADDRESS);
    assert_string_equal(listening->uri, rig->uri);
    assert_null(listening->wire);
    assert_int_equal(listening->setup_time, -1);
    snprelay_cancel(rig->destination.relay);
    rig_wait_end(rig, &rig->destination);
    start_running(rig);
    active = snprelay_query(rig->source.relay);
    assert_int_equal(active->status, SNPRELAY_STATUS_ACTIVE);
    assert_false(active->incoming);
    assert_string_equal(active->wire, "native");
    assert_true(active->blocks >= 49 && active->bytes == active->blocks * MIGPAGE_BLOCK_SIZE);
    assert_true(active->setup_time >= 0);
    assert_false(active->has_checksum);
}

/* ---- Descriptors ----------------------------------------------------------------------------------- */

static void test_descriptors(void **state)
{
    Rig *rig = *state;
    GError *error = NULL;
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    assert_false(snprelay_add_fd(rig->source.relay, "1x", dup(fds[0]), &error));
    assert_refused(g_steal_pointer(&error), SNPRELAY_ERROR_INVALID, "1x");
    assert_false(snprelay_add_fd(rig->source.relay, "", dup(fds[0]), &error));
    assert_refused(g_steal_pointer(&error), SNPRELAY_ERROR_INVALID, "empty");
    assert_true(snprelay_add_fd(rig->source.relay, "x", fds[1], NULL));
    assert_true(snprelay_add_fd(rig->source.relay, "x", dup(fds[0]), NULL));
    assert_int_equal(read(fds[0], &(char){0}, 1), 0); /* the old one of that name was closed */
    assert_true(snprelay_remove_fd(rig->source.relay, "x", NULL));
    assert_false(snprelay_remove_fd(rig->source.relay, "x", &error));
    assert_refused(g_steal_pointer(&error), SNPRELAY_ERROR_INVALID, "'x'");
    close(fds[0]);
}

/* ---- Freed in each state (leaks are a sanitizer's to find) ------------------------------------------- */

/* In less time than connect-timeout, which is the shortest that anything else would end by. */
static void free_soon(RigSide *side)
{
    gint64 start = g_get_monotonic_time();

    g_clear_pointer(&side->relay, snprelay_free);
    assert_true(g_get_monotonic_time() - start < 8 * G_USEC_PER_SEC);
}

static void test_free_mapping(void **state)
{
    Rig *rig = *state;

    rig->source.map = rig->destination.map = RIG_MAP_HOLD;
    snprelay_migrate(rig->source.relay, rig->uri, RIG_ADDRESS, SNPRELAY_FLAG_NONE, rig_ready,
                     &rig->source);
    snprelay_migrate_incoming(rig->destination.relay, rig->uri, RIG_ADDRESS, SNPRELAY_FLAG_NONE,
                              rig_ready, &rig->destination);
    free_soon(&rig->source);
    free_soon(&rig->destination);
    assert_int_equal(rig->source.ready, 0); /* the pages come only in the tear-down */
}

static void test_free_setup(void **state)
{
    Rig *rig = *state;
    int fd;

    g_free(rig_must_listen(rig, NULL));
    free_soon(&rig->destination);
    fd = silent_listener(rig);
    rig_must_send(rig, NULL);
    free_soon(&rig->source);
    rig_assert_registers(&rig->source, 0, 0);
    close(fd);
}

static void test_free_active(void **state)
{
    Rig *rig = *state;

    start_running(rig);
    free_soon(&rig->source);
    rig_wait_status(rig, &rig->destination, SNPRELAY_STATUS_CANCELLED);
}

static void test_free_paused(void **state)
{
    Rig *rig = *state;

    start_running(rig);
    assert_true(snprelay_pause(rig->destination.relay, NULL));
    wait_both(rig, SNPRELAY_STATUS_PAUSED);
    free_soon(&rig->destination);
    free_soon(&rig->source);
}

static void test_free_untouched(void **state)
{
    Rig *rig = *state;

    free_soon(&rig->source);
}

#define RIG_TEST(function) cmocka_unit_test_setup_teardown(function, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_bad_arguments),
        RIG_TEST(test_no_page),
        RIG_TEST(test_force),
        RIG_TEST(test_cannot_listen),
        RIG_TEST(test_nobody_listens),
        RIG_TEST(test_second_start),
        RIG_TEST(test_second_start_while_mapping),
        RIG_TEST(test_cancel_nothing),
        RIG_TEST(test_cancel_listening),
        RIG_TEST(test_cancel_connecting),
        RIG_TEST(test_cancel_source),
        RIG_TEST(test_cancel_destination),
        RIG_TEST(test_cancel_poc),
        RIG_TEST(test_cancel_paused),
        RIG_TEST(test_guest_gone),
        RIG_TEST(test_impossible_registers),
        RIG_TEST(test_page_spoilt_while_listening),
        RIG_TEST(test_wrong_states),
        RIG_TEST(test_pause_poc),
        RIG_TEST(test_parameters_while_running),
        RIG_TEST(test_query),
        RIG_TEST(test_descriptors),
        RIG_TEST(test_free_mapping),
        RIG_TEST(test_free_setup),
        RIG_TEST(test_free_active),
        RIG_TEST(test_free_paused),
        RIG_TEST(test_free_untouched),
    };

    return cmocka_run_group_tests_name("relay-refusals", tests, NULL, NULL);
}
