/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From the generated tables. */
#include "qmp/qmp-list.h"

#include <string.h>

#include "qmp/qmp-context.h"
#include "qmp/qmp-schema.h"

static gboolean is_wanted(const char *module, gboolean own_only)
{
    return !own_only || strcmp(module, "snp") == 0;
}

static void add_name(JsonArray *array, const char *name)
{
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, "name", name);
    json_array_add_object_element(array, object);
}

void qmp_list_commands(JsonArray *array, gboolean own_only)
{
    for (const QmpSchemaCommand *command = qmp_schema_commands; command->name; command++) {
        if (is_wanted(command->module, own_only)) {
            add_name(array, command->name);
        }
    }
    for (guint i = 0; qmp_command_aliases[i][0]; i++) {
        add_name(array, qmp_command_aliases[i][0]);
    }
}

void qmp_list_events(JsonArray *array, gboolean own_only)
{
    for (const QmpSchemaEvent *event = qmp_schema_events; event->name; event++) {
        if (is_wanted(event->module, own_only)) {
            add_name(array, event->name);
        }
    }
}

void qmp_list_schema(JsonArray *array, gboolean own_only)
{
    for (const QmpSchemaInfo *info = qmp_schema_infos; info->text; info++) {
        if (is_wanted(info->module, own_only)) {
            json_array_add_element(array, json_from_string(info->text, NULL));
        }
    }
}

void qmp_list_schema_named(JsonArray *array, const char *const *names)
{
    for (const QmpSchemaInfo *info = qmp_schema_infos; info->text; info++) {
        JsonNode *node = json_from_string(info->text, NULL);
        const char *name = json_object_get_string_member(json_node_get_object(node), "name");

        if (g_strv_contains(names, name)) {
            json_array_add_element(array, json_node_ref(node));
        }
        json_node_unref(node);
    }
}
