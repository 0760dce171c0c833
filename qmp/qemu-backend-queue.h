/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Our clients' commands on their way to QEMU.
 *
 * QEMU reads no more when eight commands wait in it, and then would not see those out of band either; so only a few are
 * given to it at a time, and the others wait here. Those out of band wait for nothing. For the thread of the default main
 * context.
 */
#ifndef QMP_QEMU_BACKEND_QUEUE_H
#define QMP_QEMU_BACKEND_QUEUE_H

#include "qmp/qemu-client.h"

typedef struct QmpQemuQueue QmpQemuQueue;

/* QEMU is referenced. */
QmpQemuQueue *qmp_qemu_queue_new(QmpQemu *qemu);

/* Answers what waits here with an error, gives QEMU nothing more, and drops the reference. */
void qmp_qemu_queue_free(QmpQemuQueue *queue);

/*
 * Passes COMMAND (taken over) and FD (taken over; -1: none) to QEMU, see qmp_qemu_execute(). DONE (may be NULL) is called
 * once; before this returns only when too many wait already, with an error.
 */
void qmp_qemu_queue_push(QmpQemuQueue *queue, JsonObject *command, int fd, QmpQemuFunc done,
                         gpointer opaque);

#endif
