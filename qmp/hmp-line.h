/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a line of the human monitor to a command's arguments. */
#ifndef QMP_HMP_LINE_H
#define QMP_HMP_LINE_H

#include <glib.h>

typedef enum HmpArgumentKind {
    HMP_FLAG,   /* its name is the option: "-d" */
    HMP_WORD,   /* a word, or a string in double quotes */
    HMP_NUMBER, /* hexadecimal with 0x, or decimal; never scaled */
    HMP_REST,   /* all words that follow, with single spaces */
} HmpArgumentKind;

typedef struct HmpArgument {
    const char *name;
    HmpArgumentKind kind;
    gboolean optional;
} HmpArgument;

/*
 * Splits LINE into words at blanks. A word that begins with a double quote goes to the next one; in
 * it \" \' \\ \n \r are escapes. Returns a NULL-terminated array to free with g_strfreev(), or NULL
 * with ERROR.
 */
char **hmp_split(const char *line, GError **error);

/*
 * Finds WORDS' meanings in ARGUMENTS (the last one's name is NULL; flags first; NULL: there are
 * none), and puts them into a table of strings by name. COMMAND is for errors, which say what would
 * be right.
 */
GHashTable *hmp_parse_arguments(const char *command, const HmpArgument *arguments, char **words,
                                GError **error);

/* Reads TEXT as an unsigned number of 64 bits. */
gboolean hmp_parse_number(const char *text, guint64 *number);

#endif
