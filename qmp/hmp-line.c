/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Splitting and understanding a line, in the manner of QEMU's monitor. */
#include "qmp/hmp-line.h"

#include <string.h>

#include "qmp/qmp-error.h"

#define BLANKS " \t\r\n\v\f"

/* Reads a quoted word after its opening quote at *TEXT, which is moved behind the closing one. */
static char *read_quoted(const char **text, GError **error)
{
    static const char names[] = "\"'\\nr", values[] = "\"'\\\n\r";
    g_autoptr(GString) word = g_string_new(NULL);
    const char *next = *text;

    for (; *next && *next != '"'; next++) {
        const char *found;

        if (*next != '\\') {
            g_string_append_c(word, *next);
            continue;
        }
        next++;
        found = *next ? strchr(names, *next) : NULL;
        if (!found) {
            g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "unsupported escape code: '\\%c'",
                        *next ? *next : ' ');
            return NULL;
        }
        g_string_append_c(word, values[found - names]);
    }
    if (!*next) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "unterminated string: \"%s", word->str);
        return NULL;
    }
    next++;
    if (*next && !strchr(BLANKS, *next)) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "a blank is missing after the string \"%s\"", word->str);
        return NULL;
    }
    *text = next;
    return g_string_free(g_steal_pointer(&word), FALSE);
}

char **hmp_split(const char *line, GError **error)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);

    for (;;) {
        char *word;

        line += strspn(line, BLANKS);
        if (!*line) {
            g_ptr_array_add(words, NULL);
            return (char **)g_ptr_array_free(g_steal_pointer(&words), FALSE);
        }
        if (*line == '"') {
            line++;
            word = read_quoted(&line, error);
            if (!word) {
                return NULL;
            }
        } else {
            size_t length = strcspn(line, BLANKS);

            word = g_strndup(line, length);
            line += length;
        }
        g_ptr_array_add(words, word);
    }
}

gboolean hmp_parse_number(const char *text, guint64 *number)
{
    gboolean hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');

    /* GLib would take a second prefix in base 16. */
    if (hex && strspn(text + 2, "0123456789abcdefABCDEF") != strlen(text + 2)) {
        return FALSE;
    }
    return g_ascii_string_to_unsigned(hex ? text + 2 : text, hex ? 16 : 10, 0, G_MAXUINT64, number,
                                      NULL);
}

/* Puts the flags of one word ("-d", or "-df") into TABLE. */
static gboolean parse_flags(const char *command, const HmpArgument *arguments, const char *word,
                            GHashTable *table, GError **error)
{
    for (const char *letter = word + 1; *letter; letter++) {
        const HmpArgument *argument = arguments;

        while (argument && argument->name &&
               !(argument->kind == HMP_FLAG && argument->name[1] == *letter)) {
            argument++;
        }
        if (!argument || !argument->name) {
            g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "%s: unsupported option -%c", command,
                        *letter);
            return FALSE;
        }
        g_hash_table_replace(table, g_strdup(argument->name), g_strdup(""));
    }
    return TRUE;
}

static gboolean check_word(const char *command, const HmpArgument *argument, const char *word,
                           GError **error)
{
    guint64 number;

    if (!word) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "%s: %s expected", command,
                    argument->name);
        return FALSE;
    }
    if (argument->kind == HMP_NUMBER && !hmp_parse_number(word, &number)) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "%s: %s '%s' is not a number: give it in hexadecimal with 0x, or in decimal",
                    command, argument->name, word);
        return FALSE;
    }
    return TRUE;
}

GHashTable *hmp_parse_arguments(const char *command, const HmpArgument *arguments, char **words,
                                GError **error)
{
    g_autoptr(GHashTable) table = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

    for (; *words && (*words)[0] == '-' && (*words)[1]; words++) {
        if (!parse_flags(command, arguments, *words, table, error)) {
            return NULL;
        }
    }
    for (; arguments && arguments->name; arguments++) {
        if (arguments->kind == HMP_FLAG || (!*words && arguments->optional)) {
            continue;
        }
        if (!check_word(command, arguments, *words, error)) {
            return NULL;
        }
        if (arguments->kind == HMP_REST) {
            g_hash_table_replace(table, g_strdup(arguments->name), g_strjoinv(" ", words));
            words += g_strv_length(words);
        } else {
            g_hash_table_replace(table, g_strdup(arguments->name), g_strdup(*words++));
        }
    }
    if (*words) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "%s: extraneous characters at the end of line: '%s'", command, *words);
        return NULL;
    }
    return g_steal_pointer(&table);
}
