/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An eventfd with a flag that says whether anybody sleeps on it. */
#include "relay/wakeup.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "snprelay/snprelay.h"

gboolean relay_wakeup_init(Wakeup *wakeup, GError **error)
{
    atomic_init(&wakeup->armed, 0);
    wakeup->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wakeup->fd < 0) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID, "cannot make an eventfd: %s",
                    g_strerror(errno));
        return FALSE;
    }
    return TRUE;
}

void relay_wakeup_clear(Wakeup *wakeup)
{
    if (wakeup->fd >= 0) {
        close(wakeup->fd);
        wakeup->fd = -1;
    }
}

void relay_wakeup_arm(Wakeup *wakeup, WakeupFor what)
{
    atomic_store(&wakeup->armed, (int)what);
    atomic_thread_fence(memory_order_seq_cst);
}

void relay_wakeup_disarm(Wakeup *wakeup, gboolean readable)
{
    eventfd_t count;

    atomic_store(&wakeup->armed, 0);
    if (readable) {
        eventfd_read(wakeup->fd, &count);
    }
}

gboolean relay_wakeup_poll(Wakeup *wakeup, struct pollfd *pollfds, nfds_t count, gint64 timeout_us)
{
    struct timespec timeout = {.tv_sec = timeout_us / G_USEC_PER_SEC,
                               .tv_nsec = timeout_us % G_USEC_PER_SEC * 1000};

    int ready;

    pollfds[0] = (struct pollfd){.fd = wakeup->fd, .events = POLLIN};
    ready = ppoll(pollfds, count, timeout_us < 0 ? NULL : &timeout, NULL);
    for (nfds_t i = 0; ready < 0 && i < count; i++) {
        pollfds[i].revents = 0; /* interrupted: they are what they were before */
    }
    relay_wakeup_disarm(wakeup, pollfds[0].revents != 0);
    return ready != 0;
}

void relay_wakeup_sleep(Wakeup *wakeup, int timeout_ms)
{
    struct pollfd pollfd;

    relay_wakeup_poll(wakeup, &pollfd, 1,
                      timeout_ms < 0 ? -1 : timeout_ms * G_TIME_SPAN_MILLISECOND);
}

static void signal_for(Wakeup *wakeup, WakeupFor what)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&wakeup->armed, memory_order_relaxed) >= (int)what &&
        atomic_exchange(&wakeup->armed, 0) != 0) {
        eventfd_write(wakeup->fd, 1);
    }
}

void relay_wakeup_signal(Wakeup *wakeup)
{
    signal_for(wakeup, WAKEUP_COMMANDS);
}

void relay_wakeup_signal_block(Wakeup *wakeup)
{
    signal_for(wakeup, WAKEUP_BLOCKS);
}
