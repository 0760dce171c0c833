/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A single-producer, single-consumer ring of blocks, in segments. */
#include "relay/window.h"

#include <errno.h>
#include <sys/mman.h>

#include "migpage/layout.h"
#include "snprelay/snprelay.h"

static size_t size_of_blocks(Window *window)
{
    return window->segments * WINDOW_SEGMENT_BLOCKS * MIGPAGE_BLOCK_SIZE;
}

gboolean relay_window_init(Window *window, uint64_t bytes, GError **error)
{
    window->capacity = MAX(bytes / MIGPAGE_BLOCK_SIZE, 1);
    /* The blocks in the window may begin and end in the middle of a segment. */
    window->segments = window->capacity / WINDOW_SEGMENT_BLOCKS + 2;
    window->blocks = mmap(NULL, size_of_blocks(window), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (window->blocks == MAP_FAILED) {
        window->blocks = NULL;
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "no memory for a window of %" G_GUINT64_FORMAT " bytes: %s", bytes,
                    g_strerror(errno));
        return FALSE;
    }
    window->mask = (UINT64_C(1) << g_bit_storage(window->segments)) - 1;
    window->places = g_new(guint32, window->mask + 1);
    window->free = g_new(guint32, window->segments);
    for (uint64_t i = 0; i < window->segments; i++) {
        window->free[i] = (guint32)(window->segments - 1 - i);
    }
    window->free_count = window->segments;
    window->opened = window->closed = 0;
    atomic_init(&window->produced, 0);
    atomic_init(&window->released, 0);
    atomic_init(&window->total, WINDOW_OPEN);
    return TRUE;
}

void relay_window_clear(Window *window)
{
    if (window->blocks) {
        munmap(window->blocks, size_of_blocks(window));
        window->blocks = NULL;
        g_clear_pointer(&window->places, g_free);
        g_clear_pointer(&window->free, g_free);
    }
}

/* Of COUNT blocks from number FIRST on, those in the first one's segment. */
static uint64_t in_one_piece(Window *window, uint64_t first, uint64_t count, void **start)
{
    uint64_t within = first % WINDOW_SEGMENT_BLOCKS;
    uint64_t place = window->places[first / WINDOW_SEGMENT_BLOCKS & window->mask];

    *start = window->blocks + (place * WINDOW_SEGMENT_BLOCKS + within) * MIGPAGE_BLOCK_SIZE;
    return MIN(count, WINDOW_SEGMENT_BLOCKS - within);
}

/* Gives the stream's next segment a place. There is one: those in use never hold more than the capacity and what lies
 * beside it in the first and the last of them. */
static void open_segment(Window *window, uint64_t released)
{
    while (window->closed < released / WINDOW_SEGMENT_BLOCKS) {
        window->free[window->free_count++] = window->places[window->closed++ & window->mask];
    }
    window->places[window->opened++ & window->mask] = window->free[--window->free_count];
}

uint64_t relay_window_room(Window *window, void **start)
{
    uint64_t produced = atomic_load_explicit(&window->produced, memory_order_relaxed);
    uint64_t released = relay_window_released(window);

    if (produced - released == window->capacity) {
        return 0;
    }
    if (produced / WINDOW_SEGMENT_BLOCKS == window->opened) {
        open_segment(window, released);
    }
    return in_one_piece(window, produced, window->capacity - (produced - released), start);
}

void relay_window_produce(Window *window, uint64_t count)
{
    uint64_t produced = atomic_load_explicit(&window->produced, memory_order_relaxed);

    atomic_store_explicit(&window->produced, produced + count, memory_order_release);
}

void relay_window_finish(Window *window)
{
    uint64_t produced = atomic_load_explicit(&window->produced, memory_order_relaxed);

    atomic_store_explicit(&window->total, produced, memory_order_release);
}

uint64_t relay_window_peek(Window *window, uint64_t first, void **start)
{
    uint64_t count = relay_window_produced(window) - first;

    return count > 0 ? in_one_piece(window, first, count, start) : 0;
}

void relay_window_release(Window *window, uint64_t upto)
{
    if (upto > atomic_load_explicit(&window->released, memory_order_relaxed)) {
        atomic_store_explicit(&window->released, upto, memory_order_release);
    }
}
