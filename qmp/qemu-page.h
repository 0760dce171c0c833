/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asks a running QEMU where a guest's page is, and what kind of guest it runs. */
#ifndef QMP_QEMU_PAGE_H
#define QMP_QEMU_PAGE_H

#include "qmp/qemu-client.h"
#include "qmp/qemu-memory.h"

/* Takes PAGE, valid during the call, or NULL with ERROR. */
typedef void (*QmpQemuPageFunc)(const QmpQemuPage *page, const GError *error, gpointer opaque);

/* Finds the page at the guest-physical ADDRESS, a multiple of 4096. DONE is called once, later. */
void qmp_qemu_find_page(QmpQemu *qemu, uint64_t address, QmpQemuPageFunc done, gpointer opaque);

/* Takes the KIND of a guest, for a person: "AMD SEV-SNP (running)", "plain"; NULL with ERROR when
 * QEMU is gone. */
typedef void (*QmpQemuKindFunc)(const char *kind, const GError *error, gpointer opaque);

/* Asks what protects the guest. DONE is called once, later. */
void qmp_qemu_query_kind(QmpQemu *qemu, QmpQemuKindFunc done, gpointer opaque);

#endif
