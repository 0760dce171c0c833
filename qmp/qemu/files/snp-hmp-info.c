/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The HMP commands that only tell, in the words of the program snprelay. */
#include "qemu/osdep.h"

#include "monitor/hmp.h"
#include "qapi/error.h"
#include "snprelay/snp-compat.h"
#include "snprelay/snp-page.h"
#include "snprelay/snp-relay.h"

static void print_progress(Monitor *mon, const SnprelayInfo *info)
{
    if (info->wire) {
        monitor_printf(mon, "wire: %s\n", info->wire);
    }
    monitor_printf(mon, "total time: %" PRId64 " ms\n", info->total_time);
    if (info->setup_time >= 0) {
        monitor_printf(mon, "setup: %" PRId64 " ms\n", info->setup_time);
    }
    monitor_printf(mon, "transferred: %" PRIu64 " bytes in %" PRIu64 " blocks\n", info->bytes,
                   info->blocks);
    if (info->has_acked) {
        monitor_printf(mon, "acknowledged: %" PRIu64 " bytes\n", info->acked_bytes);
    }
    monitor_printf(mon, "throughput: %0.2f mbps\n", info->mbps);
    monitor_printf(mon, "reconnects: %u\n", info->reconnects);
    if (info->guest_idle_time >= 0) {
        monitor_printf(mon, "guest idle: %" PRId64 " ms\n", info->guest_idle_time);
    }
}

void hmp_info_snp_migrate(Monitor *mon, const QDict *qdict G_GNUC_UNUSED)
{
    g_autoptr(SnprelayInfo) info = snprelay_query(snp_relay_get());

    monitor_printf(mon, "Migration status: %s", snprelay_status_name(info->status));
    if (info->status == SNPRELAY_STATUS_NONE) {
        monitor_printf(mon, "\n");
        return;
    }
    monitor_printf(mon, "%s%s%s\n", info->error_desc ? " (" : "",
                   info->error_desc ? info->error_desc : "", info->error_desc ? ")" : "");
    monitor_printf(mon, "direction: %s\nuri: %s\naddress: 0x%" PRIx64 "\n",
                   info->incoming ? "incoming" : "outgoing", info->uri ? info->uri : "",
                   info->address);
    for (char **uri = info->listening; uri && *uri; uri++) {
        monitor_printf(mon, "listening: %s\n", *uri);
    }
    print_progress(mon, info);
    if (info->has_checksum) {
        monitor_printf(mon, "checksum: %016" PRIx64 "\n", info->checksum);
    }
}

/* ---- Parameters -------------------------------------------------------------------------------------- */

static void print_parameter(Monitor *mon, const SnprelayParameter *parameter,
                            const SnprelayParameterValue *value)
{
    switch (parameter->type) {
    case SNPRELAY_PARAMETER_STRING:
        monitor_printf(mon, "%s: '%s'\n", value->name, value->text ? value->text : "");
        break;
    case SNPRELAY_PARAMETER_CHOICE:
        monitor_printf(mon, "%s: %s\n", value->name, value->text);
        break;
    case SNPRELAY_PARAMETER_SIZE:
        monitor_printf(mon, "%s: %" PRIu64 " bytes\n", value->name, value->number);
        break;
    case SNPRELAY_PARAMETER_SECONDS:
        monitor_printf(mon, "%s: %" PRIu64 " s\n", value->name, value->number);
        break;
    case SNPRELAY_PARAMETER_MS:
        monitor_printf(mon, "%s: %" PRIu64 " ms\n", value->name, value->number);
        break;
    }
}

void hmp_info_snp_migrate_parameters(Monitor *mon, const QDict *qdict G_GNUC_UNUSED)
{
    size_t count;
    const SnprelayParameter *parameters = snprelay_parameters(&count);
    SnprelayParameterValue *values = snprelay_get_parameters(snp_relay_get());

    for (size_t i = 0; i < count; i++) {
        print_parameter(mon, &parameters[i], &values[i]);
    }
    snprelay_parameters_free(values);
}

/* ---- The page ---------------------------------------------------------------------------------------- */

static const char *status_name(uint8_t status)
{
    static const char *const names[] = {"not started", "incoming", "running", "completed"};

    return status < G_N_ELEMENTS(names) ? names[status] : "impossible";
}

static const char *data_name(uint8_t data)
{
    switch (data) {
    case 0:
        return "none";
    case 4:
        return "data ready";
    case 5:
        return "data read";
    default:
        return "impossible";
    }
}

static void print_page(Monitor *mon, uint64_t address, const volatile uint8_t *page)
{
    uint8_t status = page[0], data = page[1];
    bool is_fresh = status == 0 && data == 0, is_over = status == 3 && data != 4;

    monitor_printf(mon, "address: 0x%" PRIx64 "\n", address);
    monitor_printf(mon, "status register: %u (%s)\n", status, status_name(status));
    monitor_printf(mon, "data register: %u (%s)\n", data, data_name(data));
    monitor_printf(mon, "migration can start: %s\n",
                   is_fresh || is_over ? "yes" : "no, the page is in the middle of a migration");
}

void hmp_info_snp_page(Monitor *mon, const QDict *qdict)
{
    g_autoptr(SnprelayInfo) info = snprelay_query(snp_relay_get());
    uint64_t address = qdict_get_try_int(qdict, "address", info->address);
    Error *error = NULL;
    void *host, *page;

    if (!qdict_haskey(qdict, "address") && info->status == SNPRELAY_STATUS_NONE) {
        monitor_printf(mon, "no migration has named a page yet\n");
        return;
    }
    host = snp_page_find(address, &page, &error);
    if (host) {
        print_page(mon, address, host);
        snp_page_release(page);
    } else {
        hmp_handle_error(mon, error);
    }
}
