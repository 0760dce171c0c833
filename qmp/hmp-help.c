/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Help and completion, both from the table of commands and the relay's table of parameters. */
#include "qmp/hmp.h"

#include <string.h>

static void print_command(HmpRequest *request, const char *before, const HmpCommand *command,
                          gboolean whole)
{
    int length = whole ? (int)strlen(command->help) : (int)strcspn(command->help, "\n");

    hmp_request_printf(request, "%s%s%s%s%s%s -- %.*s\n", before, command->name,
                       command->alias ? "|" : "", command->alias ? command->alias : "",
                       command->usage ? " " : "", command->usage ? command->usage : "", length,
                       command->help);
}

static void print_table(HmpRequest *request, const char *before, const HmpCommand *table,
                        gboolean own_only)
{
    for (; table->name; table++) {
        if (!own_only || !table->alone) {
            print_command(request, before, table, FALSE);
        }
    }
}

gboolean hmp_print_help(HmpRequest *request, const char *name, gboolean own_only)
{
    if (!name) {
        print_table(request, "", hmp_commands, own_only);
        return TRUE;
    }
    if (strcmp(name, "info") == 0) {
        print_table(request, "info ", hmp_info_commands, own_only);
        return TRUE;
    }
    for (const HmpCommand *command = hmp_commands; command->name; command++) {
        if ((strcmp(command->name, name) == 0 || g_strcmp0(command->alias, name) == 0) &&
            (!own_only || !command->alone)) {
            print_command(request, "", command, TRUE);
            return TRUE;
        }
    }
    return FALSE;
}

static void add_if_prefix(GStrvBuilder *found, const char *name, const char *prefix)
{
    if (g_str_has_prefix(name, prefix)) {
        g_strv_builder_add(found, name);
    }
}

static void complete_from(GStrvBuilder *found, const HmpCommand *table, const char *prefix)
{
    for (; table->name; table++) {
        add_if_prefix(found, table->name, prefix);
    }
}

static void complete_parameter(GStrvBuilder *found, const char *prefix)
{
    size_t count;
    const SnprelayParameter *parameters = snprelay_parameters(&count);

    for (size_t i = 0; i < count; i++) {
        add_if_prefix(found, parameters[i].name, prefix);
    }
}

static void complete_choice(GStrvBuilder *found, const char *name, const char *prefix)
{
    size_t count;
    const SnprelayParameter *parameters = snprelay_parameters(&count);

    for (size_t i = 0; i < count; i++) {
        if (strcmp(parameters[i].name, name) == 0 && parameters[i].choices) {
            for (guint j = 0; parameters[i].choices[j]; j++) {
                add_if_prefix(found, parameters[i].choices[j], prefix);
            }
        }
    }
}

char **hmp_complete(const char *line)
{
    g_autoptr(GStrvBuilder) found = g_strv_builder_new();
    g_auto(GStrv) words = g_strsplit_set(line + strspn(line, " \t"), " \t", -1);
    guint last = g_strv_length(words) > 0 ? g_strv_length(words) - 1 : 0;
    const char *prefix = words[0] ? words[last] : "";

    if (last == 0) {
        complete_from(found, hmp_commands, prefix);
    } else if (last == 1 && strcmp(words[0], "info") == 0) {
        complete_from(found, hmp_info_commands, prefix);
    } else if (last == 1 && (strcmp(words[0], "help") == 0 || strcmp(words[0], "?") == 0)) {
        complete_from(found, hmp_commands, prefix);
    } else if (last == 1 && strcmp(words[0], "snp_migrate_set_parameter") == 0) {
        complete_parameter(found, prefix);
    } else if (last == 2 && strcmp(words[0], "snp_migrate_set_parameter") == 0) {
        complete_choice(found, words[1], prefix);
    }
    return g_strv_builder_end(found);
}
