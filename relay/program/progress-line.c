/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One line on a terminal that tells how far a migration is. */
#include <stdio.h>
#include <unistd.h>

#include "relay/program/program.h"

#define REDRAW_MS 250

struct ProgressLine {
    SnprelayRelay *relay;
    guint timer;
};

static gboolean redraw(gpointer data)
{
    ProgressLine *line = data;
    g_autoptr(SnprelayInfo) info = snprelay_query(line->relay);
    g_autofree char *moved = g_format_size_full(info->bytes, G_FORMAT_SIZE_IEC_UNITS);
    g_autofree char *rate = g_format_size_full((guint64)info->rate, G_FORMAT_SIZE_IEC_UNITS);
    g_autofree char *stalled = info->guest_idle_time >= 1000
                                   ? g_strdup_printf("  guest idle for %" G_GINT64_FORMAT " s",
                                                     info->guest_idle_time / 1000)
                                   : g_strdup("");
    int64_t seconds = info->total_time / 1000;

    fprintf(stderr, "\r\033[K%s  %s  %s/s  %02d:%02d%s", snprelay_status_name(info->status), moved,
            rate, (int)(seconds / 60), (int)(seconds % 60), stalled);
    fflush(stderr);
    return G_SOURCE_CONTINUE;
}

ProgressLine *relay_progress_line_new(SnprelayRelay *relay)
{
    ProgressLine *line = g_new0(ProgressLine, 1);

    line->relay = relay;
    if (isatty(STDERR_FILENO)) {
        line->timer = g_timeout_add(REDRAW_MS, redraw, line);
    }
    return line;
}

void relay_progress_line_free(ProgressLine *line)
{
    if (line->timer) {
        g_source_remove(line->timer);
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
    g_free(line);
}

char *relay_progress_summary(const SnprelayInfo *info)
{
    g_autofree char *moved = g_format_size_full(info->bytes, G_FORMAT_SIZE_IEC_UNITS);

    return g_strdup_printf("%" G_GUINT64_FORMAT " blocks, %s in %.3f s (%.0f Mbit/s), checksum "
                           "%016" G_GINT64_MODIFIER "x",
                           info->blocks, moved, (double)info->total_time / 1000, info->mbps,
                           info->checksum);
}
