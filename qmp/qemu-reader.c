/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Collects tokens until the brackets are even, then parses. */
#include "qmp/qemu-reader.h"

#include "qmp/json-parse.h"
#include "snprelay/snprelay.h"

#define SHOWN_BYTES 60 /* of what is no JSON */

struct QmpQemuReader {
    QmpQemuMessageFunc emit;
    gpointer opaque;
    QmpJsonLexer lexer;
    GString *text;      /* of this message's tokens, without what is between them */
    size_t token_start; /* in text: where the token that is being read begins */
    GArray *tokens;     /* QmpJsonToken */
    guint open;         /* brackets */
    gboolean stopped;
};

QmpQemuReader *qmp_qemu_reader_new(QmpQemuMessageFunc emit, gpointer opaque)
{
    QmpQemuReader *reader = g_new0(QmpQemuReader, 1);

    reader->emit = emit;
    reader->opaque = opaque;
    reader->text = g_string_new(NULL);
    reader->tokens = g_array_new(FALSE, FALSE, sizeof(QmpJsonToken));
    return reader;
}

void qmp_qemu_reader_free(QmpQemuReader *reader)
{
    g_string_free(reader->text, TRUE);
    g_array_unref(reader->tokens);
    g_free(reader);
}

static gboolean fail(const char *why, const char *shown, GError **error)
{
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_GUEST, "%s%s%s%s", why, shown ? ": '" : "",
                shown ? shown : "", shown ? "'" : "");
    return FALSE;
}

/* REST: the input from the byte that made it no JSON. */
static gboolean fail_stray(QmpQemuReader *reader, const char *rest, size_t length, GError **error)
{
    g_autoptr(GString) bytes = g_string_new_len(reader->text->str, (gssize)reader->text->len);
    g_autofree char *shown = NULL;

    g_string_append_len(bytes, rest, (gssize)MIN(length, SHOWN_BYTES));
    shown = g_utf8_make_valid(bytes->str, MIN((gssize)bytes->len, SHOWN_BYTES));
    g_strdelimit(shown, "\r\n\t\033", ' ');
    return fail("it sent what is not QMP", shown, error);
}

static gboolean emit_message(QmpQemuReader *reader, GError **error)
{
    g_autoptr(GError) reason = NULL;
    g_autoptr(JsonNode) message = qmp_json_parse(
        reader->text->str, (QmpJsonToken *)reader->tokens->data, reader->tokens->len, &reason);

    /* A message of many megabytes must not be paid for as long as the connection stands. */
    if (reader->text->allocated_len > 1024 * 1024) {
        g_string_free(reader->text, TRUE);
        reader->text = g_string_new(NULL);
    }
    g_string_truncate(reader->text, 0);
    g_array_set_size(reader->tokens, 0);
    reader->token_start = 0;
    if (!message) {
        return fail("it sent what is not QMP", reason->message, error);
    }
    if (!JSON_NODE_HOLDS_OBJECT(message)) {
        return fail("it sent JSON that is no object, which is not QMP", NULL, error);
    }
    reader->stopped = !reader->emit(json_node_get_object(message), reader->opaque);
    return TRUE;
}

static gboolean take_token(QmpQemuReader *reader, QmpJsonTokenType type, GError **error)
{
    QmpJsonToken token = {type, (guint32)reader->token_start,
                          (guint32)(reader->text->len - reader->token_start)};
    gboolean opens = type == QMP_JSON_LEFT_BRACE || type == QMP_JSON_LEFT_BRACKET;
    gboolean closes = type == QMP_JSON_RIGHT_BRACE || type == QMP_JSON_RIGHT_BRACKET;

    if (reader->tokens->len >= QMP_QEMU_MAX_TOKENS || reader->open >= QMP_QEMU_MAX_NESTING) {
        return fail("it sent a message that is too large", NULL, error);
    }
    g_array_append_val(reader->tokens, token);
    reader->token_start = reader->text->len;
    reader->open += opens;
    reader->open -= closes && reader->open > 0;
    return reader->open > 0 || emit_message(reader, error);
}

gboolean qmp_qemu_reader_feed(QmpQemuReader *reader, const void *data, size_t length,
                              GError **error)
{
    const guchar *bytes = data;

    for (size_t i = 0; i < length && !reader->stopped;) {
        QmpJsonStep step = qmp_json_lex(&reader->lexer, bytes[i]);

        if (step.token == QMP_JSON_BAD) {
            return fail_stray(reader, (const char *)bytes + i, length - i, error);
        }
        if (step.kept) {
            g_string_append_c(reader->text, (char)bytes[i]);
        }
        if (reader->text->len > QMP_QEMU_MAX_LENGTH) {
            return fail("it sent a message of more than 64 MiB", NULL, error);
        }
        if (step.token != QMP_JSON_NONE && !take_token(reader, step.token, error)) {
            return FALSE;
        }
        i += step.consumed;
    }
    return TRUE;
}
