/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory object behind a mapping, by the ways that the kernel offers, the most robust first: a
 * descriptor of QEMU's opened anew, the descriptor itself, the mapping's entry in map_files, the
 * path. What was found is believed only when our own /proc/self/maps shows the same file at the
 * same offset.
 */
#include "migpage/qemu-search.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "snprelay/snprelay.h"

typedef struct Search {
    const MigPageProcess *process;
    const MigPageVma *vma;
    uint64_t hva;
    gboolean writable;
    GString *failures; /* "/proc/1/fd: no descriptor of it, ..." */
    gboolean denied;   /* one of them was for want of permission */
    char **how;
} Search;

static void note_failure(Search *search, const char *what, const char *why)
{
    g_string_append_printf(search->failures, "%s%s: %s", search->failures->len ? "; " : "", what,
                           why);
}

static void note_errno(Search *search, const char *what)
{
    search->denied |= errno == EACCES || errno == EPERM;
    note_failure(search, what, g_strerror(errno));
}

static gboolean is_the_same(const Search *search, const MigPageMapping *mapping)
{
    uint64_t host = (uint64_t)(uintptr_t)mapping->host;
    g_autofree char *maps = NULL;
    g_auto(MigPageVma) own = {0};

    return g_file_get_contents("/proc/self/maps", &maps, NULL, NULL) &&
           migpage_vma_find(maps, host, &own) && own.shared &&
           migpage_vma_is_same_file(&own, search->vma) &&
           own.offset + (host - own.start) ==
               search->vma->offset + (search->hva - search->vma->start);
}

/* Takes FD over; WHAT tells where it is from. NULL: it is not the one, and that is noted. */
static MigPageMapping *try_fd(Search *search, int fd, const char *what)
{
    uint64_t offset = search->vma->offset + (search->hva - search->vma->start);
    g_autoptr(GError) error = NULL;
    g_autoptr(MigPageMapping) mapping =
        migpage_mapping_new(fd, offset, search->writable, what, &error);

    close(fd);
    if (!mapping) {
        note_failure(search, what, error->message);
        return NULL;
    }
    if (!is_the_same(search, mapping)) {
        note_failure(search, what, "another file");
        return NULL;
    }
    *search->how = g_strdup(what);
    return g_steal_pointer(&mapping);
}

static int open_flags(const Search *search)
{
    return (search->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
}

static MigPageMapping *try_path(Search *search, const char *path)
{
    int fd = open(path, open_flags(search));

    if (fd < 0) {
        note_errno(search, path);
        return NULL;
    }
    return try_fd(search, fd, path);
}

static MigPageMapping *try_number(Search *search, const char *path, int number)
{
    MigPageMapping *mapping = try_path(search, path);
    g_autofree char *what = NULL;
    int fd;

    if (mapping) {
        return mapping;
    }
    what = g_strdup_printf("pidfd_getfd %d", number);
    fd = (int)syscall(SYS_pidfd_getfd, migpage_process_get_pidfd(search->process), number, 0);
    if (fd < 0) {
        note_errno(search, what);
        return NULL;
    }
    return try_fd(search, fd, what);
}

/* Goes through QEMU's descriptors. */
static MigPageMapping *try_descriptors(Search *search)
{
    g_autofree char *folder = migpage_process_path(search->process, "fd");
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    gboolean found = FALSE;
    const char *name;

    if (!dir) {
        note_errno(search, folder);
        return NULL;
    }
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        MigPageMapping *mapping;
        struct stat st;

        if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != search->vma->inode) {
            continue;
        }
        found = TRUE;
        mapping = try_number(search, path, atoi(name));
        if (mapping) {
            return mapping;
        }
    }
    if (!found) {
        note_failure(search, folder, "no descriptor of it");
    }
    return NULL;
}

static MigPageMapping *try_map_files(Search *search)
{
    g_autofree char *path = migpage_process_path(search->process, "map_files/%" PRIx64 "-%" PRIx64,
                                                 search->vma->start, search->vma->end);

    return try_path(search, path);
}

/* The path as QEMU sees it: it may have another root. */
static MigPageMapping *try_name(Search *search)
{
    const char *name = search->vma->path;
    g_autofree char *path = NULL;

    if (*name != '/' || g_str_has_suffix(name, " (deleted)")) {
        return NULL;
    }
    path = migpage_process_path(search->process, "root%s", name);
    return try_path(search, path);
}

MigPageMapping *migpage_qemu_search(const MigPageProcess *process, const MigPageVma *vma,
                                    uint64_t hva, gboolean writable, char **how, GError **error)
{
    static MigPageMapping *(*const ways[])(Search *) = {try_descriptors, try_map_files, try_name};
    g_autoptr(GString) failures = g_string_new(NULL);
    Search search = {process, vma, hva, writable, failures, FALSE, how};
    g_autofree char *why = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        MigPageMapping *mapping = ways[i](&search);

        if (mapping) {
            return mapping;
        }
    }
    if (search.denied) {
        why = migpage_process_explain_denial(process);
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
                "cannot map the guest memory (%s) of %s. Tried: %s%s%s. Use "
                "memory-backend-memfd,share=on, or add ,access=ptrace to --guest-memory",
                vma->path, migpage_process_get_name(process), failures->str, why ? ". Why: " : "",
                why ? why : "");
    return NULL;
}
