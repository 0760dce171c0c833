/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One page of a running QEMU's guest: mapped, or reached through the kernel's cross-process
 * interface. */
#ifndef MIGPAGE_QEMU_PAGE_H
#define MIGPAGE_QEMU_PAGE_H

#include "migpage/qemu-process.h"
#include "snprelay/snprelay.h"

typedef struct MigPageQemu MigPageQemu;

typedef struct MigPageQemuWanted {
    uint64_t hva;      /* where QEMU sees the page */
    const char *block; /* what QEMU calls the memory */
    gboolean writable;
    gboolean access; /* by reading and writing QEMU's memory, not by a mapping */
} MigPageQemuWanted;

/*
 * Reaches the page of PROCESS. With the one reference, free with migpage_qemu_unref(). Errors
 * (SNPRELAY_ERROR_PAGE): the memory is private to QEMU (and how to start QEMU instead), no
 * permission (and what would give it), the process ended.
 */
MigPageQemu *migpage_qemu_new(const MigPageProcess *process, const MigPageQemuWanted *wanted,
                              GError **error);
MigPageQemu *migpage_qemu_ref(MigPageQemu *page);
/* Any thread. */
void migpage_qemu_unref(MigPageQemu *page);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigPageQemu, migpage_qemu_unref)

/* The mapped page, or NULL when it is reached through migpage_qemu_access. */
void *migpage_qemu_get_host(const MigPageQemu *page);

/* For a MigPageQemu as opaque that has no mapping. */
extern const SnprelayAccess migpage_qemu_access;

/* Ends the use of the page: unmaps it now, while references may remain. Any thread, once nobody
 * reads or writes it. */
void migpage_qemu_close(MigPageQemu *page);

/* Whether it was not closed. Any thread. */
gboolean migpage_qemu_is_open(MigPageQemu *page);

/* Whether the status register, as it was seen last, is *completed*: its guest is through. FALSE
 * when closed. Any thread. */
gboolean migpage_qemu_is_completed(MigPageQemu *page);

/* "mapped from /proc/12/fd/9, offset 0x1000 of /memfd:ram (deleted)"; the page's. */
const char *migpage_qemu_describe(const MigPageQemu *page);

#endif
