/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A line of the human monitor: splitting, every command's arguments, completion. */
#include <string.h>

#include "qmp/hmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *line = g_strndup((const char *)data, size);
    g_auto(GStrv) words = hmp_split(line, NULL);
    g_auto(GStrv) completions = hmp_complete(line);

    for (const HmpCommand *command = hmp_commands; words && command->name; command++) {
        GHashTable *arguments = hmp_parse_arguments(command->name, command->arguments, words, NULL);

        g_clear_pointer(&arguments, g_hash_table_unref);
    }
    return 0;
}
