/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Escapes, read and written. */
#include "qmp/json-string.h"

#include <inttypes.h>
#include <string.h>

#include "qmp/qmp-error.h"

/* Unicode's characters, less the surrogates and those that are no characters. */
static gboolean is_character(gunichar c)
{
    return c != 0 && c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF) &&
           !(c >= 0xFDD0 && c <= 0xFDEF) && (c & 0xFFFE) != 0xFFFE;
}

/* The four hexadecimal digits at TEXT, before END; -1 when they are not there. */
static gint32 read_hex4(const char *text, const char *end)
{
    gint32 value = 0;

    if (end - text < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        if (!g_ascii_isxdigit(text[i])) {
            return -1;
        }
        value = value * 16 + g_ascii_xdigit_value(text[i]);
    }
    return value;
}

/* What follows a backslash and "u" at *TEXT, which is moved on. */
static gboolean read_unicode(GString *out, const char **text, const char *end, GError **error)
{
    const char *start = *text;
    gint32 c = read_hex4(start, end);
    size_t length = MIN(4, end - start);

    if (c >= 0xD800 && c <= 0xDBFF && end - start >= 6 && start[4] == '\\' && start[5] == 'u') {
        gint32 low = read_hex4(start + 6, end);

        if (low >= 0xDC00 && low <= 0xDFFF) {
            c = 0x10000 + ((c & 0x3FF) << 10) + (low & 0x3FF);
            length = 10;
        }
    }
    if (c < 0 || !is_character(c)) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "JSON parse error, \\u%.*s is not a valid Unicode character", (int)length,
                    start);
        return FALSE;
    }
    g_string_append_unichar(out, c);
    *text += length;
    return TRUE;
}

/* What follows a backslash at *TEXT, which is moved on. */
static gboolean read_escape(GString *out, const char **text, const char *end, GError **error)
{
    static const char names[] = "\"'\\/bfnrt", values[] = "\"'\\/\b\f\n\r\t";
    char name = *(*text)++;
    const char *found = strchr(names, name);

    if (name == 'u') {
        return read_unicode(out, text, end, error);
    }
    if (!found || !name) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "JSON parse error, invalid escape sequence in string");
        return FALSE;
    }
    g_string_append_c(out, values[found - names]);
    return TRUE;
}

char *qmp_json_unquote(const char *quoted, size_t length, GError **error)
{
    g_autoptr(GString) out = g_string_sized_new(length);
    const char *text = quoted + 1, *end = quoted + length - 1;

    while (text < end) {
        gunichar c;

        if (*text == '\\') {
            text++;
            if (!read_escape(out, &text, end, error)) {
                return NULL;
            }
            continue;
        }
        c = g_utf8_get_char_validated(text, end - text);
        if (c >= (gunichar)-2 || !is_character(c)) {
            g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                        "JSON parse error, invalid UTF-8 sequence in string");
            return NULL;
        }
        g_string_append_unichar(out, c);
        text = g_utf8_next_char(text);
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}

/* What the string of a large number begins with: U+FFFE. */
#define LARGE "\357\277\276"

JsonNode *qmp_json_new_large(guint64 number)
{
    g_autofree char *text = g_strdup_printf(LARGE "%" PRIu64, number);

    return json_node_init_string(json_node_alloc(), text);
}

gboolean qmp_json_is_large(JsonNode *node)
{
    return json_node_get_value_type(node) == G_TYPE_STRING &&
           g_str_has_prefix(json_node_get_string(node), LARGE);
}

const char *qmp_json_get_string(JsonNode *node)
{
    if (!node || json_node_get_value_type(node) != G_TYPE_STRING || qmp_json_is_large(node)) {
        return NULL;
    }
    return json_node_get_string(node);
}

/* One character as ASCII. json-glib leaves U+001F as it is. */
static void append_ascii(GString *line, gunichar c)
{
    if (c >= 0x20 && c < 0x7F) {
        g_string_append_c(line, c);
    } else if (c < 0x10000) {
        g_string_append_printf(line, "\\u%04X", c);
    } else {
        c -= 0x10000;
        g_string_append_printf(line, "\\u%04X\\u%04X", 0xD800 + (c >> 10), 0xDC00 + (c & 0x3FF));
    }
}

/*
 * json-glib ends every whole double in ".0", even 1e+17.0, which is no JSON. QEMU writes whole
 * numbers without it, so it is left out.
 */
static gboolean is_superfluous(const char *text)
{
    return text[0] == '.' && text[1] == '0' && !g_ascii_isalnum(text[2]);
}

/*
 * If TEXT is a large number in its quotes, appends it without them, moves TEXT to the last quote and returns TRUE.
 */
static gboolean append_large(GString *line, const char **text)
{
    const char *digits = *text + strlen("\"" LARGE);
    size_t length;

    if (!g_str_has_prefix(*text, "\"" LARGE)) {
        return FALSE;
    }
    length = strspn(digits, "0123456789");
    g_string_append_len(line, digits, (gssize)length);
    *text = digits + length;
    return TRUE;
}

char *qmp_json_to_line(JsonNode *node)
{
    g_autofree char *compact = json_to_string(node, FALSE);
    g_autofree char *valid = g_utf8_make_valid(compact, -1);
    GString *line = g_string_sized_new(strlen(valid) + 64);
    gboolean in_string = FALSE, escaped = FALSE;

    for (const char *text = valid; *text; text = g_utf8_next_char(text)) {
        if (!in_string && is_superfluous(text)) {
            text++;
            continue;
        }
        if (!in_string && append_large(line, &text)) {
            continue;
        }
        append_ascii(line, g_utf8_get_char(text));
        if (in_string) {
            in_string = escaped || *text != '"';
            escaped = !escaped && *text == '\\';
        } else {
            in_string = *text == '"';
            if (*text == ':' || *text == ',') {
                g_string_append_c(line, ' ');
            }
        }
    }
    return g_string_free(line, FALSE);
}
