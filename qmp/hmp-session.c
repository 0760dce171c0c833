/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lines are queued as they come and carried out one at a time; the prompt comes when a line is
 * done. Line editing is the terminal's (hmp-terminal.c): here a line is what comes before LF, CR or
 * CR LF.
 */
#include "qmp/hmp-session.h"

#include <string.h>

#include "qmp/hmp.h"

#define MAX_WAITING 8
#define TOO_LONG "\n" /* waits in place of a line that was; no line has an LF */

struct HmpSession {
    QmpContext *context;
    const char *end_of_line;
    HmpWriteFunc write;
    gpointer opaque;
    GString *line;       /* being received */
    gboolean too_long;   /* ... and being skipped */
    gboolean after_cr;   /* an LF that follows belongs to it */
    GQueue waiting;      /* char *, NULL-free */
    HmpRequest *request; /* being carried out */
    gboolean running;
};

static void send(HmpSession *session, const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autofree char *sent = g_strjoinv(session->end_of_line, lines);

    session->write(sent, strlen(sent), session->opaque);
}

static void run_waiting(HmpSession *session);

static void on_done(const char *text, gpointer opaque)
{
    HmpSession *session = opaque;

    session->request = NULL;
    if (*text) {
        send(session, text);
    }
    send(session, HMP_PROMPT);
    run_waiting(session);
}

static void run_waiting(HmpSession *session)
{
    if (session->running) {
        return;
    }
    session->running = TRUE;
    while (!session->request && session->waiting.length > 0) {
        g_autofree char *line = g_queue_pop_head(&session->waiting);

        if (strcmp(line, TOO_LONG) == 0) {
            send(session, "Error: the line is too long and was ignored\n" HMP_PROMPT);
            continue;
        }
        session->request = hmp_request_new(on_done, session);
        hmp_execute(session->context, line, session->request);
    }
    session->running = FALSE;
}

HmpSession *hmp_session_new(QmpContext *context, const char *end_of_line, HmpWriteFunc write,
                            gpointer opaque)
{
    HmpSession *session = g_new0(HmpSession, 1);
    g_autofree char *greeting = NULL;

    session->context = qmp_context_ref(context);
    session->end_of_line = end_of_line;
    session->write = write;
    session->opaque = opaque;
    session->line = g_string_new(NULL);
    g_queue_init(&session->waiting);
    greeting = g_strdup_printf("snprelay %s monitor - type 'help' for more information\n",
                               snprelay_version());
    send(session, greeting);
    send(session, HMP_PROMPT);
    return session;
}

void hmp_session_free(HmpSession *session)
{
    if (session->request) {
        hmp_request_abandon(session->request);
    }
    g_queue_clear_full(&session->waiting, g_free);
    g_string_free(session->line, TRUE);
    qmp_context_unref(session->context);
    g_free(session);
}

static void end_line(HmpSession *session)
{
    g_queue_push_tail(&session->waiting,
                      g_strdup(session->too_long ? TOO_LONG : session->line->str));
    g_string_truncate(session->line, 0);
    session->too_long = FALSE;
}

static void feed_byte(HmpSession *session, char byte)
{
    gboolean after_cr = session->after_cr;

    session->after_cr = byte == '\r';
    if (byte == '\n' && after_cr) {
        return;
    }
    if (byte == '\n' || byte == '\r') {
        end_line(session);
    } else if (session->line->len >= HMP_MAX_LINE) {
        session->too_long = TRUE;
    } else if (byte != '\0') {
        g_string_append_c(session->line, byte);
    }
}

void hmp_session_feed(HmpSession *session, const void *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        feed_byte(session, ((const char *)data)[i]);
    }
    run_waiting(session);
}

void hmp_session_feed_end(HmpSession *session)
{
    if (session->line->len > 0) {
        end_line(session);
        run_waiting(session);
    }
}

gboolean hmp_session_is_full(const HmpSession *session)
{
    return session->waiting.length >= MAX_WAITING;
}

gboolean hmp_session_is_idle(const HmpSession *session)
{
    return !session->request && session->waiting.length == 0;
}
