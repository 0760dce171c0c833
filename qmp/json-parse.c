/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A recursive descent; the stream has bounded the nesting and the number of tokens before. */
#include "qmp/json-parse.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "qmp/json-string.h"
#include "qmp/qmp-error.h"

typedef struct Parser {
    const char *text;
    const QmpJsonToken *next, *end;
} Parser;

static JsonNode *parse_value(Parser *parser, GError **error);

static gpointer parse_error(GError **error, const char *what)
{
    g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "JSON parse error, %s", what);
    return NULL;
}

/* The next token, or NULL at the end. */
static const QmpJsonToken *take(Parser *parser)
{
    return parser->next < parser->end ? parser->next++ : NULL;
}

static gboolean take_if(Parser *parser, QmpJsonTokenType type)
{
    if (parser->next < parser->end && parser->next->type == type) {
        parser->next++;
        return TRUE;
    }
    return FALSE;
}

static JsonNode *parse_word(const char *word, GError **error)
{
    g_autofree char *what = NULL;

    if (strcmp(word, "null") == 0) {
        return json_node_new(JSON_NODE_NULL);
    }
    if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0) {
        return json_node_init_boolean(json_node_alloc(), word[0] == 't');
    }
    what = g_strdup_printf("invalid keyword '%s'", word);
    return parse_error(error, what);
}

static JsonNode *parse_number(const char *digits, QmpJsonTokenType type, GError **error)
{
    double number;

    if (type == QMP_JSON_INTEGER) {
        gint64 integer;
        guint64 large;

        errno = 0;
        integer = g_ascii_strtoll(digits, NULL, 10);
        if (errno != ERANGE) {
            return json_node_init_int(json_node_alloc(), integer);
        }
        errno = 0;
        large = g_ascii_strtoull(digits, NULL, 10);
        if (errno != ERANGE && digits[0] != '-') {
            return qmp_json_new_large(large);
        }
    }
    number = g_ascii_strtod(digits, NULL);
    if (!isfinite(number)) {
        return parse_error(error, "number is too large");
    }
    return json_node_init_double(json_node_alloc(), number);
}

static JsonNode *parse_string(Parser *parser, const QmpJsonToken *token, GError **error)
{
    g_autofree char *string = qmp_json_unquote(parser->text + token->start, token->length, error);

    return string ? json_node_init_string(json_node_alloc(), string) : NULL;
}

/* One "key": value into OBJECT. */
static gboolean parse_pair(Parser *parser, JsonObject *object, GError **error)
{
    g_autoptr(JsonNode) key = parse_value(parser, error);
    JsonNode *value;

    if (!key) {
        return FALSE;
    }
    if (!qmp_json_get_string(key)) {
        return parse_error(error, "key is not a string in object") != NULL;
    }
    if (!take_if(parser, QMP_JSON_COLON)) {
        return parse_error(error, "missing : in object pair") != NULL;
    }
    value = parse_value(parser, error);
    if (!value) {
        return FALSE;
    }
    if (json_object_has_member(object, json_node_get_string(key))) {
        json_node_unref(value);
        return parse_error(error, "duplicate key") != NULL;
    }
    json_object_set_member(object, json_node_get_string(key), value);
    return TRUE;
}

static JsonNode *parse_object(Parser *parser, GError **error)
{
    g_autoptr(JsonObject) object = json_object_new();

    if (!take_if(parser, QMP_JSON_RIGHT_BRACE)) {
        do {
            if (!parse_pair(parser, object, error)) {
                return NULL;
            }
        } while (take_if(parser, QMP_JSON_COMMA));
        if (!take_if(parser, QMP_JSON_RIGHT_BRACE)) {
            return parse_error(error, "expected separator in dict");
        }
    }
    return json_node_init_object(json_node_alloc(), object);
}

static JsonNode *parse_array(Parser *parser, GError **error)
{
    g_autoptr(JsonArray) array = json_array_new();

    if (!take_if(parser, QMP_JSON_RIGHT_BRACKET)) {
        do {
            JsonNode *element = parse_value(parser, error);

            if (!element) {
                return NULL;
            }
            json_array_add_element(array, element);
        } while (take_if(parser, QMP_JSON_COMMA));
        if (!take_if(parser, QMP_JSON_RIGHT_BRACKET)) {
            return parse_error(error, "expected separator in list");
        }
    }
    return json_node_init_array(json_node_alloc(), array);
}

static JsonNode *parse_value(Parser *parser, GError **error)
{
    const QmpJsonToken *token = take(parser);
    g_autofree char *text = NULL;

    switch (token ? token->type : QMP_JSON_NONE) {
    case QMP_JSON_LEFT_BRACE:
        return parse_object(parser, error);
    case QMP_JSON_LEFT_BRACKET:
        return parse_array(parser, error);
    case QMP_JSON_STRING:
        return parse_string(parser, token, error);
    case QMP_JSON_INTEGER:
    case QMP_JSON_FLOAT:
        text = g_strndup(parser->text + token->start, token->length);
        return parse_number(text, token->type, error);
    case QMP_JSON_WORD:
        text = g_strndup(parser->text + token->start, token->length);
        return parse_word(text, error);
    default:
        return parse_error(error, "expecting value");
    }
}

JsonNode *qmp_json_parse(const char *text, const QmpJsonToken *tokens, guint count, GError **error)
{
    Parser parser = {text, tokens, tokens + count};

    return parse_value(&parser, error);
}
