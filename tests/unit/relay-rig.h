/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two relays on one main context, with a page and a guest thread each: a whole migration in one process. Nothing waits
 * longer than RIG_PATIENCE_MS; what does not happen by then fails the test.
 */
#ifndef TESTS_UNIT_RELAY_RIG_H
#define TESTS_UNIT_RELAY_RIG_H

#include "migpage/layout.h"
#include "snprelay/snprelay.h"

#define RIG_PATIENCE_MS 60000
#define RIG_ADDRESS UINT64_C(0x7000)

/* How a side answers when its relay asks for the page. */
typedef enum RigMap {
    RIG_MAP_DIRECT,
    RIG_MAP_ACCESS,
    RIG_MAP_FAIL,
    RIG_MAP_HOLD, /* not at all: HELD is set */
} RigMap;

/* A guest on PAGE, in a thread of its own. */
typedef struct RigGuest {
    guint8 *page;
    gboolean source;
    uint64_t blocks; /* source: how many it has */
    uint64_t
        stop_at;    /* source: waits before this block until rig_guest_go(); UINT64_MAX: nowhere */
    uint64_t done;  /* given or taken so far; atomic */
    int go, quit;   /* atomic */
    guint8 before;  /* the status register when it was started */
    gboolean wrong; /* destination: a block was not what the source's guest gave */
    GThread *thread;
} RigGuest;

typedef struct RigSide {
    _Alignas(4096) guint8 page[MIGPAGE_SIZE];
    SnprelayRelay *relay;
    RigMap map;
    SnprelayMapRequest *held;
    GString *history; /* "setup active completed" */
    GString *warnings;
    unsigned settled, stalled, released, ready;
    GError *ready_error;
    RigGuest guest;
} RigSide;

typedef struct Rig {
    GMainContext *context;
    RigSide source, destination;
    char *directory;
    char *uri; /* unix:DIRECTORY/socket */
} Rig;

/* The parameter `poll` of all relays; "busy" gives each a page thread. */
extern const char *rig_poll;

/* cmocka's set-up and tear-down; the tear-down frees the relays in whatever state they are. */
int rig_set_up(void **state);
int rig_tear_down(void **state);

/* Lets the context run until CONDITION(USER) is true. */
void rig_run_until(Rig *rig, gboolean (*condition)(gpointer user), gpointer user);

/* Starts a migration and waits for the answer; returns its error, NULL when it took hold. */
GError *rig_listen(Rig *rig, const char *uri, SnprelayFlags flags);
GError *rig_send(Rig *rig, const char *uri, SnprelayFlags flags);

/* The same, failing the test when it is refused. NULL: the rig's own URI. Returns where it listens; free with g_free(). */
char *rig_must_listen(Rig *rig, const char *uri);
void rig_must_send(Rig *rig, const char *uri);

/* A SnprelayReadyFunc, with the side as its opaque: counts, and keeps the error. */
void rig_ready(SnprelayRelay *relay, const GError *error, gpointer side);

/* Waits until SIDE was told of STATUS as its latest, or of any end. */
void rig_wait_status(Rig *rig, RigSide *side, SnprelayStatus status);
void rig_wait_end(Rig *rig, RigSide *side);

/* Fails unless SIDE went through these states, or its error has WORDS. */
void rig_assert_history(const RigSide *side, const char *history);
void rig_assert_error(RigSide *side, const char *words);
void rig_assert_registers(const RigSide *side, guint8 status, guint8 data);

/* Sets one parameter of SIDE, as a person would type it. */
void rig_set(RigSide *side, const char *name, const char *text);

/* Starts SIDE's guest; BLOCKS of a source. */
void rig_guest_start(Rig *rig, RigSide *side, uint64_t blocks, uint64_t stop_at);
void rig_guest_go(RigSide *side);
/* Waits for the end of a guest that will end by itself, or ends one that will not. Nothing when there is none. */
void rig_guest_join(RigSide *side);
void rig_guest_stop(RigSide *side);
uint64_t rig_guest_done(RigSide *side);

/* Waits until SIDE's guest has given or taken BLOCKS. */
void rig_wait_blocks(Rig *rig, RigSide *side, uint64_t blocks);

#endif
