/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The commands that only tell, in the style of QEMU's `info migrate`. */
#include <inttypes.h>

#include "qmp/hmp.h"

static void print_progress(HmpRequest *request, const SnprelayInfo *info)
{
    if (info->wire) {
        hmp_request_printf(request, "wire: %s\n", info->wire);
    }
    hmp_request_printf(request, "total time: %" PRId64 " ms\n", info->total_time);
    if (info->setup_time >= 0) {
        hmp_request_printf(request, "setup: %" PRId64 " ms\n", info->setup_time);
    }
    hmp_request_printf(request, "transferred: %" PRIu64 " bytes in %" PRIu64 " blocks\n",
                       info->bytes, info->blocks);
    if (info->has_acked) {
        hmp_request_printf(request, "acknowledged: %" PRIu64 " bytes\n", info->acked_bytes);
    }
    hmp_request_printf(request, "throughput: %0.2f mbps\n", info->mbps);
    hmp_request_printf(request, "reconnects: %u\n", info->reconnects);
    if (info->guest_idle_time >= 0) {
        hmp_request_printf(request, "guest idle: %" PRId64 " ms\n", info->guest_idle_time);
    }
}

void hmp_info_migrate(QmpContext *context, HmpRequest *request)
{
    g_autoptr(SnprelayInfo) info = snprelay_query(context->relay);

    hmp_request_printf(request, "Migration status: %s", snprelay_status_name(info->status));
    if (info->status != SNPRELAY_STATUS_NONE) {
        hmp_request_printf(request, "%s%s%s\n", info->error_desc ? " (" : "",
                           info->error_desc ? info->error_desc : "", info->error_desc ? ")" : "");
        hmp_request_printf(request, "direction: %s\nuri: %s\naddress: 0x%" PRIx64 "\n",
                           info->incoming ? "incoming" : "outgoing", info->uri ? info->uri : "",
                           info->address);
        for (char **uri = info->listening; uri && *uri; uri++) {
            hmp_request_printf(request, "listening: %s\n", *uri);
        }
        print_progress(request, info);
        if (info->has_checksum) {
            hmp_request_printf(request, "checksum: %016" PRIx64 "\n", info->checksum);
        }
    } else {
        hmp_request_printf(request, "\n");
    }
    hmp_request_done(request);
}

static void print_parameter(HmpRequest *request, const SnprelayParameter *parameter,
                            const SnprelayParameterValue *value)
{
    switch (parameter->type) {
    case SNPRELAY_PARAMETER_STRING:
        hmp_request_printf(request, "%s: '%s'\n", value->name, value->text ? value->text : "");
        break;
    case SNPRELAY_PARAMETER_CHOICE:
        hmp_request_printf(request, "%s: %s\n", value->name, value->text);
        break;
    case SNPRELAY_PARAMETER_SIZE:
        hmp_request_printf(request, "%s: %" PRIu64 " bytes\n", value->name, value->number);
        break;
    case SNPRELAY_PARAMETER_SECONDS:
        hmp_request_printf(request, "%s: %" PRIu64 " s\n", value->name, value->number);
        break;
    case SNPRELAY_PARAMETER_MS:
        hmp_request_printf(request, "%s: %" PRIu64 " ms\n", value->name, value->number);
        break;
    }
}

void hmp_info_parameters(QmpContext *context, HmpRequest *request)
{
    size_t count;
    const SnprelayParameter *parameters = snprelay_parameters(&count);
    SnprelayParameterValue *values = snprelay_get_parameters(context->relay);

    for (size_t i = 0; i < count; i++) {
        print_parameter(request, &parameters[i], &values[i]);
    }
    snprelay_parameters_free(values);
    hmp_request_done(request);
}

void hmp_info_page(QmpContext *context, HmpRequest *request)
{
    if (context->hooks.page_info) {
        context->hooks.page_info(request, context->hooks.opaque);
    } else {
        hmp_request_printf(request, "Error: this program cannot tell about the page\n");
        hmp_request_done(request);
    }
}
