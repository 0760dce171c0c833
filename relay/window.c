/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A single-producer, single-consumer ring of blocks. */
#include "relay/window.h"

#include <errno.h>
#include <sys/mman.h>

#include "migpage/layout.h"
#include "snprelay/snprelay.h"

gboolean relay_window_init(Window *window, uint64_t bytes, GError **error)
{
    window->capacity = MAX(bytes / MIGPAGE_BLOCK_SIZE, 1);
    window->blocks = mmap(NULL, window->capacity * MIGPAGE_BLOCK_SIZE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (window->blocks == MAP_FAILED) {
        window->blocks = NULL;
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "no memory for a window of %" G_GUINT64_FORMAT " bytes: %s", bytes,
                    g_strerror(errno));
        return FALSE;
    }
    atomic_init(&window->produced, 0);
    atomic_init(&window->released, 0);
    atomic_init(&window->total, WINDOW_OPEN);
    return TRUE;
}

void relay_window_clear(Window *window)
{
    if (window->blocks) {
        munmap(window->blocks, window->capacity * MIGPAGE_BLOCK_SIZE);
        window->blocks = NULL;
    }
}

static uint64_t in_one_piece(Window *window, uint64_t first, uint64_t count, void **start)
{
    uint64_t index = first % window->capacity;

    *start = window->blocks + index * MIGPAGE_BLOCK_SIZE;
    return MIN(count, window->capacity - index);
}

uint64_t relay_window_room(Window *window, void **start)
{
    uint64_t produced = atomic_load_explicit(&window->produced, memory_order_relaxed);

    return in_one_piece(window, produced,
                        window->capacity - (produced - relay_window_released(window)), start);
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
    return in_one_piece(window, first, relay_window_produced(window) - first, start);
}

void relay_window_release(Window *window, uint64_t upto)
{
    if (upto > atomic_load_explicit(&window->released, memory_order_relaxed)) {
        atomic_store_explicit(&window->released, upto, memory_order_release);
    }
}
