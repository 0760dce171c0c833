/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's side of the page, played as the proof of concept's SVSM plays it: it spins, and it has no word for failure.
 * One block is private memory until it is copied into the page, so that the tally knows what was meant, whatever the
 * other side does to the page. Compiled into the simulated and into the bare-metal guest.
 */
#ifndef GUEST_AGENT_H
#define GUEST_AGENT_H

#include "guest-stream.h"

typedef enum {
    GUEST_CONTINUE,    /* go on */
    GUEST_COMPLETED,   /* the run came to its end */
    GUEST_CANCELLED,   /* the host gave the run up (cancellable guests only) */
    GUEST_INTERRUPTED, /* *interrupt was set: the guest is to end */
    GUEST_RESET,       /* the guest has rebooted: the page is zero again */
} GuestOutcome;

typedef struct {
    uint8_t *page;       /* MIGPAGE_SIZE bytes, shared with the host */
    bool cancellable;    /* give up when the host puts the status back to "not started" */
    void (*relax)(void); /* called in each turn of a waiting loop; NULL is a pause instruction */
    const volatile int *interrupt; /* not zero: stop waiting */
} GuestAgent;

/*
 * What happens around a block. BEFORE: a source fills BLOCK; for a destination BLOCK holds nothing yet. AFTER: the block
 * was given, or taken and marked as read. FINISH: the source's last block was given, "completed" not yet stored.
 * Anything but GUEST_CONTINUE ends the run with that outcome. AFTER and FINISH may be NULL.
 */
typedef struct {
    GuestOutcome (*before)(void *user, uint64_t number, uint8_t *block);
    GuestOutcome (*after)(void *user, uint64_t number, const uint8_t *block);
    GuestOutcome (*finish)(void *user);
    void *user;
} GuestHooks;

/* Stores zero in the whole page, as a guest does before it tells the page's address. */
void guest_agent_clear_page(const GuestAgent *agent);

/* Reads, or stores a value in, one register: MIGPAGE_STATUS_OFFSET or MIGPAGE_DATA_OFFSET. */
uint8_t guest_agent_get_register(const GuestAgent *agent, unsigned offset);
void guest_agent_set_register(const GuestAgent *agent, unsigned offset, uint8_t value);

/* Waits until the status register holds STATUS. Returns GUEST_CONTINUE or GUEST_INTERRUPTED. */
GuestOutcome guest_agent_wait_start(const GuestAgent *agent, uint8_t status);

/* Waits until the host has read the last block (data is "read"). CONTINUE, CANCELLED or INTERRUPTED. */
GuestOutcome guest_agent_wait_read(const GuestAgent *agent);

/* Plays a source of BLOCKS blocks, from a status of "running" on, and stores "completed". */
GuestOutcome guest_agent_play_source(const GuestAgent *agent, uint64_t blocks,
                                     const GuestHooks *hooks, GuestTally *tally);

/* Plays a destination, from a status of "incoming" until the host says "completed". */
GuestOutcome guest_agent_play_destination(const GuestAgent *agent, const GuestHooks *hooks,
                                          GuestTally *tally);

#endif
