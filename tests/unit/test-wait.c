/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting for a guest: hot at first, asleep later, never asleep when told so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>

#include <cmocka.h>

#include "migpage/crowd.h"
#include "migpage/wait.h"

/* Turns until told to sleep; returns for how long. */
static gint64 turn_until_told(MigPageWait *wait)
{
    gint64 nap = 0;

    for (int i = 0; i < 1000 && nap == 0; i++) {
        nap = migpage_wait_turn(wait);
    }
    return nap;
}

static void test_hot_at_first(void **state)
{
    MigPageWait wait;

    (void)state;
    migpage_wait_init(&wait, FALSE);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(migpage_wait_turn(&wait), 0);
    }
    migpage_wait_reset(&wait);
    assert_int_equal(wait.idle_since, 0);
    assert_int_equal(wait.spins, 0);
}

/* A nap grows with the time that nothing has happened, up to the longest. */
static void test_naps(void **state)
{
    static const gint64 idle_us[] = {10000, 100000, 3600 * (gint64)G_USEC_PER_SEC};
    static const gint64 shortest_us[] = {100, 1000, MIGPAGE_WAIT_LONGEST_US};

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(idle_us); i++) {
        MigPageWait wait;

        migpage_wait_init(&wait, FALSE);
        wait.idle_since = g_get_monotonic_time() - idle_us[i];
        assert_in_range(turn_until_told(&wait), shortest_us[i], MIGPAGE_WAIT_LONGEST_US);
        /* Awake again: one look at the page, then the next nap. */
        assert_in_range(migpage_wait_turn(&wait), shortest_us[i], MIGPAGE_WAIT_LONGEST_US);
        migpage_wait_reset(&wait);
        assert_int_equal(migpage_wait_turn(&wait), 0);
    }
}

static gpointer spin_until_told(gpointer data)
{
    gboolean *quit = data;

    while (!__atomic_load_n(quit, __ATOMIC_ACQUIRE)) {
        migpage_relax();
    }
    return NULL;
}

#define CROWDED_US 2000

/* With many threads that want the processors a nap is longer, and who has had to queue for one takes such naps. */
static void test_crowd(void **state)
{
    GThread *threads[32];
    const guint count = MIN(10 * (guint)get_nprocs(), G_N_ELEMENTS(threads));
    gboolean quit = FALSE;
    MigPageWait wait;
    gint64 nap = 0;

    (void)state;
    if (count < 10 * (guint)get_nprocs()) {
        skip(); /* too many processors to crowd */
    }
    for (guint i = 0; i < count; i++) {
        threads[i] = g_thread_new("spin", spin_until_told, &quit);
    }
    for (int i = 0; i < 10000 && migpage_crowd_nap() < CROWDED_US; i++) {
        g_usleep(1000); /* they are on their way */
    }
    migpage_wait_init(&wait, FALSE);
    for (int i = 0; i < 1000000 && wait.crowded_nap < CROWDED_US; i++) {
        wait.nap_end = g_get_monotonic_time() - 1000; /* queued for that long */
        wait.idle_since = g_get_monotonic_time() - G_USEC_PER_SEC / 100;
        nap = turn_until_told(&wait);
    }
    __atomic_store_n(&quit, TRUE, __ATOMIC_RELEASE);
    for (guint i = 0; i < count; i++) {
        g_thread_join(threads[i]);
    }
    assert_in_range(nap, CROWDED_US, MIGPAGE_CROWD_LONGEST_US);
    /* And when they have gone the naps are short again. */
    for (int i = 0; i < 30000 && wait.crowded_nap > 0; i++) {
        wait.idle_since = g_get_monotonic_time() - G_USEC_PER_SEC / 100;
        turn_until_told(&wait);
        g_usleep(1000);
    }
    assert_int_equal(wait.crowded_nap, 0);
}

/* So many longer naps in a crowd, each of which brought BLOCKS. */
static gint64 crowded_nap_after(unsigned naps, unsigned blocks)
{
    MigPageWait wait;

    migpage_wait_init(&wait, FALSE);
    wait.crowded_nap = 3000;
    for (unsigned i = 0; i < naps; i++) {
        wait.slept = TRUE;
        wait.blocks = blocks;
        migpage_wait_reset(&wait);
    }
    return wait.crowded_nap;
}

/* A crowd that does not get smaller by our sleeping is not minded. */
static void test_futile_naps(void **state)
{
    (void)state;
    assert_int_equal(crowded_nap_after(10, 1), 3000);
    assert_int_equal(crowded_nap_after(200, 1), 0);
    assert_int_equal(crowded_nap_after(1000, 100), 3000);
}

static void test_busy_never_sleeps(void **state)
{
    MigPageWait wait;

    (void)state;
    migpage_wait_init(&wait, TRUE);
    wait.idle_since = g_get_monotonic_time() - G_USEC_PER_SEC;
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(migpage_wait_turn(&wait), 0);
    }
}

static void test_timer_slack(void **state)
{
    MigPageWait wait;

    (void)state;
    migpage_wait_init(&wait, FALSE);
    assert_true(prctl(PR_GET_TIMERSLACK) <= 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hot_at_first),
        cmocka_unit_test(test_naps),
        cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_futile_naps),
        cmocka_unit_test(test_busy_never_sleeps),
        cmocka_unit_test(test_timer_slack),
    };

    return cmocka_run_group_tests_name("wait", tests, NULL, NULL);
}
