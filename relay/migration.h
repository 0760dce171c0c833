/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One migration: what its two threads and the commands share.
 *
 * The stream thread (outgoing.c or incoming.c) leads: it connects or listens, begins on the page (page-thread.c) when both
 * sides know each other, moves bytes, and ends the migration. The page thread, where there is one, alone touches the page
 * while it runs. Between the two: the window, two wake-ups and a few atomics. Commands set a request under the lock and
 * wake the stream thread; they never wait.
 */
#ifndef RELAY_MIGRATION_H
#define RELAY_MIGRATION_H

#include <stdatomic.h>
#include <stdbool.h>

#include "migpage/page.h"
#include "migpage/wait.h"
#include "relay/checksum.h"
#include "relay/parameters.h"
#include "relay/states.h"
#include "relay/wakeup.h"
#include "relay/window.h"
#include "relay/wire-native.h"
#include "transports/transport.h"

/* How a migration tells its relay what happened. Called from the stream thread; must not wait. */
typedef struct MigrationNotify {
    void (*status)(gpointer opaque, SnprelayInfo *info); /* takes INFO over */
    void (*warning)(gpointer opaque, char *message);     /* takes MESSAGE over */
    /* The answer to a command that the stream thread carries out; takes ERROR over (NULL: it took hold). */
    void (*answer)(gpointer opaque, SnprelayReadyFunc ready, gpointer ready_opaque, GError *error);
    /* The same for one that could not even listen: it never was a migration. */
    void (*refused)(gpointer opaque, SnprelayReadyFunc ready, gpointer ready_opaque, GError *error);
    void (*settled)(gpointer opaque); /* the last that a started migration's stream thread says */
    gpointer opaque;
} MigrationNotify;

/* What commands ask of the stream thread. Guarded by Migration.lock. */
typedef struct MigrationRequests {
    gboolean cancel;
    gboolean pause;
    gboolean resume;         /* outgoing: connect again now */
    gboolean quit;           /* completed: stop answering a source that missed the end */
    GError *fail;            /* the guest is gone, or the page thread found out something */
    int fd;                  /* with uri: its descriptor, else -1 */
    TransportUri *uri;       /* with resume: connect there; incoming: listen there instead */
    SnprelayReadyFunc ready; /* incoming, with uri: whom to answer */
    gpointer ready_opaque;
} MigrationRequests;

/* Where the turns with the guest are (page-turn.c). */
typedef struct PageTurns {
    MigPageWait wait;
    gint64 begun;   /* us, monotonic */
    gboolean over;  /* no more turns */
    gboolean alone; /* no other thread waits for blocks to come or go */
    void *slot;     /* source: where the next block goes; NULL: not known */
    uint64_t given; /* destination: blocks */
} PageTurns;

typedef struct Migration {
    /* Set before the threads start, then only read. */
    gboolean incoming, force, allow_exec;
    uint64_t address;
    RelayParameters *parameters;
    TransportTls *tls; /* NULL: plain */
    int fd;            /* fd:NAME, else -1; taken by the first connect or listen */
    guint8 session[NATIVE_SESSION_SIZE]; /* incoming: written by the stream thread from the hello */
    MigrationNotify notify;
    SnprelayReadyFunc ready; /* incoming: whom to answer when it listens */
    gpointer ready_opaque;

    Checksum sum; /* the stream thread's */

    gint64
        peer_patience; /* us: silence that the peer bears, from its hello; 0: not told. The stream thread's. */

    GThread *stream_thread; /* the relay's */
    GThread *page_thread;   /* the stream thread's; NULL: none runs */
    gboolean
        attended; /* the stream thread's: no page thread while it can attend to the page itself */

    /* The page thread's while it runs, else the stream thread's. */
    MigPage *page;
    PageTurns turns;

    /* Shared between the threads. */
    Window window;
    Wakeup stream_wakeup, page_wakeup;
    GCancellable *cancellable; /* ends a connect at once */
    atomic_bool stop_page;
    atomic_bool
        page_ended; /* source: all was taken; destination: all was read and the page says completed */
    atomic_uint_fast64_t blocks; /* taken, or read by the guest */
    atomic_uint_fast64_t
        acked; /* source: acknowledged blocks; destination: blocks that were read as far as
                                          the stream thread has taken note */
    atomic_int_fast64_t
        guest_waiting; /* us, monotonic: since when a guest is waited for; 0: it is busy; -1: not waited for */
    atomic_uint_fast64_t max_bandwidth;

    GMutex lock; /* guards what follows; never held while anything waits */
    MigrationRequests requests;
    SnprelayStatus status;
    GError *error; /* the reason of the last LOST, FAILED or CANCELLED */
    TransportUri *uri;
    char **listening;
    const char *wire;
    gboolean resumable;
    unsigned reconnects;
    gint64 started, activated, ended; /* us, monotonic; 0: not yet */
    gboolean has_checksum;
    uint64_t checksum;
} Migration;

/* How a stretch of the stream thread's work ended. */
typedef enum Outcome {
    OUTCOME_GOING_ON,
    OUTCOME_COMPLETED,
    OUTCOME_LOST,    /* the connection broke: error says how */
    OUTCOME_PAUSED,  /* broken on purpose, here or at the peer */
    OUTCOME_REFUSED, /* the peer does not want this connection */
    OUTCOME_CANCELLED,
    OUTCOME_FAILED,
} Outcome;

/* Takes URI, PARAMETERS, TLS, PAGE (may be NULL until it is known) and FD over. */
Migration *relay_migration_new(gboolean incoming, TransportUri *uri, uint64_t address,
                               RelayParameters *parameters, TransportTls *tls, int fd,
                               const MigrationNotify *notify);

/* After the stream thread was joined. */
void relay_migration_free(Migration *migration);

/* Starts the stream thread. FALSE with ERROR: none can be had. */
gboolean relay_migration_start(Migration *migration, GError **error);

/* A snapshot, without the rate. Any thread. */
SnprelayInfo *relay_migration_info(Migration *migration);

/* Passes EVENT through the state machine and tells the relay; ERROR (may be NULL) is copied as the reason. FALSE when EVENT
 * means nothing now. Any thread. */
gboolean relay_migration_event(Migration *migration, RelayEvent event, const GError *error);

/* The same with the lock held. */
gboolean relay_migration_event_locked(Migration *migration, RelayEvent event, const GError *error);

/* Wakes the stream thread, also out of a connect when INTERRUPT. Any thread. */
void relay_migration_wake(Migration *migration, gboolean interrupt);

/* Drops the URI that is asked for, and its descriptor. With the lock held. */
void relay_requests_drop_uri(MigrationRequests *requests);

/* Makes the migration fail with ERROR (taken over) as soon as the stream thread sees it. Any thread. */
void relay_migration_fail(Migration *migration, GError *error);

/* Stream thread: what was asked that ends a stretch of work: CANCELLED, FAILED (ERROR set), PAUSED, else GOING_ON. */
Outcome relay_migration_requested(Migration *migration, GError **error);

/* TRUE when the above has something to say: looked at between arming the wake-up and sleeping. */
gboolean relay_migration_has_request(Migration *migration);

/* Stream thread: stops the page thread, gives the page up unless it ended well, and makes the last event of OUTCOME. */
void relay_migration_finish(Migration *migration, Outcome outcome, const GError *error);

/* Stream thread: whether a broken connection can be taken up again. */
void relay_migration_set_resumable(Migration *migration, gboolean resumable);
gboolean relay_migration_is_resumable(Migration *migration);

/* Puts REASON (taken over, may be NULL) in place of what ERROR (may be NULL) holds. */
void relay_replace_error(GError **error, GError *reason);

/* Stream thread: the wire that is spoken, and the checksum at the end. */
void relay_migration_set_wire(Migration *migration, const char *wire);
void relay_migration_set_checksum(Migration *migration, uint64_t checksum);

/* Tells the relay something that a person should know. Any thread. */
void relay_migration_warn(Migration *migration, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* The stream thread's main function (outgoing.c, incoming.c). */
gpointer relay_outgoing_thread(gpointer migration);
gpointer relay_incoming_thread(gpointer migration);

#endif
