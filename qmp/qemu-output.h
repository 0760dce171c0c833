/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What goes out to a QEMU: lines in order, some with a file descriptor; sent from the main loop,
 * never blocking. */
#ifndef QMP_QEMU_OUTPUT_H
#define QMP_QEMU_OUTPUT_H

#include <gio/gio.h>

typedef struct QmpQemuOutput QmpQemuOutput;

/* Sending failed: takes ERROR. Called from the main loop; may free the output. */
typedef void (*QmpQemuOutputFunc)(GError *error, gpointer opaque);

/* Makes an output that only collects until qmp_qemu_output_start(). */
QmpQemuOutput *qmp_qemu_output_new(QmpQemuOutputFunc failed, gpointer opaque);
void qmp_qemu_output_free(QmpQemuOutput *output);

/* Appends LINE (taken over) with FD (taken over; -1: none). */
void qmp_qemu_output_push(QmpQemuOutput *output, char *line, int fd);

/* Begins to send to SOCKET: FIRST (taken over) and then what was collected. */
void qmp_qemu_output_start(QmpQemuOutput *output, GSocket *socket, char *first);

/* The line that was sent with a descriptor has been answered: another one may follow. */
void qmp_qemu_output_answered(QmpQemuOutput *output);

/* Bytes that wait. */
size_t qmp_qemu_output_length(const QmpQemuOutput *output);

#endif
