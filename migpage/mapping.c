/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mapping one page of a file, on hugetlbfs the huge page around it. */
#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "migpage/guest-memory.h"
#include "migpage/layout.h"
#include "snprelay/snprelay.h"

/* What an mmap of FD must be aligned to, in offset and in length. */
static size_t mapping_granule(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC) {
        return (size_t)fs.f_bsize;
    }
    return MIGPAGE_SIZE;
}

MigPageMapping *migpage_mapping_new(int fd, uint64_t offset, gboolean writable, const char *what,
                                    GError **error)
{
    size_t granule = mapping_granule(fd);
    uint64_t start = offset - offset % granule;
    MigPageMapping *mapping;
    struct stat st;
    void *base;

    /* A page past the end of the file could be mapped, and would kill us at the first touch. */
    if (fstat(fd, &st) < 0 || (uint64_t)st.st_size < MIGPAGE_SIZE ||
        offset > (uint64_t)st.st_size - MIGPAGE_SIZE) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
                    "%s is too short now for a page at offset 0x%" PRIx64, what, offset);
        return NULL;
    }
    base = mmap(NULL, granule, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd,
                (off_t)start);
    if (base == MAP_FAILED) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
                    "cannot map the page at offset 0x%" PRIx64 " of %s: %s%s", offset, what,
                    g_strerror(errno), errno == EACCES ? " (is it writable for this user?)" : "");
        return NULL;
    }
    mapping = g_new0(MigPageMapping, 1);
    mapping->base = base;
    mapping->length = granule;
    mapping->host = (guint8 *)base + (offset - start);
    return mapping;
}

void migpage_mapping_free(MigPageMapping *mapping)
{
    munmap(mapping->base, mapping->length);
    g_free(mapping);
}
