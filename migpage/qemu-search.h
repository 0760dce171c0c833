/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From what a QEMU has mapped to a mapping of our own of the same page. */
#ifndef MIGPAGE_QEMU_SEARCH_H
#define MIGPAGE_QEMU_SEARCH_H

#include "migpage/guest-memory.h"
#include "migpage/qemu-maps.h"
#include "migpage/qemu-process.h"

/*
 * Maps the page that PROCESS sees at HVA, which lies in VMA, a shared one. *HOW tells how it was
 * found, for a person; free with g_free(). Errors (SNPRELAY_ERROR_PAGE) tell all the ways that were
 * tried.
 */
MigPageMapping *migpage_qemu_search(const MigPageProcess *process, const MigPageVma *vma,
                                    uint64_t hva, gboolean writable, char **how, GError **error);

#endif
