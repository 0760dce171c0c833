/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* `snprelay inspect`: what is at the page. */
#include <stdio.h>

#include "relay/program/program.h"

static int inspect(const Options *options)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Guest) guest = relay_guest_new(options->guest_memory, &error);
    g_autofree char *text = NULL;

    if (!guest) {
        return relay_usage_error("inspect", error);
    }
    text = relay_guest_describe_page(guest, options->address, &error);
    if (!text) {
        g_printerr("snprelay: error: %s\n", error->message);
        return EXIT_FAILED;
    }
    puts(text);
    return EXIT_COMPLETED;
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
