/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cuts what a QEMU sends into messages. The bounds are wider than those for a monitor's clients
 * (json-stream.h): QEMU's schema and the answers of its human monitor are long. Input that is no
 * JSON is an error for good, because nothing that speaks QMP sends such.
 */
#ifndef QMP_QEMU_READER_H
#define QMP_QEMU_READER_H

#include <json-glib/json-glib.h>

#define QMP_QEMU_MAX_LENGTH (64 * 1024 * 1024)
#define QMP_QEMU_MAX_TOKENS (4 * 1024 * 1024)
#define QMP_QEMU_MAX_NESTING 1024

typedef struct QmpQemuReader QmpQemuReader;

/* Takes a MESSAGE, always an object, that is valid during the call. FALSE: nothing more is wanted.
 */
typedef gboolean (*QmpQemuMessageFunc)(JsonObject *message, gpointer opaque);

QmpQemuReader *qmp_qemu_reader_new(QmpQemuMessageFunc emit, gpointer opaque);
void qmp_qemu_reader_free(QmpQemuReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QmpQemuReader, qmp_qemu_reader_free)

/*
 * Takes the next LENGTH bytes, cut wherever they may be, and emits the messages that are complete;
 * EMIT must not free the reader. FALSE with ERROR (SNPRELAY_ERROR_GUEST) showing what is no JSON,
 * or too long.
 */
gboolean qmp_qemu_reader_feed(QmpQemuReader *reader, const void *data, size_t length,
                              GError **error);

#endif
