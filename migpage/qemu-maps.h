/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One line of /proc/PID/maps: what is mapped at an address of a process. */
#ifndef MIGPAGE_QEMU_MAPS_H
#define MIGPAGE_QEMU_MAPS_H

#include <glib.h>
#include <stdint.h>

typedef struct MigPageVma {
    uint64_t start, end; /* END is the first address after it */
    uint64_t offset;     /* in the file, of START */
    gboolean shared, writable;
    unsigned major, minor; /* the file's device and inode; 0: anonymous memory */
    uint64_t inode;
    char *path; /* as the kernel writes it: "/memfd:memory-backend-memfd (deleted)" or "" */
} MigPageVma;

/* Finds the line of MAPS, the text of /proc/PID/maps, in which ADDRESS lies. FALSE: there is none.
 */
gboolean migpage_vma_find(const char *maps, uint64_t address, MigPageVma *vma);

void migpage_vma_clear(MigPageVma *vma);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(MigPageVma, migpage_vma_clear)

/* Whether both map the same file. */
gboolean migpage_vma_is_same_file(const MigPageVma *a, const MigPageVma *b);

#endif
