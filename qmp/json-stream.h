/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cuts a client's bytes into messages as QEMU's monitor does, and parses them.
 *
 * A message ends with the bracket that closes its first one (a value without brackets: with its
 * last byte, seen at the next). Bad input is told once and skipped; what follows is understood
 * again (see json-lexer.c). A message has at most QMP_JSON_MAX_LENGTH bytes, QMP_JSON_MAX_TOKENS
 * tokens and QMP_JSON_MAX_NESTING open brackets.
 */
#ifndef QMP_JSON_STREAM_H
#define QMP_JSON_STREAM_H

#include <json-glib/json-glib.h>

#define QMP_JSON_MAX_LENGTH (1024 * 1024)
#define QMP_JSON_MAX_TOKENS (64 * 1024)
#define QMP_JSON_MAX_NESTING 1024

typedef struct QmpJsonStream QmpJsonStream;

/* Takes a message: MESSAGE, or NULL with ERROR; both are the function's to free. */
typedef void (*QmpJsonFunc)(JsonNode *message, GError *error, gpointer opaque);

/* EMIT is called, with OPAQUE, from qmp_json_stream_feed(); it must not free the stream. */
QmpJsonStream *qmp_json_stream_new(QmpJsonFunc emit, gpointer opaque);
void qmp_json_stream_free(QmpJsonStream *stream);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QmpJsonStream, qmp_json_stream_free)

/* Takes the next LENGTH bytes, cut wherever they may be. */
void qmp_json_stream_feed(QmpJsonStream *stream, const void *data, size_t length);

#endif
