/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table, and who carries a line out. */
#include "qmp/hmp.h"

#include <string.h>

static void run_help(QmpContext *context, HmpRequest *request)
{
    const char *name = hmp_request_argument(request, "command");

    (void)context;
    if (!hmp_print_help(request, name, FALSE)) {
        hmp_request_printf(request, "unknown command: '%s'\n", name);
    }
    hmp_request_done(request);
}

static void run_info(QmpContext *context, HmpRequest *request)
{
    (void)context;
    hmp_print_help(request, "info", FALSE);
    hmp_request_done(request);
}

static void run_quit(QmpContext *context, HmpRequest *request)
{
    hmp_request_done(request);
    if (context->hooks.quit) {
        context->hooks.quit(context->hooks.opaque);
    }
}

static void info_version(QmpContext *context, HmpRequest *request)
{
    (void)context;
    hmp_request_printf(request, "%s\n", snprelay_version());
    hmp_request_done(request);
}

static void info_status(QmpContext *context, HmpRequest *request)
{
    (void)context;
    hmp_request_printf(request, "snprelay status: running\n");
    hmp_request_done(request);
}

static const HmpArgument migrate_arguments[] = {
    {"-d", HMP_FLAG, TRUE},  {"-r", HMP_FLAG, TRUE},        {"-f", HMP_FLAG, TRUE},
    {"uri", HMP_WORD, TRUE}, {"address", HMP_NUMBER, TRUE}, /* both needed without -r */
    {NULL, HMP_WORD, FALSE},
};
static const HmpArgument incoming_arguments[] = {
    {"-f", HMP_FLAG, TRUE},
    {"uri", HMP_WORD, FALSE},
    {"address", HMP_NUMBER, FALSE},
    {NULL, HMP_WORD, FALSE},
};
static const HmpArgument recover_arguments[] = {
    {"uri", HMP_WORD, FALSE},
    {NULL, HMP_WORD, FALSE},
};
static const HmpArgument set_arguments[] = {
    {"name", HMP_WORD, FALSE},
    {"value", HMP_REST, FALSE},
    {NULL, HMP_WORD, FALSE},
};
static const HmpArgument help_arguments[] = {
    {"command", HMP_WORD, TRUE},
    {NULL, HMP_WORD, FALSE},
};

const HmpCommand hmp_info_commands[] = {
    {.name = "snp_migrate",
     .help = "show the present or the last migration",
     .run = hmp_info_migrate},
    {.name = "snp_migrate_parameters",
     .help = "show the parameters of migrations",
     .run = hmp_info_parameters},
    {.name = "snp_page", .help = "show what is at the migration page", .run = hmp_info_page},
    {.name = "version", .help = "show the version", .alone = TRUE, .run = info_version},
    {.name = "status", .help = "show what the program does", .alone = TRUE, .run = info_status},
    {.name = NULL},
};

const HmpCommand hmp_commands[] = {
    {.name = "snp_migrate",
     .usage = "[-d] [-r] [-f] uri address",
     .help = "send the blocks of the guest's page at address to uri\n"
             "\t-d: return at once; without it, when the migration has ended, failed or paused\n"
             "\t-r: go on with a paused migration; uri and address may be left out\n"
             "\t-f: start on a page that was broken off in mid-stream",
     .arguments = migrate_arguments,
     .run = hmp_run_migrate},
    {.name = "snp_migrate_incoming",
     .usage = "[-f] uri address",
     .help = "listen on uri, give what comes to the guest's page at address\n"
             "\t-f: start on a page that was broken off in mid-stream",
     .arguments = incoming_arguments,
     .run = hmp_run_incoming},
    {.name = "snp_migrate_cancel", .help = "give the migration up", .run = hmp_run_cancel},
    {.name = "snp_migrate_pause",
     .help = "break the connection; snp_migrate -r goes on",
     .run = hmp_run_pause},
    {.name = "snp_migrate_recover",
     .usage = "uri",
     .help = "make a paused incoming migration listen anew on uri",
     .arguments = recover_arguments,
     .run = hmp_run_recover},
    {.name = "snp_migrate_set_parameter",
     .usage = "name value",
     .help = "set a parameter of migrations (info snp_migrate_parameters)",
     .arguments = set_arguments,
     .run = hmp_run_set_parameter},
    {.name = "info",
     .usage = "[subcommand]",
     .help = "show something; info alone lists what there is",
     .subcommands = hmp_info_commands,
     .alone = TRUE,
     .run = run_info},
    {.name = "help",
     .alias = "?",
     .usage = "[command]",
     .help = "list the commands, or tell about one",
     .arguments = help_arguments,
     .alone = TRUE,
     .run = run_help},
    {.name = "quit", .alias = "q", .help = "end the program", .alone = TRUE, .run = run_quit},
    {.name = NULL},
};

static const HmpCommand *find_in(const HmpCommand *table, const char *name)
{
    for (; name && table->name; table++) {
        if (strcmp(table->name, name) == 0 || g_strcmp0(table->alias, name) == 0) {
            return table;
        }
    }
    return NULL;
}

/* The command that WORDS begin with; *USED is how many of them name it. NULL when there is none. */
static const HmpCommand *find_command(char **words, guint *used)
{
    const HmpCommand *command = find_in(hmp_commands, words[0]);

    *used = 1;
    if (command && command->subcommands && words[1]) {
        *used = 2;
        return find_in(command->subcommands, words[1]);
    }
    return command;
}

/* Whether WORDS ask for help on one of our own commands. */
static gboolean is_own_help(char **words)
{
    const HmpCommand *help = find_in(hmp_commands, words[0]);
    const HmpCommand *topic = find_in(hmp_commands, words[0] ? words[1] : NULL);

    return help && help->run == run_help && topic && !topic->alone;
}

static void run_line(QmpContext *context, const HmpCommand *command, const char *line, guint used,
                     HmpRequest *request)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) words = hmp_split(line, &error);
    GHashTable *arguments = NULL;

    if (words) {
        arguments = hmp_parse_arguments(command->name, command->arguments, words + used, &error);
    }
    if (!arguments) {
        hmp_request_printf(request, "%s\nTry \"help %s\" for more information\n", error->message,
                           command->name);
        hmp_request_done(request);
        return;
    }
    hmp_request_set_arguments(request, arguments);
    command->run(context, request);
}

/*
 * The words of LINE as far as blanks tell: what is not ours need not follow our rules of quoting.
 */
static char **rough_words(const char *line)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    g_auto(GStrv) parts = g_strsplit_set(line, " \t\r\n\v\f", -1);

    for (char **part = parts; *part; part++) {
        if (**part) {
            g_strv_builder_add(builder, *part);
        }
    }
    return g_strv_builder_end(builder);
}

gboolean hmp_is_own(const char *line)
{
    g_auto(GStrv) words = rough_words(line);
    guint used;
    const HmpCommand *command = find_command(words, &used);

    return command && (!command->alone || is_own_help(words));
}

gboolean hmp_is_listing(const char *line, const char **topic)
{
    g_auto(GStrv) words = rough_words(line);
    const HmpCommand *command = find_in(hmp_commands, words[0]);
    gboolean lists_info = command && command->subcommands;

    if (command && command->run == run_help && words[1] && !words[2]) {
        const HmpCommand *named = find_in(hmp_commands, words[1]);

        lists_info = named && named->subcommands;
    } else if (!command || words[1] || (command->run != run_help && !lists_info)) {
        return FALSE;
    }
    *topic = lists_info ? "info" : NULL;
    return lists_info || !words[1];
}

void hmp_execute(QmpContext *context, const char *line, HmpRequest *request)
{
    g_auto(GStrv) words = rough_words(line);
    guint used;
    const HmpCommand *command = find_command(words, &used);

    if (!words[0]) {
        hmp_request_done(request);
    } else if (hmp_is_own(line)) {
        run_line(context, command, line, used, request);
    } else {
        context->backend->human(context, request, line, context->backend_opaque);
    }
}

void hmp_execute_alone(QmpContext *context, HmpRequest *request, const char *line)
{
    g_auto(GStrv) words = rough_words(line);
    guint used;
    const HmpCommand *command = find_command(words, &used);

    if (command) {
        run_line(context, command, line, used, request);
        return;
    }
    hmp_request_printf(request, "unknown command: '%s%s%s'\n", words[0], used > 1 ? " " : "",
                       used > 1 ? words[1] : "");
    hmp_request_done(request);
}
