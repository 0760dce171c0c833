/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Arguments checked against the schema, in the order and the words of QEMU. */
#include "qmp/qmp-schema.h"

#include <inttypes.h>
#include <string.h>

#include "qmp/json-string.h"
#include "qmp/qmp-error.h"

const QmpSchemaCommand *qmp_schema_find(const char *name)
{
    for (const QmpSchemaCommand *command = qmp_schema_commands; command->name; command++) {
        if (strcmp(command->name, name) == 0) {
            return command;
        }
    }
    return NULL;
}

static gboolean check_value(const QmpSchemaType *type, JsonNode *value, const char *name,
                            GError **error);

static gboolean wrong_type(const char *name, const char *expected, GError **error)
{
    g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                "Invalid parameter type for '%s', expected: %s", name, expected);
    return FALSE;
}

static gboolean holds(JsonNode *value, GType type)
{
    return json_node_get_value_type(value) == type && !qmp_json_is_large(value);
}

static gboolean check_int(const QmpSchemaType *type, JsonNode *value, const char *name,
                          GError **error)
{
    gint64 number;

    if (qmp_json_is_large(value) && type->maximum > G_MAXINT64) {
        /* A whole number that only an unsigned one could hold: nothing here is that large. */
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Parameter '%s' expects a number below 2^63", name);
        return FALSE;
    }
    if (!holds(value, G_TYPE_INT64)) {
        return wrong_type(name, "integer", error);
    }
    number = json_node_get_int(value);
    if (number < type->minimum || (number > 0 && (guint64)number > type->maximum)) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Parameter '%s' expects a number from %" PRId64 " to %" PRIu64 ", not %" PRId64,
                    name, type->minimum, MIN(type->maximum, G_MAXINT64), number);
        return FALSE;
    }
    return TRUE;
}

static gboolean check_enum(const QmpSchemaType *type, JsonNode *value, const char *name,
                           GError **error)
{
    if (!holds(value, G_TYPE_STRING)) {
        return wrong_type(name, "string", error);
    }
    if (!g_strv_contains(type->values, json_node_get_string(value))) {
        g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                    "Parameter '%s' does not accept value '%s'", name, json_node_get_string(value));
        return FALSE;
    }
    return TRUE;
}

static gboolean check_list(const QmpSchemaType *type, JsonNode *value, const char *name,
                           GError **error)
{
    JsonArray *array;

    if (!JSON_NODE_HOLDS_ARRAY(value)) {
        return wrong_type(name, "array", error);
    }
    array = json_node_get_array(value);
    for (guint i = 0; i < json_array_get_length(array); i++) {
        g_autofree char *element = g_strdup_printf("%s[%u]", name, i);

        if (!check_value(type->element, json_array_get_element(array, i), element, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean check_value(const QmpSchemaType *type, JsonNode *value, const char *name,
                            GError **error)
{
    switch (type->kind) {
    case QMP_SCHEMA_STRING:
        return holds(value, G_TYPE_STRING) || wrong_type(name, "string", error);
    case QMP_SCHEMA_INT:
        return check_int(type, value, name, error);
    case QMP_SCHEMA_NUMBER:
        return holds(value, G_TYPE_INT64) || holds(value, G_TYPE_DOUBLE) ||
               qmp_json_is_large(value) || wrong_type(name, "number", error);
    case QMP_SCHEMA_BOOL:
        return holds(value, G_TYPE_BOOLEAN) || wrong_type(name, "boolean", error);
    case QMP_SCHEMA_ENUM:
        return check_enum(type, value, name, error);
    case QMP_SCHEMA_LIST:
        return check_list(type, value, name, error);
    case QMP_SCHEMA_ANY:
        break;
    }
    return TRUE;
}

/* Members that COMMAND does not have. */
static gboolean check_unexpected(const QmpSchemaCommand *command, JsonObject *arguments,
                                 GError **error)
{
    g_autoptr(GList) names = json_object_get_members(arguments);

    for (GList *name = names; name; name = name->next) {
        gboolean known = FALSE;

        for (guint i = 0; i < command->n_arguments && !known; i++) {
            known = strcmp(command->arguments[i].name, name->data) == 0;
        }
        if (!known) {
            g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "Parameter '%s' is unexpected",
                        (char *)name->data);
            return FALSE;
        }
    }
    return TRUE;
}

gboolean qmp_schema_check(const QmpSchemaCommand *command, JsonObject *arguments, GError **error)
{
    for (guint i = 0; i < command->n_arguments; i++) {
        const QmpSchemaMember *member = &command->arguments[i];
        JsonNode *value = arguments ? json_object_get_member(arguments, member->name) : NULL;

        if (!value && !member->optional) {
            g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC, "Parameter '%s' is missing",
                        member->name);
            return FALSE;
        }
        if (value && !check_value(member->type, value, member->name, error)) {
            return FALSE;
        }
    }
    return !arguments || check_unexpected(command, arguments, error);
}
