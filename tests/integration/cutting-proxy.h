/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A proxy between a source and a destination that cuts their connection once, in front of a chosen byte, and serves
 * whatever connections come afterwards. One thread, one connection at a time.
 */
#ifndef CUTTING_PROXY_H
#define CUTTING_PROXY_H

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Who sends. */
enum { FROM_SOURCE, FROM_DESTINATION };

#define CUT_NOWHERE G_MAXUINT64

/* The first byte that does not get through: by its number, or (tls) by its place in a record. */
typedef struct Cut {
    int direction;
    uint64_t position; /* CUT_NOWHERE: no cut */
    gboolean tls;      /* the place is step STEP of STEPS (at least 5) in record number RECORD */
    unsigned record, step, steps;
    gboolean in_handshake; /* tls: before anything of the stream */
    gboolean reset;        /* how: a reset (tcp), else an orderly close (unix) */
} Cut;

/* One way of the connection: what went through, as bytes and as TLS records. */
typedef struct CutFlow {
    uint64_t bytes;
    unsigned record; /* the number of the present TLS record */
    unsigned at;     /* bytes of it that went through */
    unsigned length; /* of what follows its five bytes of header */
    GArray *lengths; /* unsigned: of the records that began */
} CutFlow;

typedef struct CutProxy {
    char *uri;    /* for the source */
    char *target; /* the destination's, unix: or tcp:127.0.0.1: */
    Cut cut;
    atomic_bool cut_done;
    CutFlow flows[2]; /* of the first connection; to be read after cut_proxy_stop() */
    unsigned connections;
    int listener, stop_event;
    int live[2], dying[2]; /* descriptors towards the source and the destination, -1: none */
    bool ended[2];
    GThread *thread;
} CutProxy;

/* Listens (in DIRECTORY, or on tcp when the cut is a reset) and serves from a thread of its own. */
CutProxy *cut_proxy_start(const char *directory, const char *target, const Cut *cut);

/* Ends the thread and closes everything; the counters stay. */
void cut_proxy_stop(CutProxy *proxy);
void cut_proxy_free(CutProxy *proxy);

#endif
