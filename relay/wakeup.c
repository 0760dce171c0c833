/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An eventfd with a flag that says whether anybody sleeps on it. */
#include "relay/wakeup.h"

#include <errno.h>
#include <poll.h>
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

void relay_wakeup_sleep(Wakeup *wakeup, int timeout_ms)
{
    struct pollfd pollfd = {.fd = wakeup->fd, .events = POLLIN};

    poll(&pollfd, 1, timeout_ms);
    relay_wakeup_disarm(wakeup, pollfd.revents != 0);
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
