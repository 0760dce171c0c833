/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The backend of monitors in front of a running QEMU: who carries out there what is not ours. */
#ifndef QMP_QEMU_BACKEND_H
#define QMP_QEMU_BACKEND_H

#include "qmp/qemu-backend-queue.h"
#include "qmp/qmp-context.h"

/*
 * What qmp_qemu_backend needs as its opaque. It may go before the last answers have come if QEMU's client is closed next:
 * without a reply nobody looks at it.
 */
typedef struct QmpQemuBackend {
    QmpQemu *qemu;
    QmpQemuQueue *queue;
    QmpContext *context;
} QmpQemuBackend;

extern const QmpBackend qmp_qemu_backend;

/* Answers REQUEST with QEMU's REPLY, or with ERROR when there was none. */
void qmp_qemu_answer(QmpRequest *request, JsonObject *reply, const GError *error);

/* Passes the command NAME with ARGUMENTS (taken over; NULL: none) to QEMU. */
void qmp_qemu_backend_ask(QmpQemuBackend *backend, const char *name, JsonObject *arguments,
                          QmpQemuFunc done, gpointer opaque);

/* ---- qemu-backend-lists.c: query-commands, query-events and query-qmp-schema of both --------------- */

void qmp_qemu_backend_run_commands(QmpQemuBackend *backend, QmpRequest *request);
void qmp_qemu_backend_run_events(QmpQemuBackend *backend, QmpRequest *request);
void qmp_qemu_backend_run_schema(QmpQemuBackend *backend, QmpRequest *request);

/* ---- qemu-backend-fds.c: descriptors are QEMU's, and the relay's too -------------------------------- */

void qmp_qemu_backend_run_getfd(QmpQemuBackend *backend, QmpRequest *request);
void qmp_qemu_backend_run_closefd(QmpQemuBackend *backend, QmpRequest *request);

#endif
