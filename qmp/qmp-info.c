/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Member by member, in the schema's order. */
#include "qmp/qmp-info.h"

#include <inttypes.h>

/* A node that owns OBJECT. */
static JsonNode *node_of(JsonObject *object)
{
    JsonNode *node = json_node_alloc();

    json_node_init_object(node, object);
    json_object_unref(object);
    return node;
}

static void add_string(JsonObject *object, const char *name, const char *value)
{
    if (value) {
        g_autofree char *valid = g_utf8_make_valid(value, -1);

        json_object_set_string_member(object, name, valid);
    }
}

/* The less common case in these objects: -1 is "not known". */
static void add_if_known(JsonObject *object, const char *name, gint64 value)
{
    if (value >= 0) {
        json_object_set_int_member(object, name, value);
    }
}

static void add_listening(JsonObject *object, char **uris)
{
    JsonArray *array = json_array_new();

    for (; *uris; uris++) {
        json_array_add_string_element(array, *uris);
    }
    json_object_set_array_member(object, "listening", array);
}

static void add_counters(JsonObject *object, const SnprelayInfo *info)
{
    json_object_set_int_member(object, "blocks", info->blocks);
    json_object_set_int_member(object, "bytes", info->bytes);
    if (info->has_acked) {
        json_object_set_int_member(object, "acked-bytes", info->acked_bytes);
    }
    json_object_set_int_member(object, "reconnects", info->reconnects);
    add_if_known(object, "setup-time", info->setup_time);
    add_if_known(object, "total-time", info->total_time);
    if (info->setup_time >= 0) {
        json_object_set_double_member(object, "mbps", info->mbps);
    }
    add_if_known(object, "guest-idle-time", info->guest_idle_time);
}

JsonNode *qmp_info_to_json(const SnprelayInfo *info)
{
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "status", snprelay_status_name(info->status));
    if (info->status == SNPRELAY_STATUS_NONE) {
        return node_of(object);
    }
    json_object_set_string_member(object, "direction", info->incoming ? "incoming" : "outgoing");
    add_string(object, "uri", info->uri);
    json_object_set_int_member(object, "address", info->address);
    if (info->listening) {
        add_listening(object, info->listening);
    }
    add_string(object, "wire", info->wire);
    add_counters(object, info);
    if (info->has_checksum) {
        g_autofree char *checksum = g_strdup_printf("%016" PRIx64, info->checksum);

        json_object_set_string_member(object, "checksum", checksum);
    }
    add_string(object, "error-desc", info->error_desc);
    return node_of(object);
}

JsonObject *qmp_info_to_event(const SnprelayInfo *info)
{
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "status", snprelay_status_name(info->status));
    add_string(object, "error-desc", info->error_desc);
    return object;
}

static gboolean is_text(const SnprelayParameter *parameter)
{
    return parameter->type == SNPRELAY_PARAMETER_STRING ||
           parameter->type == SNPRELAY_PARAMETER_CHOICE;
}

JsonNode *qmp_parameters_to_json(SnprelayRelay *relay)
{
    size_t count;
    const SnprelayParameter *parameters = snprelay_parameters(&count);
    SnprelayParameterValue *values = snprelay_get_parameters(relay);
    JsonObject *object = json_object_new();

    for (size_t i = 0; i < count; i++) {
        if (is_text(&parameters[i])) {
            add_string(object, values[i].name, values[i].text ? values[i].text : "");
        } else {
            json_object_set_int_member(object, values[i].name, values[i].number);
        }
    }
    snprelay_parameters_free(values);
    return node_of(object);
}

gboolean qmp_parameters_from_json(SnprelayRelay *relay, JsonObject *object, GError **error)
{
    size_t count, n_values = 0;
    const SnprelayParameter *parameters = snprelay_parameters(&count);
    g_autofree SnprelayParameterValue *values = g_new0(SnprelayParameterValue, count);

    for (size_t i = 0; i < count; i++) {
        const char *name = parameters[i].name;
        SnprelayParameterValue *value = &values[n_values];

        if (!json_object_has_member(object, name)) {
            continue;
        }
        n_values++;
        value->name = name;
        if (is_text(&parameters[i])) {
            /* Only lent for the call: the relay copies what it keeps. */
            value->text = (char *)json_object_get_string_member(object, name);
        } else {
            value->number = json_object_get_int_member(object, name);
        }
    }
    return snprelay_set_parameters(relay, values, n_values, error);
}
