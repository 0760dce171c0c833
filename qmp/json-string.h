/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Strings between JSON as QMP writes it (ASCII, one line) and UTF-8. */
#ifndef QMP_JSON_STRING_H
#define QMP_JSON_STRING_H

#include <json-glib/json-glib.h>

/*
 * Reads the string token QUOTED of LENGTH bytes, in double or single quotes. Returns UTF-8 to free
 * with g_free(), or NULL with a QMP_ERROR_GENERIC: a wrong escape, bytes that are no UTF-8, a
 * character that is none (NUL included: nothing here can use it).
 */
char *qmp_json_unquote(const char *quoted, size_t length, GError **error);

/*
 * A whole number from 2^63 to 2^64 - 1 has no place in a JsonNode. It is kept as a string of its digits after a character
 * that no string from outside can have (qmp_json_unquote() refuses it), and written as a number again.
 */
JsonNode *qmp_json_new_large(guint64 number);
gboolean qmp_json_is_large(JsonNode *node);

/* The string that NODE (may be NULL) is, owned by it; NULL when it is anything else. */
const char *qmp_json_get_string(JsonNode *node);

/*
 * Writes NODE as QEMU does: in one line, ASCII only, with spaces. Without an end of line. Free with
 * g_free().
 */
char *qmp_json_to_line(JsonNode *node);

#endif
