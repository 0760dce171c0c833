/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One client of the human monitor, whichever way its bytes come: lines, one after another, their
 * text, the prompt.
 */
#ifndef QMP_HMP_SESSION_H
#define QMP_HMP_SESSION_H

#include "qmp/qmp-context.h"

/* As much as QEMU's monitor takes. */
#define HMP_MAX_LINE 4095

typedef struct HmpSession HmpSession;

/* Sends LENGTH bytes of TEXT to the client; must not free the session. */
typedef void (*HmpWriteFunc)(const char *text, size_t length, gpointer opaque);

/*
 * Greets the client through WRITE. END_OF_LINE ("\n" or "\r\n") ends the lines that are sent;
 * static.
 */
HmpSession *hmp_session_new(QmpContext *context, const char *end_of_line, HmpWriteFunc write,
                            gpointer opaque);

/* A line that is being carried out goes on; its text goes nowhere. */
void hmp_session_free(HmpSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HmpSession, hmp_session_free)

/* The client sent LENGTH bytes. */
void hmp_session_feed(HmpSession *session, const void *data, size_t length);

/* The client will send no more: a last line without an end is carried out too. */
void hmp_session_feed_end(HmpSession *session);

/* As for a QmpSession. */
gboolean hmp_session_is_full(const HmpSession *session);
gboolean hmp_session_is_idle(const HmpSession *session);

#endif
