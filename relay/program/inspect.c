/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* `snprelay inspect`: what is at the page. */
#include <stdio.h>

#include "relay/program/program.h"

typedef struct Inspection {
    GMainLoop *loop;
    gboolean done;
    int status;
} Inspection;

static void on_text(const char *text, const GError *error, gpointer opaque)
{
    Inspection *inspection = opaque;

    if (text) {
        puts(text);
    } else {
        g_printerr("snprelay: error: %s\n", error->message);
        inspection->status = g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID)
                                 ? EXIT_USAGE
                                 : EXIT_FAILED;
    }
    inspection->done = TRUE;
    g_main_loop_quit(inspection->loop);
}

static int inspect(const Options *options)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Guest) guest = relay_guest_new(options->guest_memory, &error);
    g_autoptr(GMainLoop) loop = NULL;
    Inspection inspection = {0};

    if (!guest) {
        return relay_usage_error("inspect", error);
    }
    inspection.loop = loop = g_main_loop_new(NULL, FALSE);
    relay_guest_describe_page(guest, options->address, on_text, &inspection);
    if (!inspection.done) { /* a running QEMU is asked; a file answers at once */
        g_main_loop_run(loop);
    }
    return inspection.status;
}

int relay_command_inspect(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    Options options;
    int status;

    status = relay_options_parse(&options, OPTIONS_INSPECT, argc, argv, &error)
                 ? inspect(&options)
                 : relay_usage_error("inspect", error);
    relay_options_clear(&options);
    return status;
}
