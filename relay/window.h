/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The blocks that are on their way: a ring between page and stream.
 *
 * Blocks are numbered from 0 over the whole migration. One side produces (source: the page, destination: the stream), the
 * other consumes and releases; each in a thread of its own, or one thread does both. A block stays where it is from the moment it was copied in until it is
 * released, so it can be sent from here any number of times; this is what a resume stands on.
 *
 *     released <= given or sent <= produced <= released + capacity
 *
 * The ring consists of segments that are used in the order in which they become free, the last one first: memory that
 * was just in use is still in the processor's cache, and a window of which only a part is needed stays small.
 */
#ifndef RELAY_WINDOW_H
#define RELAY_WINDOW_H

#include <glib.h>
#include <stdatomic.h>
#include <stdint.h>

#define WINDOW_SEGMENT_BLOCKS 64 /* so many blocks, from a multiple on, lie in one piece */

typedef struct Window {
    guint8 *blocks;
    uint64_t capacity; /* in blocks */
    uint64_t segments;
    uint64_t mask;   /* of the table below */
    guint32 *places; /* where the N-th segment of the stream is, at N & mask */

    /* The producer's. */
    guint32 *free; /* places that are not in use; the last one is taken next */
    uint64_t free_count;
    uint64_t opened,
        closed; /* segments of the stream that were given a place, that were taken theirs */

    _Alignas(64) atomic_uint_fast64_t produced; /* shared; written by the producer */
    _Alignas(64) atomic_uint_fast64_t released; /* shared; written by the consumer */
    _Alignas(64) atomic_uint_fast64_t
        total; /* shared; blocks in the whole stream, WINDOW_OPEN while not known */
} Window;

#define WINDOW_OPEN UINT64_MAX

/* Reserves room for BYTES (at least one block); memory is used only as it is written to. Error: INVALID (no memory). */
gboolean relay_window_init(Window *window, uint64_t bytes, GError **error);
void relay_window_clear(Window *window);

static inline uint64_t relay_window_produced(Window *window)
{
    return atomic_load_explicit(&window->produced, memory_order_acquire);
}

static inline uint64_t relay_window_released(Window *window)
{
    return atomic_load_explicit(&window->released, memory_order_acquire);
}

static inline uint64_t relay_window_total(Window *window)
{
    return atomic_load_explicit(&window->total, memory_order_acquire);
}

/* Producer: how many blocks have room, of those the number that lie in one piece from *START on. It stays there until it
 * is produced. */
uint64_t relay_window_room(Window *window, void **start);

/* Producer: COUNT blocks that were written at *START are there. */
void relay_window_produce(Window *window, uint64_t count);

/* Producer: no more will come. */
void relay_window_finish(Window *window);

/* Consumer: how many blocks from number FIRST on lie in one piece, at *START. */
uint64_t relay_window_peek(Window *window, uint64_t first, void **start);

/* Consumer: all blocks below number UPTO are no longer needed. Never goes back. */
void relay_window_release(Window *window, uint64_t upto);

#endif
