/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The page's registers and buffer, with the memory ordering that the handshake needs: a register is loaded with
 * acquire and stored with release, so a block is whole when *ready* is seen and is free when *read* is seen.
 */
#include "migpage/page.h"

#include <string.h>

struct MigPage {
    guint8 *host; /* NULL when ACCESS is used */
    const SnprelayAccess *access;
    gpointer opaque;
    GDestroyNotify release;

    gboolean begun;
    gboolean given_any;
    MigPageRole role;
    MigPageRegisters before; /* as they were when the migration began */
};

MigPage *migpage_new_mapped(void *host, GDestroyNotify release, gpointer opaque)
{
    MigPage *page = g_new0(MigPage, 1);

    page->host = host;
    page->release = release;
    page->opaque = opaque;
    return page;
}

MigPage *migpage_new_access(const SnprelayAccess *access, gpointer opaque, GDestroyNotify release)
{
    MigPage *page = g_new0(MigPage, 1);

    page->access = access;
    page->release = release;
    page->opaque = opaque;
    return page;
}

void migpage_free(MigPage *page)
{
    if (!page) {
        return;
    }
    if (page->release) {
        page->release(page->opaque);
    }
    g_free(page);
}

static inline gboolean load_register(MigPage *page, size_t offset, guint8 *value, GError **error)
{
    if (G_LIKELY(page->host != NULL)) {
        *value = __atomic_load_n(page->host + offset, __ATOMIC_ACQUIRE);
        return TRUE;
    }
    return page->access->read(page->opaque, offset, value, 1, error);
}

static inline gboolean store_register(MigPage *page, size_t offset, guint8 value, GError **error)
{
    if (G_LIKELY(page->host != NULL)) {
        __atomic_store_n(page->host + offset, value, __ATOMIC_RELEASE);
        return TRUE;
    }
    return page->access->write(page->opaque, offset, &value, 1, error);
}

static gboolean copy_out(MigPage *page, void *block, GError **error)
{
    if (G_LIKELY(page->host != NULL)) {
        memcpy(block, page->host + MIGPAGE_BUFFER_OFFSET, MIGPAGE_BLOCK_SIZE);
        return TRUE;
    }
    return page->access->read(page->opaque, MIGPAGE_BUFFER_OFFSET, block, MIGPAGE_BLOCK_SIZE,
                              error);
}

static gboolean copy_in(MigPage *page, const void *block, GError **error)
{
    if (G_LIKELY(page->host != NULL)) {
        memcpy(page->host + MIGPAGE_BUFFER_OFFSET, block, MIGPAGE_BLOCK_SIZE);
        return TRUE;
    }
    return page->access->write(page->opaque, MIGPAGE_BUFFER_OFFSET, block, MIGPAGE_BLOCK_SIZE,
                               error);
}

/* The status before the data: a source's guest stores its last *ready* and then *completed*, so that whoever sees
 * *completed* also sees that *ready*. */
gboolean migpage_read_registers(MigPage *page, MigPageRegisters *registers, GError **error)
{
    return load_register(page, MIGPAGE_STATUS_OFFSET, &registers->status, error) &&
           load_register(page, MIGPAGE_DATA_OFFSET, &registers->data, error);
}

const char *migpage_status_name(guint8 status)
{
    static const char *const names[] = {"not started", "incoming", "running", "completed"};

    return status < G_N_ELEMENTS(names) ? names[status] : "impossible";
}

const char *migpage_data_name(guint8 data)
{
    switch (data) {
    case MIGPAGE_DATA_NONE:
        return "none";
    case MIGPAGE_DATA_READY:
        return "data ready";
    case MIGPAGE_DATA_READ:
        return "data read";
    default:
        return "impossible";
    }
}

static gboolean is_startable(MigPageRegisters now)
{
    gboolean fresh = now.status == MIGPAGE_STATUS_NOT_STARTED && now.data == MIGPAGE_DATA_NONE;
    gboolean over = now.status == MIGPAGE_STATUS_COMPLETED && now.data != MIGPAGE_DATA_READY;

    return fresh || over;
}

static gboolean check_registers(MigPageRegisters now, gboolean force, GError **error)
{
    if (force || is_startable(now)) {
        return TRUE;
    }
    g_set_error(
        error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
        "the page's last migration was broken off in mid-stream (status %u: %s, data %u: %s), "
        "and its guest may go on from the middle; reset the guest, or use force if it is "
        "known to start over",
        now.status, migpage_status_name(now.status), now.data, migpage_data_name(now.data));
    return FALSE;
}

gboolean migpage_check_startable(MigPage *page, gboolean force, GError **error)
{
    MigPageRegisters now;

    return migpage_read_registers(page, &now, error) && check_registers(now, force, error);
}

gboolean migpage_begin(MigPage *page, MigPageRole role, gboolean force, GError **error)
{
    guint8 status = role == MIGPAGE_SOURCE ? MIGPAGE_STATUS_RUNNING : MIGPAGE_STATUS_INCOMING;

    if (!migpage_read_registers(page, &page->before, error) ||
        !check_registers(page->before, force, error)) {
        return FALSE;
    }
    page->role = role;
    page->given_any = FALSE;
    page->begun = TRUE;
    /* The data first: a *ready* that was left over must be gone before the guest is told to start. */
    return store_register(page, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READ, error) &&
           store_register(page, MIGPAGE_STATUS_OFFSET, status, error);
}

static MigPageTurn rules_broken(MigPageRegisters now, GError **error)
{
    if (now.status == MIGPAGE_STATUS_NOT_STARTED || now.data == MIGPAGE_DATA_NONE) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_GUEST,
                    "the guest reset its migration page in mid-stream (status %u, data %u); was it "
                    "rebooted?",
                    now.status, now.data);
    } else {
        g_set_error(
            error, SNPRELAY_ERROR, SNPRELAY_ERROR_GUEST,
            "the guest's migration page holds impossible registers (status 0x%02x: %s, data "
            "0x%02x: %s)",
            now.status, migpage_status_name(now.status), now.data, migpage_data_name(now.data));
    }
    return MIGPAGE_ERROR;
}

MigPageTurn migpage_take(MigPage *page, void *block, GError **error)
{
    MigPageRegisters now;

    if (!migpage_read_registers(page, &now, error)) {
        return MIGPAGE_ERROR;
    }
    if (G_UNLIKELY(now.status != MIGPAGE_STATUS_RUNNING &&
                   now.status != MIGPAGE_STATUS_COMPLETED)) {
        return rules_broken(now, error);
    }
    if (now.data == MIGPAGE_DATA_READY) {
        if (!copy_out(page, block, error) ||
            !store_register(page, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READ, error)) {
            return MIGPAGE_ERROR;
        }
        return MIGPAGE_BLOCK;
    }
    if (G_UNLIKELY(now.data != MIGPAGE_DATA_READ)) {
        return rules_broken(now, error);
    }
    return now.status == MIGPAGE_STATUS_COMPLETED ? MIGPAGE_END : MIGPAGE_NOTHING;
}

MigPageTurn migpage_poll_read(MigPage *page, GError **error)
{
    MigPageRegisters now;

    if (!migpage_read_registers(page, &now, error)) {
        return MIGPAGE_ERROR;
    }
    if (G_UNLIKELY(now.status != MIGPAGE_STATUS_INCOMING ||
                   (now.data != MIGPAGE_DATA_READ && now.data != MIGPAGE_DATA_READY))) {
        return rules_broken(now, error);
    }
    return now.data == MIGPAGE_DATA_READ ? MIGPAGE_BLOCK : MIGPAGE_NOTHING;
}

gboolean migpage_give(MigPage *page, const void *block, GError **error)
{
    page->given_any = TRUE;
    return copy_in(page, block, error) &&
           store_register(page, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READY, error);
}

gboolean migpage_complete(MigPage *page, GError **error)
{
    if (!store_register(page, MIGPAGE_STATUS_OFFSET, MIGPAGE_STATUS_COMPLETED, error)) {
        return FALSE;
    }
    page->begun = FALSE;
    return TRUE;
}

/* A destination's page that is still exactly as migpage_begin() left it. */
static gboolean is_untouched(MigPage *page, MigPageRegisters now)
{
    return page->role == MIGPAGE_DESTINATION && !page->given_any &&
           now.status == MIGPAGE_STATUS_INCOMING && now.data == MIGPAGE_DATA_READ;
}

/* The guest has reset its page. If it did so between our look and our store, what we stored came after, and would make a
 * fresh page look broken off. */
static void forget_late_answer(MigPage *page, MigPageRegisters now)
{
    guint8 ours = page->role == MIGPAGE_SOURCE ? MIGPAGE_DATA_READ : MIGPAGE_DATA_READY;

    if (now.data == ours) {
        store_register(page, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_NONE, NULL);
    }
}

void migpage_abandon(MigPage *page)
{
    MigPageRegisters now;

    if (!page->begun || !migpage_read_registers(page, &now, NULL)) {
        return;
    }
    page->begun = FALSE;
    if (now.status == MIGPAGE_STATUS_NOT_STARTED) {
        forget_late_answer(page, now);
        return;
    }
    if (page->role == MIGPAGE_SOURCE && now.status == MIGPAGE_STATUS_COMPLETED) {
        store_register(page, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_NONE, NULL);
    }
    if (!is_untouched(page, now)) {
        store_register(page, MIGPAGE_STATUS_OFFSET, MIGPAGE_STATUS_NOT_STARTED, NULL);
        return;
    }
    /* The status first: while it says incoming, a *ready* in the data register would be taken for a block. */
    store_register(page, MIGPAGE_STATUS_OFFSET, page->before.status, NULL);
    store_register(page, MIGPAGE_DATA_OFFSET, page->before.data, NULL);
}
