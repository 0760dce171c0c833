/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest that the command line names: its page for a migration, and its page for a person to look at. */
#include "migpage/page.h"
#include "relay/program/program.h"

struct Guest {
    MigPageMemory *memory;
};

Guest *relay_guest_new(char **specs, GError **error)
{
    g_autoptr(Guest) guest = g_new0(Guest, 1);

    guest->memory = migpage_memory_new();
    for (char **spec = specs; *spec; spec++) {
        if (!migpage_memory_add(guest->memory, *spec, error)) {
            return NULL;
        }
    }
    return g_steal_pointer(&guest);
}

void relay_guest_free(Guest *guest)
{
    migpage_memory_free(guest->memory);
    g_free(guest);
}

static void release_mapping(gpointer mapping)
{
    migpage_mapping_free(mapping);
}

void relay_guest_map(Guest *guest, SnprelayMapRequest *request, uint64_t address)
{
    GError *error = NULL;
    MigPageMapping *mapping = migpage_memory_map(guest->memory, address, TRUE, &error);

    if (mapping) {
        snprelay_map_done(request, mapping->host, release_mapping, mapping);
    } else {
        snprelay_map_failed(request, error);
    }
}

char *relay_guest_describe_page(Guest *guest, uint64_t address, GError **error)
{
    MigPageMapping *mapping = migpage_memory_map(guest->memory, address, FALSE, error);
    g_autoptr(MigPage) page = NULL;
    g_autoptr(GError) why_not = NULL;
    g_autofree char *ram = NULL;
    MigPageRegisters registers;

    if (!mapping) {
        return NULL;
    }
    page = migpage_new_mapped(mapping->host, release_mapping, mapping);
    migpage_read_registers(page, &registers, NULL);
    migpage_check_startable(page, FALSE, &why_not);
    ram = migpage_memory_describe(guest->memory);
    return g_strdup_printf("address: 0x%" G_GINT64_MODIFIER "x\n"
                           "guest memory: %s\n"
                           "status register: %u (%s)\n"
                           "data register: %u (%s)\n"
                           "migration can start: %s%s",
                           address, ram, registers.status, migpage_status_name(registers.status),
                           registers.data, migpage_data_name(registers.data),
                           why_not ? "no, " : "yes", why_not ? why_not->message : "");
}
