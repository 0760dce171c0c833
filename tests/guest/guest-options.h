/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line of snprelay-guest. */
#ifndef GUEST_OPTIONS_H
#define GUEST_OPTIONS_H

#include <glib.h>

typedef enum {
    GUEST_BEHAVE,
    GUEST_MISBEHAVE_STOP,
    GUEST_MISBEHAVE_EXIT,
    GUEST_MISBEHAVE_REWRITE,
    GUEST_MISBEHAVE_REGISTERS,
    GUEST_MISBEHAVE_RESET,
    GUEST_MISBEHAVE_EARLY_READY,
    GUEST_MISBEHAVE_LATE_COMPLETE,
} GuestMisbehaviour;

typedef struct {
    gboolean is_source;
    char *path;          /* the file that holds the guest's RAM */
    guint64 offset;      /* where in that file the page is */
    guint64 address;     /* the page's guest-physical address */
    guint64 create;      /* bytes that the file is made to hold; 0: it must exist */
    gboolean has_blocks; /* --size or --blocks was given */
    guint64 blocks;      /* a source's length, or what a destination expects */
    guint64 seed;
    guint64 runs;        /* 0: for ever */
    guint64 interval_us; /* pause between two blocks */
    guint timeout_s;
    gboolean cancellable;
    gboolean polite;
    gboolean keep_page;
    gboolean no_checksum;
    gboolean verify;
    gboolean latency; /* source: put a time into each block; destination: measure it */
    GuestMisbehaviour misbehaviour;
    guint64 misbehave_at; /* the block */
} GuestOptions;

/* Parses the command line. On failure ERROR says what would be right. Free with guest_options_free(). */
GuestOptions *guest_options_parse(int argc, char **argv, GError **error);

void guest_options_free(GuestOptions *options);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(GuestOptions, guest_options_free)

#endif
