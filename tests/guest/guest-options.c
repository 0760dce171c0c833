/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line of snprelay-guest: GOption collects strings, this file makes checked values of them. */
#include "guest-options.h"

#include <string.h>

#include "migpage/layout.h"

#define GUEST_DEFAULT_BLOCK 100u /* where a guest misbehaves when no block is named */

/* The options that need more than GOption's own types. */
typedef struct {
    char *memory;
    char *address;
    char *create;
    char *size;
    char *misbehave;
    char *pattern;
    gint64 blocks;
    gint64 seed;
    gint64 runs;
    gint64 interval;
    gint timeout;
} RawOptions;

static void raw_options_clear(RawOptions *raw)
{
    g_free(raw->memory);
    g_free(raw->address);
    g_free(raw->create);
    g_free(raw->size);
    g_free(raw->misbehave);
    g_free(raw->pattern);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(RawOptions, raw_options_clear)

static gboolean guest_options_fail(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static gboolean guest_options_fail(GError **error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    if (error) {
        *error = g_error_new_valist(G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, format, arguments);
    }
    va_end(arguments);
    return FALSE;
}

/* Decimal or 0x hexadecimal, with k, M or G (powers of 1024) behind it. */
static gboolean guest_options_parse_number(const char *name, const char *text, guint64 *value,
                                           GError **error)
{
    gboolean is_hex = g_str_has_prefix(text, "0x") || g_str_has_prefix(text, "0X");
    const char *digits = is_hex ? text + 2 : text;
    char *end = NULL;
    guint64 number = 0;
    unsigned shift = 0;

    if (is_hex ? g_ascii_isxdigit(*digits) : g_ascii_isdigit(*digits)) {
        number = g_ascii_strtoull(digits, &end, is_hex ? 16 : 10);
    }
    if (end && *end != '\0' && end[1] == '\0') {
        static const char units[] = "kmg";
        const char *unit = strchr(units, g_ascii_tolower(*end));

        shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
        end += unit ? 1 : 0;
    }
    if (!end || *end != '\0' || number > (G_MAXUINT64 >> shift)) {
        return guest_options_fail(error,
                                  "%s: '%s' is not a number (decimal, or hexadecimal with 0x; k, M "
                                  "and G may follow)",
                                  name, text);
    }
    *value = number << shift;
    return TRUE;
}

/* FILE[,offset=N][,gpa=N]: byte OFFSET of FILE is the guest-physical address GPA. */
static gboolean guest_options_parse_memory(GuestOptions *options, const char *text, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);
    guint64 offset = 0;
    guint64 gpa = 0;

    for (char **part = parts + 1; parts[0] && *part; part++) {
        gboolean ok;

        if (g_str_has_prefix(*part, "offset=")) {
            ok = guest_options_parse_number("--memory offset", *part + 7, &offset, error);
        } else if (g_str_has_prefix(*part, "gpa=")) {
            ok = guest_options_parse_number("--memory gpa", *part + 4, &gpa, error);
        } else {
            ok = guest_options_fail(error, "--memory: '%s' is neither offset=N nor gpa=N", *part);
        }
        if (!ok) {
            return FALSE;
        }
    }
    if (options->address < gpa || options->address - gpa > (guint64)G_MAXINT64 - offset ||
        offset > (guint64)G_MAXINT64) {
        return guest_options_fail(error, "--address 0x%" G_GINT64_MODIFIER "x is not in '%s'",
                                  options->address, text);
    }
    options->offset = offset + (options->address - gpa);
    options->path = g_strdup(parts[0]);
    if (options->offset % MIGPAGE_SIZE != 0) {
        return guest_options_fail(error,
                                  "--memory '%s': the page would be at byte %" G_GUINT64_FORMAT
                                  " of the file, which is not a multiple of %u",
                                  text, options->offset, MIGPAGE_SIZE);
    }
    return TRUE;
}

static gboolean guest_options_parse_misbehaviour(GuestOptions *options, const char *text,
                                                 GError **error)
{
    static const char *const names[] = {
        [GUEST_MISBEHAVE_STOP] = "stop",
        [GUEST_MISBEHAVE_EXIT] = "exit",
        [GUEST_MISBEHAVE_REWRITE] = "rewrite",
        [GUEST_MISBEHAVE_REGISTERS] = "registers",
        [GUEST_MISBEHAVE_RESET] = "reset",
        [GUEST_MISBEHAVE_EARLY_READY] = "early-ready",
        [GUEST_MISBEHAVE_LATE_COMPLETE] = "late-complete",
    };
    g_auto(GStrv) parts = g_strsplit(text, ":", 2);

    options->misbehave_at = GUEST_DEFAULT_BLOCK;
    if (options->is_source && options->blocks <= GUEST_DEFAULT_BLOCK) {
        options->misbehave_at = options->blocks / 2;
    }
    for (guint i = GUEST_MISBEHAVE_STOP; i < G_N_ELEMENTS(names); i++) {
        if (g_strcmp0(parts[0], names[i]) == 0) {
            options->misbehaviour = (GuestMisbehaviour)i;
        }
    }
    if (options->misbehaviour == GUEST_BEHAVE) {
        return guest_options_fail(error,
                                  "--misbehave: '%s' is none of stop, exit, rewrite, registers, "
                                  "reset, early-ready, late-complete",
                                  text);
    }
    if (options->misbehaviour == GUEST_MISBEHAVE_LATE_COMPLETE && !options->is_source) {
        return guest_options_fail(error, "--misbehave late-complete: only a source completes");
    }
    return !parts[1] ||
           guest_options_parse_number("--misbehave", parts[1], &options->misbehave_at, error);
}

static gboolean guest_options_parse_length(GuestOptions *options, const RawOptions *raw,
                                           GError **error)
{
    guint64 size = 0;

    if (raw->size && raw->blocks >= 0) {
        return guest_options_fail(error, "--size and --blocks say the same: give one of them");
    }
    options->has_blocks = raw->size || raw->blocks >= 0;
    if (raw->blocks >= 0) {
        options->blocks = (guint64)raw->blocks;
        return TRUE;
    }
    if (!raw->size) {
        if (options->is_source) {
            return guest_options_fail(error, "a source needs --size BYTES or --blocks N");
        }
        return TRUE;
    }
    if (!guest_options_parse_number("--size", raw->size, &size, error)) {
        return FALSE;
    }
    if (size % MIGPAGE_BLOCK_SIZE != 0) {
        return guest_options_fail(error, "--size %s: not a multiple of a block's %u bytes",
                                  raw->size, MIGPAGE_BLOCK_SIZE);
    }
    options->blocks = size / MIGPAGE_BLOCK_SIZE;
    return TRUE;
}

static gboolean guest_options_check(GuestOptions *options, const RawOptions *raw, GError **error)
{
    if (!raw->memory || !raw->address) {
        return guest_options_fail(error, "--memory FILE and --address GPA are needed");
    }
    if (!guest_options_parse_number("--address", raw->address, &options->address, error)) {
        return FALSE;
    }
    if (options->address % MIGPAGE_SIZE != 0) {
        return guest_options_fail(error, "--address %s is not a multiple of %u", raw->address,
                                  MIGPAGE_SIZE);
    }
    if (raw->create &&
        !guest_options_parse_number("--create", raw->create, &options->create, error)) {
        return FALSE;
    }
    if (raw->runs < 0 || raw->interval < 0 || raw->timeout < 1) {
        return guest_options_fail(error, "--runs, --interval: not below 0; --timeout: not below 1");
    }
    if (raw->pattern && g_strcmp0(raw->pattern, "latency") != 0 &&
        g_strcmp0(raw->pattern, "random") != 0) {
        return guest_options_fail(error, "--pattern: '%s' is neither random nor latency",
                                  raw->pattern);
    }
    if (raw->pattern && !options->is_source) {
        return guest_options_fail(error, "--pattern: only a source has one; see --latency");
    }
    if (options->is_source && (options->latency || options->verify)) {
        return guest_options_fail(error, "--latency and --verify are for a destination");
    }
    options->latency = options->latency || g_strcmp0(raw->pattern, "latency") == 0;
    options->seed = (guint64)raw->seed;
    options->runs = (guint64)raw->runs;
    options->interval_us = (guint64)raw->interval;
    options->timeout_s = (guint)raw->timeout;
    return guest_options_parse_memory(options, raw->memory, error) &&
           guest_options_parse_length(options, raw, error) &&
           (!raw->misbehave || guest_options_parse_misbehaviour(options, raw->misbehave, error));
}

static gboolean guest_options_collect(GuestOptions *options, RawOptions *raw, int *argc,
                                      char ***argv, GError **error)
{
    const GOptionEntry entries[] = {
        {"memory", 0, 0, G_OPTION_ARG_FILENAME, &raw->memory,
         "file with the guest's RAM: byte offset N of it is guest-physical address gpa",
         "FILE[,offset=N][,gpa=N]"},
        {"create", 0, 0, G_OPTION_ARG_STRING, &raw->create, "create FILE, or make it this long",
         "SIZE"},
        {"address", 0, 0, G_OPTION_ARG_STRING, &raw->address, "guest-physical address of the page",
         "GPA"},
        {"size", 0, 0, G_OPTION_ARG_STRING, &raw->size, "length of the stream (k, M, G)", "BYTES"},
        {"blocks", 0, 0, G_OPTION_ARG_INT64, &raw->blocks, "the same in blocks of 2048 bytes", "N"},
        {"seed", 0, 0, G_OPTION_ARG_INT64, &raw->seed,
         "the stream is made from it (0); each run adds 1", "N"},
        {"runs", 0, 0, G_OPTION_ARG_INT64, &raw->runs, "migrations in this boot (1); 0: for ever",
         "N"},
        {"interval", 0, 0, G_OPTION_ARG_INT64, &raw->interval, "pause between two blocks", "US"},
        {"timeout", 0, 0, G_OPTION_ARG_INT, &raw->timeout, "end after this time (600)", "SECONDS"},
        {"pattern", 0, 0, G_OPTION_ARG_STRING, &raw->pattern,
         "random, or latency: each block carries the time", "KIND"},
        {"misbehave", 0, 0, G_OPTION_ARG_STRING, &raw->misbehave,
         "stop, exit, rewrite, registers, reset, early-ready, late-complete", "KIND[:BLOCK]"},
        {"cancellable", 0, 0, G_OPTION_ARG_NONE, &options->cancellable,
         "give up when the host puts the status back", NULL},
        {"polite", 0, 0, G_OPTION_ARG_NONE, &options->polite,
         "yield the processor while waiting; a real guest spins", NULL},
        {"keep-page", 0, 0, G_OPTION_ARG_NONE, &options->keep_page, "do not zero the page first",
         NULL},
        {"no-checksum", 0, 0, G_OPTION_ARG_NONE, &options->no_checksum, "for benchmarks", NULL},
        {"verify", 0, 0, G_OPTION_ARG_NONE, &options->verify,
         "destination: compare with the stream of --seed", NULL},
        {"latency", 0, 0, G_OPTION_ARG_NONE, &options->latency,
         "destination: measure the delay of a source with --pattern latency", NULL},
        {0},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("source|destination");

    g_option_context_set_summary(context,
                                 "Plays the SVSM's side of a migration page, without the SVSM.");
    g_option_context_add_main_entries(context, entries, NULL);
    return g_option_context_parse(context, argc, argv, error);
}

GuestOptions *guest_options_parse(int argc, char **argv, GError **error)
{
    g_autoptr(GuestOptions) options = g_new0(GuestOptions, 1);
    g_auto(RawOptions) raw = {.blocks = -1, .runs = 1, .timeout = 600};

    if (!guest_options_collect(options, &raw, &argc, &argv, error)) {
        return NULL;
    }
    if (argc == 2) {
        options->is_source = g_str_equal(argv[1], "source");
    }
    if (argc != 2 || !(options->is_source || g_str_equal(argv[1], "destination"))) {
        guest_options_fail(error, "the role is needed: source or destination");
        return NULL;
    }
    if (!guest_options_check(options, &raw, error)) {
        return NULL;
    }
    return g_steal_pointer(&options);
}

void guest_options_free(GuestOptions *options)
{
    if (options) {
        g_free(options->path);
        g_free(options);
    }
}
