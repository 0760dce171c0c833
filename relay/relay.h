/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The inside of a SnprelayRelay: relay.c has its life and what it tells, start.c and commands.c what it is told. */
#ifndef RELAY_RELAY_H
#define RELAY_RELAY_H

#include "relay/migration.h"
#include "snprelay/snprelay.h"

#define PROGRESS_TICK_MS 250
#define PROGRESS_SAMPLES 5 /* the rate is that of the last second */

/* For the rate and the stall warning; the context's thread writes it. */
typedef struct Progress {
    GSource *tick; /* while a migration runs */
    uint64_t bytes[PROGRESS_SAMPLES];
    gint64 times[PROGRESS_SAMPLES];
    unsigned next;
    gboolean stall_told;
    double rate; /* bytes a second; guarded by SnprelayRelay.lock */
} Progress;

struct SnprelayRelay {
    gatomicrefcount references; /* the owner's, one for each note under way and each map request */
    GMainContext *context;
    SnprelayCallbacks callbacks;
    SnprelayPolicy policy;
    gpointer opaque;

    gboolean closed;             /* snprelay_free() was called: nothing is called back any more */
    RelayParameters *parameters; /* for the next migration */
    GHashTable *descriptors;     /* name to number, of "fd:NAME" */
    SnprelayMapRequest *mapping; /* a start that waits for its page, owned by whoever answers it */
    Migration *starting;         /* an incoming migration that does not listen yet */
    Progress progress;

    GMutex lock;          /* guards MIGRATION itself and progress.rate, for snprelay_query() */
    Migration *migration; /* the present or the last one, NULL at first */
};

SnprelayRelay *relay_ref(SnprelayRelay *relay);
void relay_unref(SnprelayRelay *relay);

/* A piece of news on its way to the relay's context. */
typedef struct RelayNote RelayNote;
typedef void (*RelayNoteFunc)(RelayNote *note);
struct RelayNote {
    SnprelayRelay *relay;
    RelayNoteFunc deliver; /* not called when the relay was closed meanwhile */
    SnprelayInfo *info;
    char *message;
    SnprelayReadyFunc ready;
    gpointer ready_opaque;
    GError *error;
    SnprelayMapRequest *request;
    MigPage *page;
};

/* Delivers NOTE (taken over, as is everything in it) from the context, in the order of these calls. Any thread. */
void relay_post(SnprelayRelay *relay, RelayNote *note);

/* The functions by which a migration tells RELAY. */
MigrationNotify relay_notify(SnprelayRelay *relay);

/* Makes MIGRATION the present one; the one before must be over and is freed. */
void relay_adopt(SnprelayRelay *relay, Migration *migration);

/* The migration that runs, or NULL. */
Migration *relay_running(SnprelayRelay *relay);

/* progress.c: starts and stops the tick. */
void relay_progress_start(SnprelayRelay *relay);
void relay_progress_stop(SnprelayRelay *relay);

#endif
