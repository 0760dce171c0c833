/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The simulated guest's RAM. */
#include "guest-memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <gio/gio.h>

#include "migpage/layout.h"

static gboolean guest_memory_fail(GError **error, const char *what, const char *path)
{
    int reason = errno;

    g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(reason), "%s %s: %s", what, path,
                g_strerror(reason));
    return FALSE;
}

/* Makes sure that the page is inside the file, which is extended only where that was asked for. */
static gboolean guest_memory_check_size(int fd, const GuestOptions *options, GError **error)
{
    struct stat status;

    if (fstat(fd, &status) < 0) {
        return guest_memory_fail(error, "cannot look at", options->path);
    }
    if ((guint64)status.st_size < options->create) {
        if (ftruncate(fd, (off_t)options->create) < 0) {
            return guest_memory_fail(error, "cannot extend", options->path);
        }
        status.st_size = (off_t)options->create;
    }
    if (options->offset + MIGPAGE_SIZE > (guint64)status.st_size) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "address 0x%" G_GINT64_MODIFIER "x is at byte %" G_GUINT64_FORMAT
                    " of %s, which has only %" G_GINT64_FORMAT " bytes (see --create)",
                    options->address, options->offset, options->path, (gint64)status.st_size);
        return FALSE;
    }
    return TRUE;
}

guint8 *guest_memory_map(const GuestOptions *options, GError **error)
{
    int fd = open(options->path, O_RDWR | O_CLOEXEC | (options->create ? O_CREAT : 0), 0600);
    guint64 unit = MIGPAGE_SIZE;
    guint8 *start = NULL;
    struct statfs filesystem;

    if (fd < 0) {
        guest_memory_fail(error, "cannot open", options->path);
        return NULL;
    }
    if (guest_memory_check_size(fd, options, error)) {
        /* Huge pages can only be mapped whole. */
        if (fstatfs(fd, &filesystem) == 0 && filesystem.f_type == HUGETLBFS_MAGIC) {
            unit = (guint64)filesystem.f_bsize;
        }
        start = mmap(NULL, unit, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                     (off_t)(options->offset / unit * unit));
        if (start == MAP_FAILED) {
            guest_memory_fail(error, "cannot map", options->path);
            start = NULL;
        }
    }
    close(fd);
    return start ? start + options->offset % unit : NULL;
}
