/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as lines of --guest-memory: the input's lines are options of ranges of one small memfd ("gpa=1M,size=4k"), or
 * whole specs that begin with "fd:". What is accepted leads to pages inside the file only.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migpage/guest-memory.h"
#include "migpage/layout.h"
#include "snprelay/snprelay.h"

#define PAGES 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(gboolean condition)
{
    if (!condition) {
        abort();
    }
}

/* A file whose pages begin with their numbers plus one. */
static int ram(void)
{
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("ram", MFD_CLOEXEC);
        require(fd >= 0 && ftruncate(fd, PAGES * MIGPAGE_SIZE) == 0);
        for (int i = 0; i < PAGES; i++) {
            guint8 byte = (guint8)(i + 1);

            require(pwrite(fd, &byte, 1, i * (off_t)MIGPAGE_SIZE) == 1);
        }
    }
    return fd;
}

/* Both ends of each range that the description names can be mapped, and are pages of the file. */
static void check_ranges(MigPageMemory *memory)
{
    g_autofree char *text = migpage_memory_describe(memory);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (char **line = lines; *line && **line; line++) {
        char *end;
        uint64_t first = strtoull(*line, &end, 16);
        uint64_t last = strtoull(end + 1, NULL, 16) - (MIGPAGE_SIZE - 1);
        const uint64_t addresses[] = {first, last};

        for (size_t i = 0; i < G_N_ELEMENTS(addresses); i++) {
            g_autoptr(GError) error = NULL;
            MigPageMapping *mapping = migpage_memory_map(memory, addresses[i], TRUE, &error);

            require(mapping != NULL);
            require(*(guint8 *)mapping->host >= 1 && *(guint8 *)mapping->host <= PAGES);
            migpage_mapping_free(mapping);
        }
        require(!migpage_memory_check(memory, last + 1, NULL));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_auto(GStrv) lines = g_strsplit(text, "\n", 16);
    g_autoptr(MigPageMemory) memory = migpage_memory_new();
    g_autofree char *prefix = g_strdup_printf("fd:%d", ram());

    for (char **line = lines; *line; line++) {
        g_autofree char *spec = g_strdup_printf("%s%s%s", prefix, **line ? "," : "", *line);
        gboolean whole = g_str_has_prefix(*line, "fd:") || g_str_has_prefix(*line, "fdx");
        g_autoptr(GError) error = NULL;
        g_autofree char *number = g_strdup(*line);
        gboolean added;
        uint64_t value;

        migpage_parse_number(number, TRUE, &value);
        /* A descriptor that the input names itself may be any of ours: only one that is surely none of them. */
        if (whole && !g_str_has_prefix(*line, "fd:99")) {
            continue;
        }
        added = migpage_memory_add(memory, whole ? *line : spec, &error);
        require(added == (error == NULL));
        require(!error || g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID));
    }
    check_ranges(memory);
    return 0;
}
