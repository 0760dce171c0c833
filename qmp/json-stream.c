/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Collects tokens until the brackets are even, then parses. */
#include "qmp/json-stream.h"

#include "qmp/json-parse.h"
#include "qmp/qmp-error.h"

struct QmpJsonStream {
    QmpJsonFunc emit;
    gpointer opaque;
    QmpJsonLexer lexer;
    GString *text;      /* of the tokens of this message, without what is between them */
    size_t token_start; /* in text: where the token that is being read begins */
    GArray *tokens;     /* QmpJsonToken */
    int braces, brackets;
};

QmpJsonStream *qmp_json_stream_new(QmpJsonFunc emit, gpointer opaque)
{
    QmpJsonStream *stream = g_new0(QmpJsonStream, 1);

    stream->emit = emit;
    stream->opaque = opaque;
    stream->text = g_string_new(NULL);
    stream->tokens = g_array_new(FALSE, FALSE, sizeof(QmpJsonToken));
    return stream;
}

void qmp_json_stream_free(QmpJsonStream *stream)
{
    g_string_free(stream->text, TRUE);
    g_array_unref(stream->tokens);
    g_free(stream);
}

/* Hands a message or an error over and begins anew. */
static void emit(QmpJsonStream *stream, JsonNode *message, GError *error)
{
    g_string_truncate(stream->text, 0);
    g_array_set_size(stream->tokens, 0);
    stream->token_start = 0;
    stream->braces = stream->brackets = 0;
    stream->emit(message, error, stream->opaque);
}

static void emit_error(QmpJsonStream *stream, const char *text)
{
    emit(stream, NULL, g_error_new_literal(QMP_ERROR, QMP_ERROR_GENERIC, text));
}

static void emit_stray(QmpJsonStream *stream)
{
    g_autofree char *text = g_utf8_make_valid(stream->text->str + stream->token_start,
                                              stream->text->len - stream->token_start);
    g_autofree char *message = g_strdup_printf("JSON parse error, stray '%s'", text);

    emit_error(stream, message);
}

/* Why a further token is too much, or NULL. */
static const char *exceeded(const QmpJsonStream *stream)
{
    if (stream->tokens->len >= QMP_JSON_MAX_TOKENS) {
        return "JSON token count limit exceeded";
    }
    if (stream->braces + stream->brackets > QMP_JSON_MAX_NESTING) {
        return "JSON nesting depth limit exceeded";
    }
    return NULL;
}

static void count_brackets(QmpJsonStream *stream, QmpJsonTokenType type)
{
    stream->braces += (type == QMP_JSON_LEFT_BRACE) - (type == QMP_JSON_RIGHT_BRACE);
    stream->brackets += (type == QMP_JSON_LEFT_BRACKET) - (type == QMP_JSON_RIGHT_BRACKET);
}

static void parse_message(QmpJsonStream *stream)
{
    GError *error = NULL;
    JsonNode *message = qmp_json_parse(stream->text->str, (QmpJsonToken *)stream->tokens->data,
                                       stream->tokens->len, &error);

    emit(stream, message, error);
}

static void take_token(QmpJsonStream *stream, QmpJsonTokenType type)
{
    QmpJsonToken token = {type, stream->token_start, stream->text->len - stream->token_start};
    const char *limit;

    count_brackets(stream, type);
    limit = exceeded(stream);
    if (limit) {
        emit_error(stream, limit);
        return;
    }
    g_array_append_val(stream->tokens, token);
    stream->token_start = stream->text->len;
    /* Below zero, a bracket closes what was never opened: that is the parser's to tell. */
    if (stream->braces < 0 || stream->brackets < 0 || stream->braces + stream->brackets == 0) {
        parse_message(stream);
    }
}

static void take_byte(QmpJsonStream *stream, guchar byte)
{
    QmpJsonStep step;

    do {
        step = qmp_json_lex(&stream->lexer, byte);
        if (step.kept) {
            g_string_append_c(stream->text, byte);
        }
        if (step.token == QMP_JSON_BAD) {
            emit_stray(stream);
        } else if (step.token != QMP_JSON_NONE) {
            take_token(stream, step.token);
        }
    } while (!step.consumed);
    if (stream->text->len > QMP_JSON_MAX_LENGTH) {
        stream->lexer.state = QMP_JSON_IN_NOTHING;
        emit_error(stream, "JSON token size limit exceeded");
    }
}

void qmp_json_stream_feed(QmpJsonStream *stream, const void *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        take_byte(stream, ((const guchar *)data)[i]);
    }
}
