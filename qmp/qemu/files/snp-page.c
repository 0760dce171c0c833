/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The page is looked up in the system's memory; a reference to its region keeps the host's mapping alive. */
#include "qemu/osdep.h"

#include "block/aio.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "snprelay/snp-compat.h"
#include "snprelay/snp-page.h"

typedef struct Page {
    MemoryRegion *region;
    hwaddr offset;
} Page;

static bool check_section(const MemoryRegionSection *section, uint64_t address, Error **errp)
{
    MemoryRegion *region = section->mr;

    /* What is found may begin further up: then there is nothing at the address itself. */
    if (!region || section->offset_within_address_space != address) {
        error_setg(errp, "No memory is mapped at address 0x%" PRIx64, address);
        return false;
    }
    if (!memory_region_is_ram(region) || memory_region_is_ram_device(region)) {
        error_setg(errp, "Memory at address 0x%" PRIx64 " is not RAM", address);
        return false;
    }
    if (section->readonly || memory_region_is_rom(region)) {
        error_setg(errp, "Memory at address 0x%" PRIx64 " is read-only", address);
        return false;
    }
    if (int128_get64(section->size) < SNPRELAY_PAGE_SIZE) {
        error_setg(errp, "Memory at address 0x%" PRIx64 " ends before the page does", address);
        return false;
    }
    return true;
}

void *snp_page_find(uint64_t address, void **page, Error **errp)
{
    MemoryRegionSection section;
    Page *found;

    if (address % SNPRELAY_PAGE_SIZE) {
        error_setg(errp, "address 0x%" PRIx64 " is not a multiple of %d", address,
                   SNPRELAY_PAGE_SIZE);
        return NULL;
    }
    section = memory_region_find(get_system_memory(), address, SNPRELAY_PAGE_SIZE);
    if (!check_section(&section, address, errp)) {
        if (section.mr) {
            memory_region_unref(section.mr);
        }
        return NULL;
    }
    found = g_new(Page, 1);
    found->region = section.mr; /* the reference is taken over */
    found->offset = section.offset_within_region;
    *page = found;
    return (uint8_t *)memory_region_get_ram_ptr(found->region) + found->offset;
}

static void release_in_main_loop(void *opaque)
{
    Page *page = opaque;

    /* Written behind QEMU's back: whoever keeps a dirty bitmap must know. */
    memory_region_set_dirty(page->region, page->offset, SNPRELAY_PAGE_SIZE);
    memory_region_unref(page->region);
    g_free(page);
}

void snp_page_release(void *page)
{
    /* The last reference may take the region's owner with it, which needs the big lock. */
    aio_bh_schedule_oneshot(qemu_get_aio_context(), release_in_main_loop, page);
}

void snp_page_map(SnprelayMapRequest *request, uint64_t address, gpointer opaque G_GNUC_UNUSED)
{
    Error *error = NULL;
    void *page, *host;

    host = snp_page_find(address, &page, &error);
    if (host) {
        snprelay_map_done(request, host, snp_page_release, page);
    } else {
        snprelay_map_failed(request, g_error_new_literal(SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
                                                         error_get_pretty(error)));
        error_free(error);
    }
}
