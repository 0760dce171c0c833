/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A QMP command that is being carried out: answered once, now or later. Whoever asked may have gone
 * meanwhile; then the answer goes nowhere, and the one who answers need not know.
 */
#ifndef QMP_QMP_REQUEST_H
#define QMP_QMP_REQUEST_H

#include <json-glib/json-glib.h>

typedef struct QmpRequest QmpRequest;

/* Takes the answer: RESULT, or NULL and ERROR. Both are valid during the call. */
typedef void (*QmpAnswerFunc)(JsonNode *result, const GError *error, gpointer opaque);

/*
 * Makes a request for COMMAND with ARGUMENTS (NULL: none; a reference is taken). ANSWER is called
 * with OPAQUE.
 */
QmpRequest *qmp_request_new(const char *command, JsonObject *arguments, QmpAnswerFunc answer,
                            gpointer opaque);

const char *qmp_request_command(const QmpRequest *request);

/* An empty object when the client gave none; owned by REQUEST. */
JsonObject *qmp_request_arguments(const QmpRequest *request);

/* The client wants REQUEST out of band ("exec-oob"). */
void qmp_request_set_oob(QmpRequest *request);
gboolean qmp_request_is_oob(const QmpRequest *request);

/*
 * Gives REQUEST a descriptor that came with it; FDS (of int) is taken over, as are the descriptors
 * in it.
 */
void qmp_request_set_fds(QmpRequest *request, GArray *fds);

/* Whether a descriptor came with it that was not taken. */
gboolean qmp_request_has_fd(const QmpRequest *request);
/* Takes the next descriptor out of REQUEST; -1 when there is none. */
int qmp_request_take_fd(QmpRequest *request);

/* Answers with RESULT (taken over; NULL is an empty object) and frees REQUEST. */
void qmp_request_return(QmpRequest *request, JsonNode *result);

/* Answers with ERROR (taken over) and frees REQUEST. */
void qmp_request_fail(QmpRequest *request, GError *error);

/* Nobody waits for REQUEST's answer any more; whoever carries it out still frees it. */
void qmp_request_abandon(QmpRequest *request);

/* An array of descriptors that closes what is left in it when it is freed. */
GArray *qmp_fds_new(void);

#endif
