/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Turns with the guest: the one place where blocks pass between its page and the window. */
#include "relay/page-turn.h"

#include "migpage/layout.h"

#define CACHE_LINE 64
#define SEE_INCOMING_MS 1000 /* what a guest gets to see *incoming* in when there is no block */
#define AT_ONCE_SPINS 100    /* a running guest needs less for a block; a microsecond or three */

void relay_page_set_waiting(Migration *m, gint64 since)
{
    atomic_store_explicit(&m->guest_waiting, since, memory_order_relaxed);
}

static void guest_acted(Migration *m)
{
    if (m->turns.wait.idle_since) {
        relay_page_set_waiting(m, 0);
    }
    migpage_wait_reset(&m->turns.wait);
}

/* The guest has not acted since the last of MOVED blocks in this turn. TRUE: look once more. */
static gboolean look_again(unsigned moved, unsigned *spins)
{
    migpage_relax();
    return moved > 0 && ++*spins < AT_ONCE_SPINS;
}

/* The checksum's part, while the guest is busy with its buffer and nobody waits for it. A page thread leaves it to the
 * stream thread. */
static void cover(Migration *m, uint64_t upto)
{
    if (m->turns.alone) {
        relay_checksum_cover(&m->sum, &m->window, upto);
    }
}

/* ---- Source: guest to window ------------------------------------------------------------------------ */

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

static void block_taken(Migration *m)
{
    uint64_t blocks = atomic_load_explicit(&m->blocks, memory_order_relaxed);

    relay_window_produce(&m->window, 1);
    if (!m->turns.alone) {
        relay_wakeup_signal_block(&m->stream_wakeup);
    }
    atomic_store_explicit(&m->blocks, blocks + 1, memory_order_relaxed);
    guest_acted(m);
    m->turns.slot = next_slot(m);
    cover(m, blocks + 1);
}

static PageTurn turn_source(Migration *m, unsigned most, GError **error)
{
    unsigned moved = 0, spins = 0;

    if (!m->turns.slot && !(m->turns.slot = next_slot(m))) {
        return PAGE_STREAM;
    }
    while (m->turns.slot && moved < most) {
        switch (migpage_take(m->page, m->turns.slot, error)) {
        case MIGPAGE_BLOCK:
            block_taken(m);
            moved++;
            spins = 0;
            break;
        case MIGPAGE_NOTHING:
            if (!look_again(moved, &spins)) {
                return moved > 0 ? PAGE_MOVED : PAGE_GUEST;
            }
            break;
        case MIGPAGE_END:
            relay_window_finish(&m->window);
            atomic_store(&m->page_ended, true);
            return PAGE_OVER;
        case MIGPAGE_ERROR:
            return PAGE_OVER;
        }
    }
    return PAGE_MOVED;
}

/* ---- Destination: window to guest ------------------------------------------------------------------- */

/* The guest has read all blocks that were given: they need not be kept. The stream thread looks by itself every few
 * milliseconds; it is woken only when much room has come free that it does not know of. */
static void blocks_read(Migration *m)
{
    uint64_t known = atomic_load_explicit(&m->acked, memory_order_relaxed);
    uint64_t read = m->turns.given;

    guest_acted(m);
    relay_window_release(&m->window, read);
    atomic_store_explicit(&m->blocks, read, memory_order_relaxed);
    if (!m->turns.alone && read - known >= m->window.capacity / 4) {
        relay_wakeup_signal_block(&m->stream_wakeup);
    }
}

/* In an empty stream no register tells that the guest has seen *incoming*, and one that has not would never see the end.
 * So *incoming* stands for a while. */
static gboolean may_end(Migration *m)
{
    return relay_window_total(&m->window) == m->turns.given &&
           (m->turns.given > 0 ||
            g_get_monotonic_time() - m->turns.begun >= SEE_INCOMING_MS * G_TIME_SPAN_MILLISECOND);
}

/* There is no block to give. */
static PageTurn end_destination(Migration *m, unsigned moved, GError **error)
{
    if (!may_end(m)) {
        return moved > 0 ? PAGE_MOVED : PAGE_STREAM;
    }
    if (migpage_complete(m->page, error)) {
        atomic_store(&m->page_ended, true);
    }
    return PAGE_OVER;
}

static PageTurn turn_destination(Migration *m, unsigned most, GError **error)
{
    unsigned moved = 0, spins = 0;
    void *block;

    while (moved < most) {
        MigPageTurn turn = migpage_poll_read(m->page, error);

        if (turn == MIGPAGE_ERROR) {
            return PAGE_OVER;
        }
        if (turn == MIGPAGE_NOTHING) {
            if (!look_again(moved, &spins)) {
                return moved > 0 ? PAGE_MOVED : PAGE_GUEST;
            }
            continue;
        }
        if (m->turns.given > relay_window_released(&m->window)) {
            blocks_read(m);
        }
        if (relay_window_peek(&m->window, m->turns.given, &block) == 0) {
            return end_destination(m, moved, error);
        }
        if (!migpage_give(m->page, block, error)) {
            return PAGE_OVER;
        }
        m->turns.given++;
        cover(m, m->turns.given);
        moved++;
        spins = 0;
    }
    return PAGE_MOVED;
}

/* ---- Both ------------------------------------------------------------------------------------------ */

/* To the end of the window's segment, so that what is sent next lies in one piece. */
static unsigned blocks_a_turn(Migration *m)
{
    uint64_t number = m->incoming ? m->turns.given : relay_window_produced(&m->window);

    return WINDOW_SEGMENT_BLOCKS - (unsigned)(number % WINDOW_SEGMENT_BLOCKS);
}

PageTurn relay_page_turn(Migration *m)
{
    GError *error = NULL;
    unsigned most = blocks_a_turn(m);
    PageTurn turn = m->incoming ? turn_destination(m, most, &error) : turn_source(m, most, &error);

    if (error) {
        relay_migration_fail(m, error);
    }
    m->turns.over = turn == PAGE_OVER;
    return turn;
}

gboolean relay_page_can_turn(Migration *m)
{
    void *start;

    if (m->incoming) {
        return relay_window_peek(&m->window, m->turns.given, &start) > 0 || may_end(m);
    }
    return relay_window_room(&m->window, &start) > 0;
}
