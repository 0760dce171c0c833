/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The program: which command was meant. */
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "relay/program/program.h"

static const char help[] =
    "Usage: snprelay COMMAND [OPTION...]\n"
    "\n"
    "The host's side of the channel between two SVSMs: moves a migration of a confidential\n"
    "virtual machine from its migration page to that of another host.\n"
    "\n"
    "Commands:\n"
    "  serve                 the broker: monitors (--hmp, --qmp) start and stop migrations\n"
    "  send URI ADDRESS      one outgoing migration, then exit\n"
    "  receive URI ADDRESS   one incoming migration, then exit\n"
    "  inspect ADDRESS       what is at that page; changes nothing\n"
    "\n"
    "Options:\n"
    "  --version             print the version\n"
    "  --help                this text; `snprelay COMMAND --help` for a command's options\n"
    "\n"
    "Example, two simulated guests' RAM in files:\n"
    "  snprelay receive tcp:127.0.0.1:4444 0x1000 --guest-memory file:/dev/shm/vm2 &\n"
    "  snprelay send tcp:127.0.0.1:4444 0x1000 --guest-memory file:/dev/shm/vm1\n";

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"serve", relay_command_serve},
    {"send", relay_command_send},
    {"receive", relay_command_receive},
    {"inspect", relay_command_inspect},
};

int relay_usage_error(const char *command, const GError *error)
{
    g_printerr("snprelay: error: %s\nTry 'snprelay %s%s--help'.\n", error->message, command,
               *command ? " " : "");
    return EXIT_USAGE;
}

/* A file or a socket of ours must not get the number of a standard stream that is closed, and all our messages with it. */
static void open_standard_streams(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO) {
        close(fd);
    }
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;

    open_standard_streams();
    setlocale(LC_CTYPE, "");  /* what is typed; numbers are printed as everywhere */
    signal(SIGPIPE, SIG_IGN); /* a monitor or a peer that went away is an error, not an end */
    relay_log_init();
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        fputs(help, argc < 2 ? stderr : stdout);
        return argc < 2 ? EXIT_USAGE : EXIT_COMPLETED;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("snprelay %s\n", snprelay_version());
        return EXIT_COMPLETED;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    g_set_error(&error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                "unknown command '%s'; there are serve, send, receive and inspect", argv[1]);
    return relay_usage_error("", error);
}
