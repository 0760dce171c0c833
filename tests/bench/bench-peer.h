/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bench-peer: the other side of one relay, which is there only to send to it or to take from it. */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "bench-common.h"

#define PEER_CHUNK (256 * 1024)

/* How a drain measures several connections. */
typedef struct {
    unsigned connections;
    double warm_up; /* seconds after all of them have begun */
    double seconds; /* that are measured; 0: one connection, to its end */
} PeerDrainOptions;

/*
 * Listens on ADDRESS, takes what comes and does nothing with it. Native: answers the hello, acknowledges at once what has
 * come, confirms the end. With OPTIONS->seconds it prints "bytes N ... seconds S", a number for each connection, and
 * then goes on until standard input ends.
 */
void peer_drain(gboolean native, const char *address, const PeerDrainOptions *options);

/* Connects to ADDRESS and sends BLOCKS blocks as fast as they are taken. */
void peer_fill(gboolean native, const char *address, uint64_t blocks);

#endif
