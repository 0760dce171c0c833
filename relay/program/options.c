/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line of each command. Every migration parameter is an option of the same name, from the one table. Names of
 * files may be in any encoding: what can have one in it is taken as it is.
 */
#include <string.h>

#include "relay/program/program.h"
#include "relay/program/sandbox.h"

static gboolean on_log_level(const char *option G_GNUC_UNUSED, const char *value,
                             gpointer data G_GNUC_UNUSED, GError **error)
{
    return relay_log_set_level(value, error);
}

static gboolean on_parameter(const char *option, const char *text, gpointer data, GError **error)
{
    Options *options = data;
    SnprelayParameterValue value;

    if (!snprelay_parameter_parse(option + strlen("--"), text, &value, error)) {
        return FALSE;
    }
    g_array_append_val(options->parameters, value);
    return TRUE;
}

static gboolean on_sandbox(const char *option G_GNUC_UNUSED, const char *value, gpointer data,
                           GError **error)
{
    Options *options = data;

    if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "--sandbox expects on or off, not '%s'", value);
        return FALSE;
    }
    options->no_sandbox = strcmp(value, "off") == 0;
    return TRUE;
}

static void clear_value(gpointer value)
{
    snprelay_parameter_clear(value);
}

static void add_common(GOptionContext *context, Options *options)
{
    const GOptionEntry entries[] = {
        {"guest-memory", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &options->guest_memory,
         "where the guest's RAM is: file:PATH[,offset=N][,gpa=N][,size=N], fd:N[,...] or "
         "qemu:SOCKET; may be repeated",
         "SPEC"},
        {"log-level", 0, 0, G_OPTION_ARG_CALLBACK, on_log_level,
         "error, warning, info (default) or debug", "LEVEL"},
        G_OPTION_ENTRY_NULL,
    };

    g_option_context_add_main_entries(context, entries, NULL);
}

static void add_migration(GOptionContext *context, Options *options)
{
    const GOptionEntry entries[] = {
        {"allow-exec", 0, 0, G_OPTION_ARG_NONE, &options->allow_exec,
         "let exec: URIs start programs", NULL},
        {"require-tls", 0, 0, G_OPTION_ARG_NONE, &options->require_tls,
         "refuse tcp URIs that leave this host unencrypted", NULL},
        G_OPTION_ENTRY_NULL,
    };
    GOptionGroup *group =
        g_option_group_new("parameters", "Migration parameters and safety:",
                           "Show the migration parameters and safety options", options, NULL);
    size_t count;
    const SnprelayParameter *parameters = snprelay_parameters(&count);

    const GOptionEntry sandbox[] = {
        {"sandbox", 0, 0, G_OPTION_ARG_CALLBACK, on_sandbox,
         "on (default): give up every system call that is not needed", "on|off"},
        G_OPTION_ENTRY_NULL,
    };

    g_option_context_add_main_entries(context, entries, NULL);
    g_option_group_add_entries(group, sandbox);
    for (size_t i = 0; i < count; i++) {
        const GOptionEntry one[] = {
            {parameters[i].name, 0, G_OPTION_FLAG_FILENAME, G_OPTION_ARG_CALLBACK, on_parameter,
             parameters[i].help, parameters[i].type == SNPRELAY_PARAMETER_SIZE ? "BYTES" : "VALUE"},
            G_OPTION_ENTRY_NULL,
        };

        g_option_group_add_entries(group, one);
    }
    g_option_context_add_group(context, group);
}

static void add_serve(GOptionContext *context, Options *options)
{
    const GOptionEntry entries[] = {
        {"hmp", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &options->hmp,
         "a monitor for people: stdio, unix:PATH, tcp:HOST:PORT or fd:N; may be repeated", "ADDR"},
        {"qmp", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &options->qmp,
         "a monitor for programs, likewise", "ADDR"},
        {"insecure-monitor", 0, 0, G_OPTION_ARG_NONE, &options->insecure_monitor,
         "allow monitors on tcp beyond the loopback, where nobody is authenticated", NULL},
        G_OPTION_ENTRY_NULL,
    };

    g_option_context_add_main_entries(context, entries, NULL);
}

static void add_transfer(GOptionContext *context, Options *options)
{
    const GOptionEntry entries[] = {
        {"force", 0, 0, G_OPTION_ARG_NONE, &options->force,
         "start on a page whose last migration was broken off", NULL},
        {"json", 0, 0, G_OPTION_ARG_NONE, &options->json,
         "print the final query-snp-migrate object on standard output", NULL},
        G_OPTION_ENTRY_NULL,
    };

    g_option_context_add_main_entries(context, entries, NULL);
}

static const struct {
    const char *arguments, *summary;
    guint count; /* of arguments */
} usages[] = {
    [OPTIONS_SERVE] =
        {"", "Serve monitors that start, ask and stop migrations, until `quit` or a signal.", 0},
    [OPTIONS_SEND] = {"URI ADDRESS", "Migrate the guest with its page at ADDRESS to URI.", 2},
    [OPTIONS_RECEIVE] = {"URI ADDRESS", "Listen on URI for a migration into the page at ADDRESS.",
                         2},
    [OPTIONS_INSPECT] = {"ADDRESS", "Show what is at the migration page; changes nothing.", 1},
};

static gboolean take_arguments(Options *options, OptionsFor command, GError **error)
{
    guint count = options->arguments ? g_strv_length(options->arguments) : 0;
    const char *address;

    if (count != usages[command].count) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "expects %u argument(s)%s%s, got %u", usages[command].count,
                    usages[command].count ? ": " : "", usages[command].arguments, count);
        return FALSE;
    }
    if (!options->guest_memory) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "--guest-memory is missing: where the guest's RAM is");
        return FALSE;
    }
    if (count == 0) {
        return TRUE;
    }
    address = options->arguments[count - 1];
    if (!migpage_parse_number(address, FALSE, &options->address)) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "'%s' is not an address: hexadecimal with 0x, or decimal", address);
        return FALSE;
    }
    options->uri = count == 2 ? options->arguments[0] : NULL;
    return migpage_address_check(options->address, error);
}

gboolean relay_options_parse(Options *options, OptionsFor command, int argc, char **argv,
                             GError **error)
{
    g_autoptr(GOptionContext) context = g_option_context_new(usages[command].arguments);
    g_autofree char *name = g_strdup_printf("snprelay %s", argv[0]);
    const GOptionEntry rest[] = {
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &options->arguments, NULL, NULL},
        G_OPTION_ENTRY_NULL,
    };

    memset(options, 0, sizeof(*options));
    options->parameters = g_array_new(FALSE, TRUE, sizeof(SnprelayParameterValue));
    g_array_set_clear_func(options->parameters, clear_value);
    g_set_prgname(name);
    g_option_context_set_summary(context, usages[command].summary);
    add_common(context, options);
    if (command != OPTIONS_INSPECT) {
        add_migration(context, options);
    }
    if (command == OPTIONS_SERVE) {
        add_serve(context, options);
    } else if (command != OPTIONS_INSPECT) {
        add_transfer(context, options);
    }
    g_option_context_add_main_entries(context, rest, NULL);
    return g_option_context_parse(context, &argc, &argv, error) &&
           take_arguments(options, command, error);
}

gboolean relay_options_enter_sandbox(const Options *options, GError **error)
{
    SandboxNeeds needs = {.exec = options->allow_exec};

    for (char **spec = options->guest_memory; *spec; spec++) {
        needs.other_process = needs.other_process || g_str_has_prefix(*spec, "qemu:");
    }
    return options->no_sandbox || relay_sandbox_enter(&needs, error);
}

void relay_options_clear(Options *options)
{
    g_strfreev(options->guest_memory);
    g_strfreev(options->hmp);
    g_strfreev(options->qmp);
    g_strfreev(options->arguments);
    g_array_unref(options->parameters);
}
