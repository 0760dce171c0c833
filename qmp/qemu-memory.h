/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What QEMU's human monitor says about guest memory, which is text, errors included. */
#ifndef QMP_QEMU_MEMORY_H
#define QMP_QEMU_MEMORY_H

#include <glib.h>
#include <stdint.h>

/* Where QEMU itself sees a guest's page. */
typedef struct QmpQemuPage {
    uint64_t hva; /* host virtual address, in QEMU's process */
    char *block;  /* name of the memory region: "ram", "pc.ram" */
} QmpQemuPage;

void qmp_qemu_page_clear(QmpQemuPage *page);

/*
 * Judges the page at the guest-physical ADDRESS by GPA2HVA, the answer to "gpa2hva 0x...", and by
 * FLAT_VIEW, the answer to "info mtree -f". TRUE: all of it is RAM that may be written, and *PAGE
 * is set. FALSE with SNPRELAY_ERROR_PAGE: a hole, a device, ROM; it names the RAM that there is.
 */
gboolean qmp_qemu_judge_page(uint64_t address, const char *gpa2hva, const char *flat_view,
                             QmpQemuPage *page, GError **error);

#endif
