/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tokens of JSON as a QMP server takes it: RFC 8259, and besides strings in single quotes. Byte
 * by byte, so that it does not matter how the input was cut.
 */
#ifndef QMP_JSON_LEXER_H
#define QMP_JSON_LEXER_H

#include <glib.h>

typedef enum QmpJsonTokenType {
    QMP_JSON_NONE, /* no token ends here */
    QMP_JSON_BAD,  /* what was read since the last token cannot begin or go on like this */
    QMP_JSON_LEFT_BRACE,
    QMP_JSON_RIGHT_BRACE,
    QMP_JSON_LEFT_BRACKET,
    QMP_JSON_RIGHT_BRACKET,
    QMP_JSON_COLON,
    QMP_JSON_COMMA,
    QMP_JSON_STRING,  /* with its quotes and escapes */
    QMP_JSON_INTEGER, /* -?(0|[1-9][0-9]*) */
    QMP_JSON_FLOAT,
    QMP_JSON_WORD, /* [a-z]+ */
} QmpJsonTokenType;

typedef enum QmpJsonLexerState {
    QMP_JSON_IN_NOTHING, /* between tokens */
    QMP_JSON_IN_RECOVERY,
    QMP_JSON_IN_STRING,
    QMP_JSON_IN_ESCAPE,
    QMP_JSON_IN_MINUS,
    QMP_JSON_IN_ZERO,
    QMP_JSON_IN_INTEGER,
    QMP_JSON_IN_POINT,
    QMP_JSON_IN_FRACTION,
    QMP_JSON_IN_E,
    QMP_JSON_IN_E_SIGN,
    QMP_JSON_IN_EXPONENT,
    QMP_JSON_IN_WORD,
} QmpJsonLexerState;

/* All zero: at the beginning. */
typedef struct QmpJsonLexer {
    QmpJsonLexerState state;
    guchar quote; /* the one that ends the string */
} QmpJsonLexer;

typedef struct QmpJsonStep {
    QmpJsonTokenType token; /* that ends with (or, when not CONSUMED, before) the byte */
    gboolean consumed;      /* FALSE: the byte must be given again, it belongs to what follows */
    gboolean kept;          /* the byte is part of a token, or of what is bad */
} QmpJsonStep;

/* Looks at the next BYTE. */
QmpJsonStep qmp_json_lex(QmpJsonLexer *lexer, guchar byte);

#endif
