/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting for a guest: hot at first, asleep later, never asleep when told so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "migpage/wait.h"

/* How often this thread has given its processor away of its own accord. */
static long naps(void)
{
    struct rusage usage;

    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

/* Turns until the clock was read; returns what the last one said. */
static gint64 turn_until_told(MigPageWait *wait)
{
    gint64 idle = 0;

    for (int i = 0; i < 1000 && idle == 0; i++) {
        idle = migpage_wait_turn(wait);
    }
    return idle;
}

static void test_hot_at_first(void **state)
{
    MigPageWait wait;
    long before;

    (void)state;
    migpage_wait_init(&wait, FALSE);
    before = naps();
    for (int i = 0; i < 100; i++) {
        assert_int_equal(migpage_wait_turn(&wait), 0); /* too short to tell */
    }
    assert_int_equal(naps(), before);
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
        gint64 start, idle;
        long before = naps();

        migpage_wait_init(&wait, FALSE);
        start = g_get_monotonic_time();
        wait.idle_since = start - idle_us[i];
        idle = turn_until_told(&wait);
        assert_true(idle >= idle_us[i]);
        assert_true(g_get_monotonic_time() - start >= shortest_us[i]);
        assert_true(naps() > before);
        /* Awake again: one look at the page, then the next nap. */
        before = naps();
        assert_true(migpage_wait_turn(&wait) > 0);
        assert_true(naps() > before);
    }
}

static void test_busy_never_sleeps(void **state)
{
    MigPageWait wait;
    long before;
    gint64 idle = 0;

    (void)state;
    migpage_wait_init(&wait, TRUE);
    wait.idle_since = g_get_monotonic_time() - G_USEC_PER_SEC;
    before = naps();
    for (int i = 0; i < 100000; i++) {
        gint64 now = migpage_wait_turn(&wait);

        assert_true(now == 0 || now >= idle);
        idle = now ? now : idle;
    }
    assert_true(idle >= G_USEC_PER_SEC);
    assert_int_equal(naps(), before);
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
        cmocka_unit_test(test_busy_never_sleeps),
        cmocka_unit_test(test_timer_slack),
    };

    return cmocka_run_group_tests_name("wait", tests, NULL, NULL);
}
