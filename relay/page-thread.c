/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The page thread, and the stream thread in its place. */
#include "relay/page-thread.h"

#include <sched.h>
#include <time.h>

#include "relay/page-turn.h"

#define CHECK_MS 100      /* how often the page is looked at while it is the stream's turn */
#define MANY_PROCESSORS 4 /* a guest, two threads of ours, and one for everybody else */

static gboolean must_stop(Migration *m)
{
    return atomic_load_explicit(&m->stop_page, memory_order_relaxed);
}

/* ---- A thread of its own --------------------------------------------------------------------------- */

/* Sleeps until the stream thread has released or received something. */
static void wait_for_stream(Migration *m)
{
    relay_page_set_waiting(m, -1);
    relay_wakeup_arm(&m->page_wakeup, WAKEUP_BLOCKS);
    if (relay_page_can_turn(m) || must_stop(m)) {
        relay_wakeup_disarm(&m->page_wakeup, FALSE);
    } else {
        relay_wakeup_sleep(&m->page_wakeup, CHECK_MS);
    }
    relay_page_set_waiting(m, 0);
}

/* Spins or sleeps a little. */
static gint64 wait_for_guest(Migration *m)
{
    gint64 nap_us = migpage_wait_turn(&m->turns.wait);

    if (m->turns.wait.idle_since) {
        relay_page_set_waiting(m, m->turns.wait.idle_since);
    }
    return nap_us;
}

static void nap(gint64 us)
{
    struct timespec time = {.tv_sec = us / G_USEC_PER_SEC, .tv_nsec = us % G_USEC_PER_SEC * 1000};

    nanosleep(&time, NULL);
}

static gpointer page_thread(gpointer data)
{
    Migration *m = data;
    gint64 nap_us;

    migpage_wait_init(&m->turns.wait, g_str_equal(m->parameters->poll, "busy"));
    while (!must_stop(m) && !m->turns.over) {
        switch (relay_page_turn(m)) {
        case PAGE_GUEST:
            nap_us = wait_for_guest(m);
            if (nap_us > 0) {
                nap(nap_us);
            }
            break;
        case PAGE_STREAM:
            wait_for_stream(m);
            break;
        case PAGE_MOVED:
        case PAGE_OVER:
            break;
        }
    }
    relay_page_set_waiting(m, -1);
    relay_wakeup_signal(&m->stream_wakeup);
    return NULL;
}

static void stop_thread(Migration *m)
{
    atomic_store(&m->stop_page, true);
    relay_wakeup_signal(&m->page_wakeup);
    g_thread_join(g_steal_pointer(&m->page_thread));
    atomic_store(&m->stop_page, false);
}

/* ---- The stream thread's side ----------------------------------------------------------------------- */

static gboolean has_many_processors(void)
{
    cpu_set_t allowed;

    /* A machine with more than the set can hold has many. */
    return sched_getaffinity(0, sizeof(allowed), &allowed) != 0 ||
           CPU_COUNT(&allowed) >= MANY_PROCESSORS;
}

static void attend_from_now_on(Migration *m)
{
    m->turns.alone = TRUE;
    migpage_wait_init(&m->turns.wait, FALSE);
}

gboolean relay_page_begin(Migration *m, GError **error)
{
    if (!migpage_begin(m->page, m->incoming ? MIGPAGE_DESTINATION : MIGPAGE_SOURCE, m->force,
                       error)) {
        return FALSE;
    }
    m->turns.begun = g_get_monotonic_time();
    m->attended = !g_str_equal(m->parameters->poll, "busy") && !has_many_processors();
    if (m->attended) {
        attend_from_now_on(m);
        return TRUE;
    }
    return relay_page_hand_over(m, error);
}

gboolean relay_page_hand_over(Migration *m, GError **error)
{
    if (!m->page_thread) {
        /* What the thread gives may be gone before it is our turn again. */
        relay_checksum_cover(&m->sum, &m->window, relay_window_produced(&m->window));
        m->turns.alone = FALSE;
        m->page_thread = g_thread_try_new("snprelay-page", page_thread, m, error);
        if (!m->page_thread) {
            m->turns.alone = m->attended; /* as before */
        }
    }
    return m->page_thread != NULL;
}

void relay_page_take_over(Migration *m)
{
    if (m->attended && m->page_thread) {
        stop_thread(m);
        g_assert(m->sum.blocks >= relay_window_released(&m->window));
        attend_from_now_on(m);
    }
}

gboolean relay_page_is_attended(Migration *m)
{
    return m->attended && !m->page_thread && !m->turns.over;
}

gint64 relay_page_attend(Migration *m)
{
    if (atomic_load_explicit(&m->guest_waiting, memory_order_relaxed) < 0) {
        relay_page_set_waiting(m, 0);
    }
    while (TRUE) {
        gint64 nap_us;

        switch (relay_page_turn(m)) {
        case PAGE_MOVED:
        case PAGE_OVER:
            return 0;
        case PAGE_STREAM:
            relay_page_set_waiting(m, -1);
            return CHECK_MS * G_TIME_SPAN_MILLISECOND;
        case PAGE_GUEST:
            nap_us = wait_for_guest(m);
            if (nap_us > 0) {
                return nap_us;
            }
        }
    }
}

void relay_page_stop(Migration *m)
{
    if (m->page_thread) {
        stop_thread(m);
    }
    m->turns.over = TRUE;
    relay_page_set_waiting(m, -1);
}
