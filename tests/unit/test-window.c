/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ring of blocks, alone and between two threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "migpage/layout.h"
#include "relay/window.h"

#define STRESS_BLOCKS UINT64_C(1000000)

static void must_init(Window *window, uint64_t bytes)
{
    g_autoptr(GError) error = NULL;

    memset(window, 0x5a, sizeof(*window)); /* whatever was there before */
    assert_true(relay_window_init(window, bytes, &error));
}

static void test_sizes(void **state)
{
    static const uint64_t sizes[][2] = {
        {0, 1}, {1, 1}, {2047, 1}, {2048, 1}, {4095, 1}, {4096, 2}, {UINT64_C(1) << 30, 1 << 19}};
    void *start;

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        Window window;

        must_init(&window, sizes[i][0]);
        assert_true(window.capacity == sizes[i][1]);
        assert_true(relay_window_room(&window, &start) ==
                    MIN(window.capacity, WINDOW_SEGMENT_BLOCKS));
        assert_true(relay_window_peek(&window, 0, &start) == 0);
        assert_true(relay_window_produced(&window) == 0);
        assert_true(relay_window_released(&window) == 0);
        assert_true(relay_window_total(&window) == WINDOW_OPEN);
        relay_window_clear(&window);
        relay_window_clear(&window);
    }
}

static void test_no_memory(void **state)
{
    g_autoptr(GError) error = NULL;
    Window window = {0};

    (void)state;
    assert_false(relay_window_init(&window, UINT64_C(1) << 60, &error));
    assert_non_null(error);
    relay_window_clear(&window); /* of one that could not be made */
}

static void write_block(void *start, uint64_t number)
{
    uint64_t *words = start;

    for (size_t i = 0; i < MIGPAGE_BLOCK_SIZE / sizeof(*words); i++) {
        words[i] = number * 1000003 + i;
    }
}

static gboolean is_block(const void *start, uint64_t number)
{
    const uint64_t *words = start;

    for (size_t i = 0; i < MIGPAGE_BLOCK_SIZE / sizeof(*words); i++) {
        if (words[i] != number * 1000003 + i) {
            return FALSE;
        }
    }
    return TRUE;
}

/* Produces all that has room, in as many pieces as it takes; returns how many pieces. */
static unsigned fill(Window *window, uint64_t *next)
{
    guint8 *start;
    uint64_t count;
    unsigned pieces = 0;

    while ((count = relay_window_room(window, (void **)&start)) > 0) {
        for (uint64_t i = 0; i < count; i++) {
            write_block(start + i * MIGPAGE_BLOCK_SIZE, *next + i);
        }
        relay_window_produce(window, count);
        *next += count;
        pieces++;
    }
    return pieces;
}

/* What is in the window lies in pieces that end with their segment or with what there is. */
static void check_blocks(Window *window, uint64_t released, uint64_t next)
{
    for (uint64_t number = released; number < next; number++) {
        guint8 *start;
        uint64_t count = relay_window_peek(window, number, (void **)&start);

        assert_true(count ==
                    MIN(next - number, WINDOW_SEGMENT_BLOCKS - number % WINDOW_SEGMENT_BLOCKS));
        assert_true(is_block(start, number));
        assert_true(is_block(start + (count - 1) * MIGPAGE_BLOCK_SIZE, number + count - 1));
    }
}

/* Capacities beside a segment's, and every place in one where the window may begin and end. */
static void test_wrap(void **state)
{
    static const uint64_t capacities[] = {1, 2, 3, 7, 63, 64, 65, 127, 128, 129, 130};

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(capacities); i++) {
        uint64_t capacity = capacities[i];

        for (uint64_t step = 1; step <= capacity; step += 1 + step / 3) {
            uint64_t next = 0, released;
            Window window;

            must_init(&window, capacity * MIGPAGE_BLOCK_SIZE);
            for (released = 0; released < 4 * WINDOW_SEGMENT_BLOCKS; released += step) {
                assert_in_range(fill(&window, &next), 1, capacity / WINDOW_SEGMENT_BLOCKS + 2);
                assert_true(next == released + capacity);
                check_blocks(&window, released, next);
                relay_window_release(&window, released + step);
                assert_true(relay_window_released(&window) == released + step);
            }
            relay_window_finish(&window);
            assert_true(relay_window_total(&window) == next);
            relay_window_clear(&window);
        }
    }
}

/* Of a large window only so much memory is used as is needed at once. */
static void test_small_while_little_is_kept(void **state)
{
    const uint64_t kept = 3 * WINDOW_SEGMENT_BLOCKS;
    guint8 *lowest = NULL, *highest = NULL, *start;
    Window window;

    (void)state;
    must_init(&window, UINT64_C(1) << 30);
    for (uint64_t number = 0; number < 1000 * WINDOW_SEGMENT_BLOCKS; number++) {
        assert_true(relay_window_room(&window, (void **)&start) > 0);
        lowest = lowest ? MIN(lowest, start) : start;
        highest = MAX(highest, start);
        relay_window_produce(&window, 1);
        relay_window_release(&window, number < kept ? 0 : number - kept);
    }
    assert_true((uint64_t)(highest - lowest) <=
                (kept + 2 * WINDOW_SEGMENT_BLOCKS) * MIGPAGE_BLOCK_SIZE);
    relay_window_clear(&window);
}

static void test_release_never_goes_back(void **state)
{
    uint64_t next = 0;
    Window window;
    void *start;

    (void)state;
    must_init(&window, 4 * MIGPAGE_BLOCK_SIZE);
    fill(&window, &next);
    relay_window_release(&window, 3);
    relay_window_release(&window, 1);
    relay_window_release(&window, 3);
    assert_true(relay_window_released(&window) == 3);
    assert_true(relay_window_room(&window, &start) == 3);
    assert_true(relay_window_peek(&window, 3, &start) == 1);
    assert_true(is_block(start, 3)); /* what is not released stays, and can be looked at again */
    assert_true(relay_window_peek(&window, 3, &start) == 1);
    relay_window_clear(&window);
}

typedef struct Stress {
    Window window;
    uint64_t blocks;
} Stress;

static gpointer produce_all(gpointer data)
{
    Stress *stress = data;
    Window *window = &stress->window;
    uint64_t number = 0;
    guint8 *start;

    while (number < stress->blocks) {
        uint64_t room = MIN(relay_window_room(window, (void **)&start), stress->blocks - number);

        if (room == 0) {
            g_thread_yield();
            continue;
        }
        room = 1 + number % room; /* pieces of all lengths */
        for (uint64_t i = 0; i < room; i++) {
            write_block(start + i * MIGPAGE_BLOCK_SIZE, number + i);
        }
        relay_window_produce(window, room);
        number += room;
    }
    relay_window_finish(window);
    return NULL;
}

/* Reads all blocks, releasing late and in jumps; returns how many were wrong. */
static uint64_t consume_all(Window *window)
{
    uint64_t number = 0, wrong = 0;
    guint8 *start;

    while (relay_window_total(window) != number) {
        uint64_t count = relay_window_peek(window, number, (void **)&start);

        if (count == 0) {
            g_thread_yield();
            continue;
        }
        for (uint64_t i = 0; i < count; i++) {
            wrong += !is_block(start + i * MIGPAGE_BLOCK_SIZE, number + i);
        }
        number += count;
        relay_window_release(window, number % 3 ? number : number - 1);
        relay_window_release(window, number);
    }
    return wrong;
}

static void test_two_threads(void **state)
{
    static const uint64_t runs[][2] = {
        {3, STRESS_BLOCKS}, {1, STRESS_BLOCKS / 20}, {8, STRESS_BLOCKS / 5}, {200, STRESS_BLOCKS}};

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(runs); i++) {
        Stress stress = {.blocks = runs[i][1]};
        GThread *producer;
        uint64_t wrong;

        must_init(&stress.window, runs[i][0] * MIGPAGE_BLOCK_SIZE);
        producer = g_thread_new("producer", produce_all, &stress);
        wrong = consume_all(&stress.window);
        g_thread_join(producer);
        assert_true(wrong == 0);
        assert_true(relay_window_total(&stress.window) == stress.blocks);
        relay_window_clear(&stress.window);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_release_never_goes_back),
        cmocka_unit_test(test_small_while_little_is_kept),
        cmocka_unit_test(test_two_threads),
    };

    return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
