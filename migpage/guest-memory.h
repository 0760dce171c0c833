/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a guest's RAM is, as `--guest-memory file:...` and `fd:...` tell it, and from there to one mapped page.
 *
 * Only the migration page is ever mapped (on hugetlbfs: the one huge page around it), never the whole of the RAM.
 */
#ifndef MIGPAGE_GUEST_MEMORY_H
#define MIGPAGE_GUEST_MEMORY_H

#include <glib.h>
#include <stdint.h>

typedef struct MigPageMemory MigPageMemory;

/* One page of guest memory in our address space. */
typedef struct MigPageMapping {
    void *host;
    void *base; /* what was mapped: HOST, or the huge page around it */
    size_t length;
} MigPageMapping;

MigPageMemory *migpage_memory_new(void);
void migpage_memory_free(MigPageMemory *memory);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigPageMemory, migpage_memory_free)

/*
 * Adds the range that SPEC describes: "file:PATH" or "fd:N", then any of ",offset=N", ",gpa=N", ",size=N" (bytes; hex with
 * 0x, decimal, with a suffix k, M, G, T; a comma in PATH is written twice). The file is opened now. Errors
 * (SNPRELAY_ERROR_INVALID): a bad SPEC, a range past the end of the file, an overlap with an earlier range.
 */
gboolean migpage_memory_add(MigPageMemory *memory, const char *spec, GError **error);

/* "0x0-0x3ffffff (file:/dev/shm/vm1)", one range a line; free with g_free(). */
char *migpage_memory_describe(MigPageMemory *memory);

/* Whether a page can lie at ADDRESS: aligned, and inside a range. The ERROR (SNPRELAY_ERROR_PAGE) names the RAM that there is. */
gboolean migpage_memory_check(MigPageMemory *memory, uint64_t address, GError **error);

/* Maps the page at ADDRESS, shared; read-only unless WRITABLE. Free with migpage_mapping_free(). Errors as above. */
MigPageMapping *migpage_memory_map(MigPageMemory *memory, uint64_t address, gboolean writable,
                                   GError **error);
void migpage_mapping_free(MigPageMapping *mapping);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigPageMapping, migpage_mapping_free)

/*
 * Maps the page at OFFSET (a multiple of 4096) of FD, which stays the caller's, and which WHAT names in errors. The file
 * must be that long.
 */
MigPageMapping *migpage_mapping_new(int fd, uint64_t offset, gboolean writable, const char *what,
                                    GError **error);

/* Checks the alignment only. Error: SNPRELAY_ERROR_INVALID. */
gboolean migpage_address_check(uint64_t address, GError **error);

/* Reads TEXT as a number of bytes: hex with 0x or decimal, with an optional suffix k, M, G or T when SUFFIX. */
gboolean migpage_parse_number(const char *text, gboolean suffix, uint64_t *value);

#endif
