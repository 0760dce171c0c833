/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* max-bandwidth, with a clock of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "migpage/layout.h"
#include "relay/rate-limit.h"

#define START (1000 * (gint64)G_USEC_PER_SEC)
#define SECOND ((gint64)G_USEC_PER_SEC)
#define MIB UINT64_C(1048576)

/* Sends blocks as fast as allowed from *NOW for US microseconds, looking once a millisecond; returns the bytes. */
static uint64_t send_for(RateLimit *limit, uint64_t rate, gint64 *now, gint64 us)
{
    uint64_t bytes = 0;

    for (gint64 end = *now + us; *now < end; *now += 1000) {
        uint64_t allowed = relay_rate_limit_allow(limit, rate, *now);
        uint64_t blocks = allowed / MIGPAGE_BLOCK_SIZE;

        assert_true(allowed <= MAX(rate / 20, MIGPAGE_BLOCK_SIZE));
        relay_rate_limit_use(limit, blocks * MIGPAGE_BLOCK_SIZE);
        bytes += blocks * MIGPAGE_BLOCK_SIZE;
    }
    return bytes;
}

static void assert_about(uint64_t value, uint64_t expected)
{
    assert_in_range(value, expected - expected / 10, expected + expected / 10);
}

static void test_no_limit(void **state)
{
    RateLimit limit = {0};

    (void)state;
    assert_true(relay_rate_limit_allow(&limit, 0, START) == UINT64_MAX);
    assert_int_equal(relay_rate_limit_wait(&limit, 0), 0);
}

static void test_mean_rate(void **state)
{
    static const uint64_t rates[] = {64 * 1024, MIB, 100 * MIB, 10240 * MIB};

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(rates); i++) {
        RateLimit limit = {0};
        gint64 now = START;

        assert_about(send_for(&limit, rates[i], &now, 10 * SECOND), 10 * rates[i]);
    }
}

/* A pause is not made up for: at most a twentieth of a second's bytes have been saved. */
static void test_no_saving(void **state)
{
    RateLimit limit = {0};
    gint64 now = START;

    (void)state;
    send_for(&limit, MIB, &now, SECOND);
    now += 3600 * SECOND;
    assert_in_range(send_for(&limit, MIB, &now, 1000), 1, MIB / 20);
}

/* Less than a block a turn still gets blocks through, one by one. */
static void test_slow(void **state)
{
    RateLimit limit = {0};
    gint64 now = START;

    (void)state;
    assert_about(send_for(&limit, 1024, &now, 60 * SECOND), 60 * 1024);
}

static void test_wait(void **state)
{
    RateLimit limit = {0};
    gint64 now = START;
    int wait;

    (void)state;
    relay_rate_limit_allow(&limit, MIB, now);
    for (int i = 0; i < 1000; i++) {
        wait = relay_rate_limit_wait(&limit, MIB);
        assert_in_range(wait, 0, 1000);
        now += wait * (gint64)1000;
        assert_true(relay_rate_limit_allow(&limit, MIB, now) >= MIGPAGE_BLOCK_SIZE);
        assert_int_equal(relay_rate_limit_wait(&limit, MIB), 0);
        relay_rate_limit_use(&limit, MIGPAGE_BLOCK_SIZE);
    }
    assert_true(now - START >= 1000 * SECOND * MIGPAGE_BLOCK_SIZE / (gint64)MIB - SECOND / 20);
    assert_in_range(relay_rate_limit_wait(&limit, 1), 1, 1000); /* looks again after a second */
}

/* max-bandwidth may be set while a migration runs: what went out without a limit is not held against it. */
static void test_limit_comes_late(void **state)
{
    RateLimit limit = {0};
    gint64 now = START;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_true(relay_rate_limit_allow(&limit, 0, now) == UINT64_MAX);
        relay_rate_limit_use(&limit, 10 * MIB);
        now += 1000;
    }
    assert_about(send_for(&limit, MIB, &now, 10 * SECOND), 10 * MIB);
}

static void test_limit_changes(void **state)
{
    RateLimit limit = {0};
    gint64 now = START;

    (void)state;
    send_for(&limit, 100 * MIB, &now, 5 * SECOND);
    assert_about(send_for(&limit, MIB, &now, 5 * SECOND), 5 * MIB);
    assert_about(send_for(&limit, 10 * MIB, &now, 5 * SECOND), 50 * MIB);
}

static void test_largest(void **state)
{
    RateLimit limit = {0};
    gint64 now = START;

    (void)state;
    relay_rate_limit_allow(&limit, INT64_MAX, now);
    assert_true(relay_rate_limit_allow(&limit, INT64_MAX, now + SECOND) > UINT64_C(1) << 50);
    assert_int_equal(relay_rate_limit_wait(&limit, INT64_MAX), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_limit),      cmocka_unit_test(test_mean_rate),
        cmocka_unit_test(test_no_saving),     cmocka_unit_test(test_slow),
        cmocka_unit_test(test_wait),          cmocka_unit_test(test_limit_comes_late),
        cmocka_unit_test(test_limit_changes), cmocka_unit_test(test_largest),
    };

    return cmocka_run_group_tests_name("rate-limit", tests, NULL, NULL);
}
