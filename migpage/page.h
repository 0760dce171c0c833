/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One migration page: starting on it, taking a block from the source's guest, giving one to the destination's.
 *
 * The guest may change any byte at any time. Each register is read once into a local, a block is copied once, and only
 * the copies are looked at. Nobody outside this file sees the mapping. A page is used by one thread at a time.
 */
#ifndef MIGPAGE_PAGE_H
#define MIGPAGE_PAGE_H

#include "migpage/layout.h"
#include "snprelay/snprelay.h"

typedef struct MigPage MigPage;

typedef enum MigPageRole {
    MIGPAGE_SOURCE,      /* the guest produces, we consume */
    MIGPAGE_DESTINATION, /* we produce, the guest consumes */
} MigPageRole;

typedef struct MigPageRegisters {
    guint8 status, data;
} MigPageRegisters;

/* Wraps HOST, a page mapped shared; RELEASE (may be NULL) is called with OPAQUE by migpage_free(). */
MigPage *migpage_new_mapped(void *host, GDestroyNotify release, gpointer opaque);

/* Wraps a page that is reached through functions; otherwise as above. */
MigPage *migpage_new_access(const SnprelayAccess *access, gpointer opaque, GDestroyNotify release);

void migpage_free(MigPage *page);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigPage, migpage_free)

/* Reads both registers, the status first. Errors: only of a page that is reached through functions. */
gboolean migpage_read_registers(MigPage *page, MigPageRegisters *registers, GError **error);

/* "running", "data ready", ...; "impossible" for values that have no name. Static strings. */
const char *migpage_status_name(guint8 status);
const char *migpage_data_name(guint8 data);

/*
 * Whether a migration may start: the page is fresh, or its last migration was completed. Otherwise FALSE with
 * SNPRELAY_ERROR_PAGE, telling what was found and what can be done. FORCE accepts any registers.
 */
gboolean migpage_check_startable(MigPage *page, gboolean force, GError **error);

/* Starts a migration: checks as above, remembers the registers, stores data = read and then the ROLE's status. */
gboolean migpage_begin(MigPage *page, MigPageRole role, gboolean force, GError **error);

typedef enum MigPageTurn {
    MIGPAGE_NOTHING, /* the guest has not acted since */
    MIGPAGE_BLOCK, /* take: a block was copied out and answered; give: the guest has read the last one */
    MIGPAGE_END,   /* take: the guest has completed and its last block was taken */
    MIGPAGE_ERROR, /* the guest broke the rules or the page is gone: ERROR is set */
} MigPageTurn;

/* Source: copies a ready block into BLOCK (MIGPAGE_BLOCK_SIZE bytes) and answers *read*. Never waits. */
MigPageTurn migpage_take(MigPage *page, void *block, GError **error);

/* Destination: whether the guest has read what was given last (MIGPAGE_BLOCK: it has). Never waits. */
MigPageTurn migpage_poll_read(MigPage *page, GError **error);

/* Destination: gives BLOCK; only after migpage_poll_read() said that the guest has read the last one. */
gboolean migpage_give(MigPage *page, const void *block, GError **error);

/* Destination: stores status = completed. Only after the guest has read the last block. */
gboolean migpage_complete(MigPage *page, GError **error);

/*
 * Gives a begun migration up: status = not started, so that a cancellable guest gives up too. A source whose guest had
 * completed waits for nothing and can start anew: its page becomes fresh. A page that the guest has reset is left alone; a destination that was given no
 * block is put back as it was. Does nothing on a page that was not begun.
 */
void migpage_abandon(MigPage *page);

#endif
