/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The log: standard error, one line each; the journal's priorities where standard error is the journal. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "relay/program/program.h"

static const struct {
    GLogLevelFlags flag;
    const char *name;
    int priority; /* syslog's */
} levels[] = {
    {G_LOG_LEVEL_ERROR, "error", 3},     {G_LOG_LEVEL_CRITICAL, "error", 3},
    {G_LOG_LEVEL_WARNING, "warning", 4}, {G_LOG_LEVEL_MESSAGE, "info", 5},
    {G_LOG_LEVEL_INFO, "info", 6},       {G_LOG_LEVEL_DEBUG, "debug", 7},
};

static int threshold = 6;
static gboolean to_journal;

static const char *field(const GLogField *fields, gsize count, const char *name)
{
    for (gsize i = 0; i < count; i++) {
        if (strcmp(fields[i].key, name) == 0) {
            return fields[i].value;
        }
    }
    return "";
}

static GLogWriterOutput write_line(GLogLevelFlags flags, const GLogField *fields, gsize count,
                                   gpointer data G_GNUC_UNUSED)
{
    g_autofree char *message = g_strdup(field(fields, count, "MESSAGE"));
    g_autofree char *prefix = NULL;
    size_t i = 0;

    while (i < G_N_ELEMENTS(levels) - 1 && !(flags & levels[i].flag)) {
        i++;
    }
    if (levels[i].priority > threshold) {
        return G_LOG_WRITER_HANDLED;
    }
    prefix = to_journal ? g_strdup_printf("<%d>", levels[i].priority) : g_strdup("");
    g_strdelimit(message, "\n\r", ' ');
    if (levels[i].priority == 6 || levels[i].priority == 5) {
        fprintf(stderr, "%ssnprelay: %s\n", prefix, message);
    } else {
        fprintf(stderr, "%ssnprelay: %s: %s\n", prefix, levels[i].name, message);
    }
    fflush(stderr);
    return G_LOG_WRITER_HANDLED;
}

void relay_log_init(void)
{
    to_journal = g_log_writer_is_journald(STDERR_FILENO);
    g_log_set_writer_func(write_line, NULL, NULL);
}

gboolean relay_log_set_level(const char *name, GError **error)
{
    for (size_t i = G_N_ELEMENTS(levels); i-- > 0;) {
        if (strcmp(name, levels[i].name) == 0) {
            threshold = levels[i].priority;
            return TRUE;
        }
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                "--log-level expects error, warning, info or debug, not '%s'", name);
    return FALSE;
}
