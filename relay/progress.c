/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A look at a running migration four times a second: its rate, and whether its guest has stalled. */
#include "relay/relay.h"

static void update_rate(SnprelayRelay *relay, const SnprelayInfo *info)
{
    Progress *progress = &relay->progress;
    gint64 now = g_get_monotonic_time();
    unsigned slot = progress->next++ % PROGRESS_SAMPLES;
    unsigned oldest = progress->next < PROGRESS_SAMPLES ? 0 : progress->next % PROGRESS_SAMPLES;
    gint64 span;

    progress->bytes[slot] = info->bytes;
    progress->times[slot] = now;
    span = now - progress->times[oldest];
    g_mutex_lock(&relay->lock);
    progress->rate =
        span > 0 ? (double)(info->bytes - progress->bytes[oldest]) * G_USEC_PER_SEC / (double)span
                 : 0;
    g_mutex_unlock(&relay->lock);
}

static void warn_of_stall(SnprelayRelay *relay, const SnprelayInfo *info)
{
    uint64_t limit = relay->migration->parameters->stall_warning;
    gboolean stalled = limit > 0 && info->guest_idle_time >= (int64_t)limit;

    if (stalled && !relay->progress.stall_told && relay->callbacks.stalled) {
        relay->callbacks.stalled(relay, (uint64_t)info->guest_idle_time, relay->opaque);
    }
    relay->progress.stall_told = stalled;
}

static gboolean tick(gpointer data)
{
    SnprelayRelay *relay = data;
    g_autoptr(SnprelayInfo) info = relay_migration_info(relay->migration);

    update_rate(relay, info);
    warn_of_stall(relay, info);
    return G_SOURCE_CONTINUE;
}

void relay_progress_start(SnprelayRelay *relay)
{
    relay_progress_stop(relay);
    relay->progress.next = 0;
    relay->progress.stall_told = FALSE;
    relay->progress.tick = g_timeout_source_new(PROGRESS_TICK_MS);
    g_source_set_callback(relay->progress.tick, tick, relay, NULL);
    g_source_attach(relay->progress.tick, relay->context);
}

void relay_progress_stop(SnprelayRelay *relay)
{
    if (relay->progress.tick) {
        g_source_destroy(relay->progress.tick);
        g_clear_pointer(&relay->progress.tick, g_source_unref);
    }
    g_mutex_lock(&relay->lock);
    relay->progress.rate = 0;
    g_mutex_unlock(&relay->lock);
}
