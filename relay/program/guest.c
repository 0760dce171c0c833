/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest that the command line names: its page for a migration, and its page for a person to
 * look at. */
#include <inttypes.h>

#include "migpage/page.h"
#include "relay/program/guest-qemu.h"
#include "relay/program/program.h"

struct Guest {
    MigPageMemory *memory;
    GuestQemu *qemu; /* NULL: the memory is in MEMORY */
};

static gboolean open_guest(Guest *guest, char **specs, GError **error)
{
    for (char **spec = specs; *spec; spec++) {
        if (!g_str_has_prefix(*spec, "qemu:")) {
            if (!migpage_memory_add(guest->memory, *spec, error)) {
                return FALSE;
            }
        } else if (specs[1]) {
            g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                        "--guest-memory %s: QEMU knows all of its guest's memory, so nothing else "
                        "can be given besides",
                        *spec);
            return FALSE;
        } else {
            guest->qemu = guest_qemu_new(*spec, error);
        }
    }
    return !g_str_has_prefix(*specs, "qemu:") || guest->qemu;
}

Guest *relay_guest_new(char **specs, GError **error)
{
    g_autoptr(Guest) guest = g_new0(Guest, 1);

    guest->memory = migpage_memory_new();
    return open_guest(guest, specs, error) ? g_steal_pointer(&guest) : NULL;
}

void relay_guest_free(Guest *guest)
{
    g_clear_pointer(&guest->qemu, guest_qemu_free);
    migpage_memory_free(guest->memory);
    g_free(guest);
}

void relay_guest_watch(Guest *guest, SnprelayRelay *relay, RelayGuestEndedFunc ended,
                       gpointer opaque)
{
    if (guest->qemu) {
        guest_qemu_watch(guest->qemu, relay, ended, opaque);
    }
}

QmpQemu *relay_guest_get_qemu(Guest *guest)
{
    return guest->qemu ? guest_qemu_get_client(guest->qemu) : NULL;
}

static void release_mapping(gpointer mapping)
{
    migpage_mapping_free(mapping);
}

void relay_guest_map(Guest *guest, SnprelayMapRequest *request, uint64_t address)
{
    GError *error = NULL;
    MigPageMapping *mapping;

    if (guest->qemu) {
        guest_qemu_map(guest->qemu, request, address);
        return;
    }
    mapping = migpage_memory_map(guest->memory, address, TRUE, &error);
    if (mapping) {
        snprelay_map_done(request, mapping->host, release_mapping, mapping);
    } else {
        snprelay_map_failed(request, error);
    }
}

char *relay_describe_registers(MigPage *page, uint64_t address, const char *memory, GError **error)
{
    g_autoptr(GError) why_not = NULL;
    MigPageRegisters registers;

    if (!migpage_read_registers(page, &registers, error)) {
        return NULL;
    }
    migpage_check_startable(page, FALSE, &why_not);
    return g_strdup_printf("address: 0x%" PRIx64 "\n"
                           "guest memory: %s\n"
                           "status register: %u (%s)\n"
                           "data register: %u (%s)\n"
                           "migration can start: %s%s",
                           address, memory, registers.status, migpage_status_name(registers.status),
                           registers.data, migpage_data_name(registers.data),
                           why_not ? "no, " : "yes", why_not ? why_not->message : "");
}

static char *describe_in_memory(Guest *guest, uint64_t address, GError **error)
{
    MigPageMapping *mapping = migpage_memory_map(guest->memory, address, FALSE, error);
    g_autoptr(MigPage) page = NULL;
    g_autofree char *ram = NULL;

    if (!mapping) {
        return NULL;
    }
    page = migpage_new_mapped(mapping->host, release_mapping, mapping);
    ram = migpage_memory_describe(guest->memory);
    return relay_describe_registers(page, address, ram, error);
}

void relay_guest_describe_page(Guest *guest, uint64_t address, RelayGuestTextFunc done,
                               gpointer opaque)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;

    if (guest->qemu) {
        guest_qemu_describe_page(guest->qemu, address, done, opaque);
        return;
    }
    text = describe_in_memory(guest, address, &error);
    done(text, error, opaque);
}
