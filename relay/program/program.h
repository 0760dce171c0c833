/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The program `snprelay`: what its commands share. Everything here runs in the main thread. */
#ifndef RELAY_PROGRAM_PROGRAM_H
#define RELAY_PROGRAM_PROGRAM_H

#include "migpage/guest-memory.h"
#include "migpage/page.h"
#include "qmp/qemu-client.h"
#include "snprelay/snprelay.h"

/* Exit statuses; users' scripts depend on them. */
enum {
    EXIT_COMPLETED = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_CANCELLED = 3,
};

/* ---- log.c ------------------------------------------------------------------------------------------ */

/* Sends GLib's log to standard error, one line each, "snprelay: warning: ..."; to the journal with its priorities. */
void relay_log_init(void);

/* "error", "warning", "info" or "debug". Error: none of these. */
gboolean relay_log_set_level(const char *name, GError **error);

/* ---- options.c -------------------------------------------------------------------------------------- */

typedef struct Options {
    char **guest_memory, **hmp, **qmp;
    gboolean allow_exec, require_tls, insecure_monitor, force, json, no_sandbox;
    GArray *parameters; /* of SnprelayParameterValue */
    char **arguments;   /* what is left: URI ADDRESS */
    char *uri;
    uint64_t address;
} Options;

typedef enum OptionsFor {
    OPTIONS_SERVE,
    OPTIONS_SEND,
    OPTIONS_RECEIVE,
    OPTIONS_INSPECT,
} OptionsFor;

/* Reads a command's options and arguments; FALSE with ERROR naming what is wrong. `--help` prints and exits. Clear with
 * relay_options_clear() in any case. */
gboolean relay_options_parse(Options *options, OptionsFor command, int argc, char **argv,
                             GError **error);
void relay_options_clear(Options *options);

/* ---- guest.c: the guest that --guest-memory names --------------------------------------------------- */

typedef struct Guest Guest;

/* Opens the files of SPECS, or begins to connect to the QEMU that it names. Error: INVALID. */
Guest *relay_guest_new(char **specs, GError **error);
/* Requests that still wait for QEMU are answered with an error first. */
void relay_guest_free(Guest *guest);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Guest, relay_guest_free)

/* The guest's QEMU has ended, or cannot be reached: no page will be found any more. REASON is for a
 * person. */
typedef void (*RelayGuestEndedFunc)(const char *reason, gpointer opaque);

/*
 * From now on RELAY is told when a running QEMU ends, shuts its guest down or resets it during a
 * migration that still needs the guest (snprelay_guest_gone()); without a migration, a reset means
 * nothing. ENDED (may be NULL) is called once, from the main loop. RELAY must not be freed while
 * the main loop goes on. Does nothing for memory in files.
 */
void relay_guest_watch(Guest *guest, SnprelayRelay *relay, RelayGuestEndedFunc ended,
                       gpointer opaque);

/* The client of the guest's QEMU, the guest's; NULL: the memory is in files. */
QmpQemu *relay_guest_get_qemu(Guest *guest);

/* Answers REQUEST, now or later; for SnprelayCallbacks.map_page. */
void relay_guest_map(Guest *guest, SnprelayMapRequest *request, uint64_t address);

/* Takes TEXT, valid during the call, or NULL with ERROR. */
typedef void (*RelayGuestTextFunc)(const char *text, const GError *error, gpointer opaque);

/* What is at that page, for a person, some lines without the last newline; changes nothing. DONE is
 * called exactly once, perhaps before this returns. */
void relay_guest_describe_page(Guest *guest, uint64_t address, RelayGuestTextFunc done,
                               gpointer opaque);

/* The text for PAGE; MEMORY tells where it is. NULL with ERROR when it cannot be read. Free with
 * g_free(). */
char *relay_describe_registers(MigPage *page, uint64_t address, const char *memory, GError **error);

/* ---- progress-line.c -------------------------------------------------------------------------------- */

typedef struct ProgressLine ProgressLine;

/* Shows RELAY's progress on standard error, four times a second, if that is a terminal. */
ProgressLine *relay_progress_line_new(SnprelayRelay *relay);
/* Clears the line. */
void relay_progress_line_free(ProgressLine *line);

/* "64 MiB in 1.2 s (447 Mbit/s), checksum 0123456789abcdef"; free with g_free(). */
char *relay_progress_summary(const SnprelayInfo *info);

/* ---- signals.c -------------------------------------------------------------------------------------- */

/* Calls FUNCTION from the main loop for each signal NUMBER. Returns the source, or 0 for a SIGHUP that was ignored when the
 * program was started, and stays so. */
guint relay_signal_add(int number, GSourceFunc function, gpointer data);

/* ---- The commands: each returns the exit status ------------------------------------------------------ */

int relay_command_serve(int argc, char **argv);
int relay_command_send(int argc, char **argv);
int relay_command_receive(int argc, char **argv);
int relay_command_inspect(int argc, char **argv);

/* Enters the sandbox, as far as OPTIONS allow it: after everything that they name is open. */
gboolean relay_options_enter_sandbox(const Options *options, GError **error);

/* Prints "snprelay: error: ..." and where help is; returns EXIT_USAGE. */
int relay_usage_error(const char *command, const GError *error);

#endif
