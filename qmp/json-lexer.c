/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A state machine with one function for each kind of token.
 *
 * After something bad, input is skipped until a byte that lets hope for a new beginning: a bracket,
 * brace, colon or comma, a control character other than the tab, 0xFE or 0xFF. So a client that
 * lost its way sends 0xFF, sees an error, and is understood again.
 */
#include "qmp/json-lexer.h"

#include <string.h>

static QmpJsonStep go_on(QmpJsonLexer *lexer, QmpJsonLexerState state)
{
    lexer->state = state;
    return (QmpJsonStep){QMP_JSON_NONE, TRUE, TRUE};
}

static QmpJsonStep skip(void)
{
    return (QmpJsonStep){QMP_JSON_NONE, TRUE, FALSE};
}

static QmpJsonStep end_with(QmpJsonLexer *lexer, QmpJsonTokenType token)
{
    lexer->state = QMP_JSON_IN_NOTHING;
    return (QmpJsonStep){token, TRUE, TRUE};
}

static QmpJsonStep end_before(QmpJsonLexer *lexer, QmpJsonTokenType token)
{
    lexer->state = QMP_JSON_IN_NOTHING;
    return (QmpJsonStep){token, FALSE, FALSE};
}

static QmpJsonStep bad(QmpJsonLexer *lexer)
{
    lexer->state = QMP_JSON_IN_RECOVERY;
    return (QmpJsonStep){QMP_JSON_BAD, TRUE, TRUE};
}

static QmpJsonStep lex_first(QmpJsonLexer *lexer, guchar byte)
{
    static const char structural[] = "{}[]:,";
    const char *found = byte ? strchr(structural, byte) : NULL;

    if (found) {
        return end_with(lexer, QMP_JSON_LEFT_BRACE + (found - structural));
    }
    switch (byte) {
    case ' ':
    case '\t':
    case '\r':
    case '\n':
        return skip();
    case '"':
    case '\'':
        lexer->quote = byte;
        return go_on(lexer, QMP_JSON_IN_STRING);
    case '-':
        return go_on(lexer, QMP_JSON_IN_MINUS);
    case '0':
        return go_on(lexer, QMP_JSON_IN_ZERO);
    }
    if (g_ascii_isdigit(byte)) {
        return go_on(lexer, QMP_JSON_IN_INTEGER);
    }
    return g_ascii_islower(byte) ? go_on(lexer, QMP_JSON_IN_WORD) : bad(lexer);
}

static QmpJsonStep lex_recovery(QmpJsonLexer *lexer, guchar byte)
{
    if ((byte < ' ' && byte != '\t') || byte >= 0xFE || strchr("{}[]:,", byte)) {
        return end_before(lexer, QMP_JSON_NONE);
    }
    return skip();
}

static QmpJsonStep lex_string(QmpJsonLexer *lexer, guchar byte)
{
    if (byte < ' ' || byte >= 0xFE) {
        return bad(lexer);
    }
    if (lexer->state == QMP_JSON_IN_ESCAPE) {
        return go_on(lexer, QMP_JSON_IN_STRING);
    }
    if (byte == lexer->quote) {
        return end_with(lexer, QMP_JSON_STRING);
    }
    return go_on(lexer, byte == '\\' ? QMP_JSON_IN_ESCAPE : QMP_JSON_IN_STRING);
}

/* A number's integer part. */
static QmpJsonStep lex_integer(QmpJsonLexer *lexer, guchar byte)
{
    gboolean digit = g_ascii_isdigit(byte);

    if (lexer->state == QMP_JSON_IN_MINUS) {
        if (!digit) {
            return bad(lexer);
        }
        return go_on(lexer, byte == '0' ? QMP_JSON_IN_ZERO : QMP_JSON_IN_INTEGER);
    }
    if (digit) {
        return lexer->state == QMP_JSON_IN_ZERO ? bad(lexer) : go_on(lexer, QMP_JSON_IN_INTEGER);
    }
    if (byte == '.') {
        return go_on(lexer, QMP_JSON_IN_POINT);
    }
    /* An exponent right after a lone zero (0e1) is not taken, as QEMU does not. */
    if ((byte == 'e' || byte == 'E') && lexer->state == QMP_JSON_IN_INTEGER) {
        return go_on(lexer, QMP_JSON_IN_E);
    }
    return end_before(lexer, QMP_JSON_INTEGER);
}

/* What follows a number's integer part. */
static QmpJsonStep lex_float(QmpJsonLexer *lexer, guchar byte)
{
    QmpJsonLexerState state = lexer->state;

    if (g_ascii_isdigit(byte)) {
        gboolean fraction = state == QMP_JSON_IN_POINT || state == QMP_JSON_IN_FRACTION;

        return go_on(lexer, fraction ? QMP_JSON_IN_FRACTION : QMP_JSON_IN_EXPONENT);
    }
    if (state == QMP_JSON_IN_FRACTION && (byte == 'e' || byte == 'E')) {
        return go_on(lexer, QMP_JSON_IN_E);
    }
    if (state == QMP_JSON_IN_E && (byte == '+' || byte == '-')) {
        return go_on(lexer, QMP_JSON_IN_E_SIGN);
    }
    if (state == QMP_JSON_IN_FRACTION || state == QMP_JSON_IN_EXPONENT) {
        return end_before(lexer, QMP_JSON_FLOAT);
    }
    return bad(lexer);
}

QmpJsonStep qmp_json_lex(QmpJsonLexer *lexer, guchar byte)
{
    switch (lexer->state) {
    case QMP_JSON_IN_NOTHING:
        return lex_first(lexer, byte);
    case QMP_JSON_IN_RECOVERY:
        return lex_recovery(lexer, byte);
    case QMP_JSON_IN_STRING:
    case QMP_JSON_IN_ESCAPE:
        return lex_string(lexer, byte);
    case QMP_JSON_IN_MINUS:
    case QMP_JSON_IN_ZERO:
    case QMP_JSON_IN_INTEGER:
        return lex_integer(lexer, byte);
    case QMP_JSON_IN_WORD:
        return g_ascii_islower(byte) ? go_on(lexer, QMP_JSON_IN_WORD)
                                     : end_before(lexer, QMP_JSON_WORD);
    default:
        return lex_float(lexer, byte);
    }
}
