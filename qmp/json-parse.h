/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From the tokens of one message to json-glib's tree.
 *
 * json-glib's own parser takes too much (comments, assignments, numbers that overflow), says
 * nothing in QEMU's words, and does not tell where a message ends; so it is the tree and the
 * writing that are json-glib's.
 */
#ifndef QMP_JSON_PARSE_H
#define QMP_JSON_PARSE_H

#include <json-glib/json-glib.h>

#include "qmp/json-lexer.h"

typedef struct QmpJsonToken {
    QmpJsonTokenType type;
    guint32 start, length; /* in the message's text */
} QmpJsonToken;

/*
 * Parses the COUNT TOKENS of TEXT as one value. Integers beyond 64 bits (signed) become doubles.
 * Returns a tree to free with json_node_unref(), or NULL with a QMP_ERROR_GENERIC: "JSON parse
 * error, ...".
 */
JsonNode *qmp_json_parse(const char *text, const QmpJsonToken *tokens, guint count, GError **error);

#endif
