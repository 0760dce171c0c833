/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The format is the kernel's: "start-end perms offset major:minor inode   path". */
#include "migpage/qemu-maps.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static gboolean parse_line(const char *line, size_t length, MigPageVma *vma)
{
    g_autofree char *text = g_strndup(line, length);
    char permissions[5];
    int path = 0;

    if (sscanf(text, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n", &vma->start,
               &vma->end, permissions, &vma->offset, &vma->major, &vma->minor, &vma->inode,
               &path) != 7 ||
        strlen(permissions) != 4 || path == 0) {
        return FALSE;
    }
    vma->writable = permissions[1] == 'w';
    vma->shared = permissions[3] == 's';
    vma->path = g_strdup(text + path);
    return TRUE;
}

gboolean migpage_vma_find(const char *maps, uint64_t address, MigPageVma *vma)
{
    while (*maps) {
        size_t length = strcspn(maps, "\n");
        uint64_t start, end;

        if (sscanf(maps, "%" SCNx64 "-%" SCNx64, &start, &end) == 2 && start <= address &&
            address < end) {
            return parse_line(maps, length, vma);
        }
        maps += length;
        maps += *maps == '\n';
    }
    return FALSE;
}

void migpage_vma_clear(MigPageVma *vma)
{
    g_clear_pointer(&vma->path, g_free);
}

gboolean migpage_vma_is_same_file(const MigPageVma *a, const MigPageVma *b)
{
    return a->inode != 0 && a->inode == b->inode && a->major == b->major && a->minor == b->minor;
}
