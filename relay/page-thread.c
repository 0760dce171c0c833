/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The page thread: between the guest's page and the window, and nothing else.
 *
 * It never touches the stream. It stops when it is told to, when the last block is through, or when the guest breaks the
 * rules; how long the guest has been waited for is written where a query finds it.
 */
#include "relay/migration.h"

#include "migpage/layout.h"
#include "migpage/wait.h"

#define SEE_INCOMING_MS                                                                            \
    200 /* what a guest gets to see *incoming* in when there is no block to wait for */
#define CACHE_LINE 64
#define CHECK_MS                                                                                   \
    100 /* how often a destination's page is looked at while there is nothing to give */

static gboolean must_stop(Migration *m)
{
    return atomic_load_explicit(&m->stop_page, memory_order_relaxed);
}

static void set_waiting(Migration *m, gint64 since)
{
    atomic_store_explicit(&m->guest_waiting, since, memory_order_relaxed);
}

/* The guest has acted. */
static void guest_acted(Migration *m, MigPageWait *wait)
{
    if (wait->idle_since) {
        set_waiting(m, 0);
    }
    migpage_wait_reset(wait);
}

static void wait_for_guest(Migration *m, MigPageWait *wait)
{
    if (migpage_wait_turn(wait) > 0) {
        set_waiting(m, wait->idle_since);
    }
}

static void count_block(Migration *m)
{
    uint64_t blocks = atomic_load_explicit(&m->blocks, memory_order_relaxed);

    atomic_store_explicit(&m->blocks, blocks + 1, memory_order_relaxed);
}

/* ---- Source: guest to window ------------------------------------------------------------------------ */

/* The window is full: sleeps until the stream thread has released some of it. */
static void wait_for_room(Migration *m)
{
    void *slot;

    set_waiting(m, -1);
    relay_wakeup_arm(&m->page_wakeup, WAKEUP_BLOCKS);
    if (relay_window_room(&m->window, &slot) > 0 || must_stop(m)) {
        relay_wakeup_disarm(&m->page_wakeup, FALSE);
    } else {
        relay_wakeup_sleep(&m->page_wakeup, CHECK_MS);
    }
    set_waiting(m, 0);
}

/* Where the next block goes, brought into the cache while the guest fills its buffer; NULL: the window is full. */
static void *next_slot(Migration *m)
{
    char *slot;

    if (relay_window_room(&m->window, (void **)&slot) == 0) {
        return NULL;
    }
    for (size_t line = 0; line < MIGPAGE_BLOCK_SIZE; line += CACHE_LINE) {
        __builtin_prefetch(slot + line, 1);
    }
    return slot;
}

static gboolean source_page(Migration *m, MigPageWait *wait, GError **error)
{
    void *slot = next_slot(m);

    while (!must_stop(m)) {
        if (!slot) {
            wait_for_room(m);
            slot = next_slot(m);
            continue;
        }
        switch (migpage_take(m->page, slot, error)) {
        case MIGPAGE_BLOCK:
            relay_window_produce(&m->window, 1);
            relay_wakeup_signal_block(&m->stream_wakeup);
            count_block(m);
            guest_acted(m, wait);
            slot = next_slot(m);
            break;
        case MIGPAGE_NOTHING:
            wait_for_guest(m, wait);
            break;
        case MIGPAGE_END:
            relay_window_finish(&m->window);
            atomic_store(&m->page_ended, true);
            return TRUE;
        case MIGPAGE_ERROR:
            return FALSE;
        }
    }
    return TRUE;
}

/* ---- Destination: window to guest ------------------------------------------------------------------- */

/* Nothing to give: sleeps until the stream thread has put something in, then looks whether the guest is still there. */
static void wait_for_block(Migration *m, uint64_t next)
{
    set_waiting(m, -1);
    relay_wakeup_arm(&m->page_wakeup, WAKEUP_BLOCKS);
    if (relay_window_produced(&m->window) > next || relay_window_total(&m->window) == next ||
        must_stop(m)) {
        relay_wakeup_disarm(&m->page_wakeup, FALSE);
    } else {
        relay_wakeup_sleep(&m->page_wakeup, CHECK_MS);
    }
    set_waiting(m, 0);
}

/* The guest has read all blocks below READ: they need not be kept. The stream thread looks by itself every few
 * milliseconds; it is woken only when much room has come free that it does not know of. */
static void note_read(Migration *m, uint64_t read)
{
    uint64_t known = atomic_load_explicit(&m->acked, memory_order_relaxed);

    relay_window_release(&m->window, read);
    atomic_store_explicit(&m->blocks, read, memory_order_relaxed);
    if (read - known >= m->window.capacity / 4) {
        relay_wakeup_signal_block(&m->stream_wakeup);
    }
}

/* An empty stream: no register tells that the guest has seen *incoming*, and one that has not would never see the end. So
 * *incoming* stands for a while. FALSE when told to stop meanwhile. */
static gboolean let_guest_look(Migration *m, gint64 begun)
{
    gint64 left;

    while (!must_stop(m) && (left = begun + SEE_INCOMING_MS * G_TIME_SPAN_MILLISECOND -
                                    g_get_monotonic_time()) > 0) {
        relay_wakeup_arm(&m->page_wakeup, WAKEUP_BLOCKS);
        relay_wakeup_sleep(&m->page_wakeup, (int)(left / G_TIME_SPAN_MILLISECOND + 1));
    }
    return !must_stop(m);
}

static gboolean destination_page(Migration *m, MigPageWait *wait, GError **error)
{
    gint64 begun = g_get_monotonic_time();
    uint64_t next = 0; /* the block to give */
    void *block;

    while (!must_stop(m)) {
        MigPageTurn turn = migpage_poll_read(m->page, error);

        if (turn == MIGPAGE_ERROR) {
            return FALSE;
        }
        if (turn == MIGPAGE_NOTHING) {
            wait_for_guest(m, wait);
            continue;
        }
        guest_acted(m, wait);
        if (next > relay_window_released(&m->window)) {
            note_read(m, next);
        }
        if (relay_window_peek(&m->window, next, &block) > 0) {
            if (!migpage_give(m->page, block, error)) {
                return FALSE;
            }
            next++;
        } else if (relay_window_total(&m->window) == next) {
            if (next == 0 && !let_guest_look(m, begun)) {
                break;
            }
            if (!migpage_complete(m->page, error)) {
                return FALSE;
            }
            atomic_store(&m->page_ended, true);
            return TRUE;
        } else {
            wait_for_block(m, next);
        }
    }
    return TRUE;
}

gpointer relay_page_thread(gpointer data)
{
    Migration *m = data;
    GError *error = NULL;
    MigPageWait wait;
    gboolean ok;

    migpage_wait_init(&wait, g_str_equal(m->parameters->poll, "busy"));
    ok = m->incoming ? destination_page(m, &wait, &error) : source_page(m, &wait, &error);
    set_waiting(m, -1);
    if (!ok) {
        relay_migration_fail(m, error);
    } else {
        relay_wakeup_signal(&m->stream_wakeup);
    }
    return NULL;
}
