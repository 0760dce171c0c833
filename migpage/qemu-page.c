/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What QEMU has at the address decides. Private memory can be opened and mapped, too, and then
 * shows what it was before the guest wrote to it, for ever: the handshake would hang in silence. So
 * it is refused, or reached through /proc/PID/mem, which is opened once and stays with this very
 * process, whatever becomes of its number.
 */
#include "migpage/qemu-page.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "migpage/layout.h"
#include "migpage/qemu-search.h"

#define COMPARE_TRIES 3 /* the guest may be writing */

struct MigPageQemu {
    gatomicrefcount references;
    GMutex lock; /* protects mapping and mem against a close in another thread */
    MigPageMapping *mapping;
    int mem; /* /proc/PID/mem, or -1 */
    uint64_t hva;
    int last_status; /* atomic: what was read last through MEM, or -1 */
    char *name;      /* of the process */
    char *text;
};

/* ---- Cross-process access
 * --------------------------------------------------------------------------- */

static gboolean set_access_error(MigPageQemu *page, const char *what, gssize done, GError **error)
{
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_GUEST,
                "cannot %s the migration page in %s: %s", what, page->name,
                done < 0 ? g_strerror(errno) : "QEMU has ended");
    return FALSE;
}

static gboolean access_read(gpointer opaque, size_t offset, void *buffer, size_t length,
                            GError **error)
{
    MigPageQemu *page = opaque;
    gssize done = pread(page->mem, buffer, length, (off_t)(page->hva + offset));

    if (G_UNLIKELY(done != (gssize)length)) {
        return set_access_error(page, "read", done, error);
    }
    if (offset == MIGPAGE_STATUS_OFFSET) {
        g_atomic_int_set(&page->last_status, *(const guint8 *)buffer);
    }
    return TRUE;
}

static gboolean access_write(gpointer opaque, size_t offset, const void *buffer, size_t length,
                             GError **error)
{
    MigPageQemu *page = opaque;
    gssize done = pwrite(page->mem, buffer, length, (off_t)(page->hva + offset));

    if (G_UNLIKELY(done != (gssize)length)) {
        return set_access_error(page, "write", done, error);
    }
    if (offset == MIGPAGE_STATUS_OFFSET) {
        g_atomic_int_set(&page->last_status, *(const guint8 *)buffer);
    }
    return TRUE;
}

const SnprelayAccess migpage_qemu_access = {access_read, access_write};

static gboolean open_access(MigPageQemu *page, const MigPageProcess *process, const MigPageVma *vma,
                            gboolean writable, GError **error)
{
    g_autofree char *path = migpage_process_path(process, "mem");
    guint8 status;

    page->mem = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (page->mem < 0) {
        migpage_process_set_error(process, "open the memory", errno, error);
        return FALSE;
    }
    page->text = g_strdup_printf("read and written through %s (access=ptrace), %s", path,
                                 vma->shared ? "although it is shared" : "private to QEMU");
    return access_read(page, MIGPAGE_STATUS_OFFSET, &status, 1, error);
}

/* ---- Mapping
 * --------------------------------------------------------------------------------------- */

static gboolean refuse_private(const MigPageProcess *process, const MigPageQemuWanted *wanted,
                               const MigPageVma *vma, GError **error)
{
    gboolean igvm = g_str_has_prefix(wanted->block, "igvm");

    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
                "the guest memory '%s'%s%s%s is private to %s: nobody else can map it. %s, or add "
                ",access=ptrace to --guest-memory (slower)",
                wanted->block, *vma->path ? " (" : "", vma->path, *vma->path ? ", share=off)" : "",
                migpage_process_get_name(process),
                igvm ? "Use a COCONUT-SVSM that places itself inside the guest's RAM (v2026.06 or "
                       "newer)"
                     : "Start QEMU with -object memory-backend-memfd,id=ram,size=SIZE,share=on "
                       "-machine memory-backend=ram (SIZE as in -m)");
    return FALSE;
}

/* The page as we see it must be the page as QEMU sees it; where QEMU's cannot be read, there is
 * nothing to compare. */
static gboolean check_bytes(MigPageQemu *page, const MigPageProcess *process, GError **error)
{
    g_autofree char *path = migpage_process_path(process, "mem");
    guint8 theirs[MIGPAGE_SIZE], ours[MIGPAGE_SIZE];
    int mem = open(path, O_RDONLY | O_CLOEXEC);
    gboolean same = mem < 0;

    for (int i = 0; i < COMPARE_TRIES && !same; i++) {
        gssize got = pread(mem, theirs, sizeof(theirs), (off_t)page->hva);

        memcpy(ours, page->mapping->host, sizeof(ours));
        same = got != sizeof(theirs) || memcmp(ours, theirs, sizeof(ours)) == 0;
    }
    if (mem >= 0) {
        close(mem);
    }
    if (!same) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
                    "the page that was mapped (%s) is not what %s has at 0x%" PRIx64
                    "; use ,access=ptrace",
                    page->text, page->name, page->hva);
    }
    return same;
}

static gboolean map(MigPageQemu *page, const MigPageProcess *process,
                    const MigPageQemuWanted *wanted, const MigPageVma *vma, GError **error)
{
    g_autofree char *how = NULL;

    if (!vma->shared) {
        return refuse_private(process, wanted, vma, error);
    }
    page->mapping = migpage_qemu_search(process, vma, page->hva, wanted->writable, &how, error);
    if (!page->mapping) {
        return FALSE;
    }
    page->text = g_strdup_printf("mapped from %s, offset 0x%" PRIx64 " of %s", how,
                                 vma->offset + (page->hva - vma->start), vma->path);
    return check_bytes(page, process, error);
}

static gboolean find_vma(const MigPageProcess *process, uint64_t hva, MigPageVma *vma,
                         GError **error)
{
    g_autofree char *path = migpage_process_path(process, "maps");
    g_autofree char *maps = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        migpage_process_set_error(process, "read the memory map", errno, error);
        return FALSE;
    }
    close(fd); /* only for the errno */
    if (g_file_get_contents(path, &maps, NULL, NULL) && migpage_vma_find(maps, hva, vma) &&
        vma->end - hva >= MIGPAGE_SIZE) {
        return TRUE;
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
                "%s, which made the monitor socket, has nothing at the address 0x%" PRIx64
                " that QEMU named: is it a proxy in front of QEMU, or has it ended?",
                migpage_process_get_name(process), hva);
    return FALSE;
}

MigPageQemu *migpage_qemu_new(const MigPageProcess *process, const MigPageQemuWanted *wanted,
                              GError **error)
{
    g_autoptr(MigPageQemu) page = g_new0(MigPageQemu, 1);
    g_auto(MigPageVma) vma = {0};

    g_atomic_ref_count_init(&page->references);
    g_mutex_init(&page->lock);
    page->mem = -1;
    page->last_status = -1;
    page->hva = wanted->hva;
    page->name = g_strdup(migpage_process_get_name(process));
    if (!find_vma(process, wanted->hva, &vma, error) ||
        !(wanted->access ? open_access(page, process, &vma, wanted->writable, error)
                         : map(page, process, wanted, &vma, error))) {
        return NULL;
    }
    /* All that was read from /proc/PID until here was QEMU's only if QEMU is still there. */
    if (!migpage_process_is_alive(process)) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE, "%s ended just now", page->name);
        return NULL;
    }
    return g_steal_pointer(&page);
}

/* ---- Life
 * ------------------------------------------------------------------------------------------ */

MigPageQemu *migpage_qemu_ref(MigPageQemu *page)
{
    g_atomic_ref_count_inc(&page->references);
    return page;
}

void migpage_qemu_close(MigPageQemu *page)
{
    g_mutex_lock(&page->lock);
    g_clear_pointer(&page->mapping, migpage_mapping_free);
    if (page->mem >= 0) {
        close(page->mem);
        page->mem = -1;
    }
    g_mutex_unlock(&page->lock);
}

void migpage_qemu_unref(MigPageQemu *page)
{
    if (!g_atomic_ref_count_dec(&page->references)) {
        return;
    }
    migpage_qemu_close(page);
    g_mutex_clear(&page->lock);
    g_free(page->name);
    g_free(page->text);
    g_free(page);
}

void *migpage_qemu_get_host(const MigPageQemu *page)
{
    return page->mapping ? page->mapping->host : NULL;
}

const char *migpage_qemu_describe(const MigPageQemu *page)
{
    return page->text;
}

gboolean migpage_qemu_is_open(MigPageQemu *page)
{
    gboolean is_open;

    g_mutex_lock(&page->lock);
    is_open = page->mapping || page->mem >= 0;
    g_mutex_unlock(&page->lock);
    return is_open;
}

gboolean migpage_qemu_is_completed(MigPageQemu *page)
{
    int status = -1;

    g_mutex_lock(&page->lock);
    if (page->mapping) {
        status = __atomic_load_n((const guint8 *)page->mapping->host + MIGPAGE_STATUS_OFFSET,
                                 __ATOMIC_ACQUIRE);
    } else if (page->mem >= 0) {
        status = g_atomic_int_get(&page->last_status);
    }
    g_mutex_unlock(&page->lock);
    return status == MIGPAGE_STATUS_COMPLETED;
}
