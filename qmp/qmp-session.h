/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One client of the QMP server, whichever way its bytes come: greeting, negotiation, its commands
 * one after another, their answers, events.
 */
#ifndef QMP_QMP_SESSION_H
#define QMP_QMP_SESSION_H

#include "qmp/qmp-context.h"

typedef struct QmpSession QmpSession;

/* Sends LENGTH bytes of TEXT to the client; must not free the session. */
typedef void (*QmpWriteFunc)(const char *text, size_t length, gpointer opaque);

/* Greets the client through WRITE. */
QmpSession *qmp_session_new(QmpContext *context, QmpWriteFunc write, gpointer opaque);

/* A command that is being carried out goes on; its answer goes nowhere. */
void qmp_session_free(QmpSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QmpSession, qmp_session_free)

/* The client sent LENGTH bytes. */
void qmp_session_feed(QmpSession *session, const void *data, size_t length);

/*
 * Descriptors (of int, taken over with the array) came with the bytes that are fed next. They wait
 * for a command that takes descriptors; older ones that still wait are closed.
 */
void qmp_session_feed_fds(QmpSession *session, GArray *fds);

/* TRUE when so many commands wait that no more should be read. */
gboolean qmp_session_is_full(const QmpSession *session);

/* TRUE when no command waits or is being carried out. */
gboolean qmp_session_is_idle(const QmpSession *session);

/* Sends EVENT to the client, if the negotiation is over. */
void qmp_session_send_event(QmpSession *session, JsonNode *event);

/* An event of NAME, now, with DATA (taken over, may be NULL). */
JsonNode *qmp_event_new(const char *name, JsonObject *data);

#endif
