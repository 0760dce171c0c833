/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QEMU's lists, and what they lack of ours. Names do not clash: in QEMU's schema all types but the
 * builtin ones, which mean the same here, have numbers for names.
 *
 * Newer QEMUs (since 6.0) have no query-events any more; their events are in their schema.
 */
#include <string.h>

#include "qmp/qemu-backend.h"
#include "qmp/qmp-error.h"
#include "qmp/qmp-list.h"

/* What query-events itself takes in a schema. */
static const char *const query_events_infos[] = {"query-events", "[EventInfo]", "EventInfo",
                                                 "q_empty",      "str",         NULL};

typedef struct List {
    QmpQemuBackend *backend;
    QmpRequest *request;
    void (*add)(JsonArray *array); /* adds ours */
} List;

/* The member "name" of NODE, or NULL. */
static const char *name_of(JsonNode *node)
{
    JsonNode *name = JSON_NODE_HOLDS_OBJECT(node)
                         ? json_object_get_member(json_node_get_object(node), "name")
                         : NULL;

    return name && json_node_get_value_type(name) == G_TYPE_STRING ? json_node_get_string(name)
                                                                   : NULL;
}

/* Adds to ARRAY those of MORE whose names are not yet there. */
static void merge(JsonArray *array, JsonArray *more)
{
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < json_array_get_length(array); i++) {
        const char *name = name_of(json_array_get_element(array, i));

        if (name) {
            g_hash_table_add(names, (gpointer)name);
        }
    }
    for (guint i = 0; i < json_array_get_length(more); i++) {
        JsonNode *node = json_array_get_element(more, i);

        if (g_hash_table_add(names, (gpointer)name_of(node))) {
            json_array_add_element(array, json_node_copy(node));
        }
    }
}

static void on_list(JsonObject *reply, const GError *error, gpointer opaque)
{
    g_autofree List *list = opaque;
    JsonNode *result = qmp_qemu_result(reply, error, NULL);

    if (result && JSON_NODE_HOLDS_ARRAY(result)) {
        g_autoptr(JsonArray) more = json_array_new();

        list->add(more);
        merge(json_node_get_array(result), more);
    }
    qmp_qemu_answer(list->request, reply, error);
}

/* Asks QEMU for its list and answers REQUEST with both. */
static void run_list(QmpQemuBackend *backend, QmpRequest *request, void (*add)(JsonArray *array))
{
    List *list = g_new0(List, 1);

    list->backend = backend;
    list->request = request;
    list->add = add;
    qmp_qemu_backend_ask(backend, qmp_request_command(request),
                         json_object_ref(qmp_request_arguments(request)), on_list, list);
}

static void add_commands(JsonArray *array)
{
    JsonObject *query_events = json_object_new();

    qmp_list_commands(array, TRUE);
    json_object_set_string_member(query_events, "name", "query-events");
    json_array_add_object_element(array, query_events);
}

void qmp_qemu_backend_run_commands(QmpQemuBackend *backend, QmpRequest *request)
{
    run_list(backend, request, add_commands);
}

static void add_infos(JsonArray *array)
{
    qmp_list_schema(array, TRUE);
    qmp_list_schema_named(array, query_events_infos);
}

void qmp_qemu_backend_run_schema(QmpQemuBackend *backend, QmpRequest *request)
{
    run_list(backend, request, add_infos);
}

static void add_events(JsonArray *array)
{
    qmp_list_events(array, TRUE);
}

/* Adds the names of the events in SCHEMA to ARRAY. */
static void add_events_of(JsonArray *array, JsonArray *schema)
{
    for (guint i = 0; i < json_array_get_length(schema); i++) {
        JsonNode *node = json_array_get_element(schema, i);
        const char *name = name_of(node);
        JsonObject *event;

        if (!name || g_strcmp0(json_object_get_string_member_with_default(
                                   json_node_get_object(node), "meta-type", NULL),
                               "event") != 0) {
            continue;
        }
        event = json_object_new();
        json_object_set_string_member(event, "name", name);
        json_array_add_object_element(array, event);
    }
}

static void on_schema_for_events(JsonObject *reply, const GError *error, gpointer opaque)
{
    QmpRequest *request = opaque;
    JsonNode *result = qmp_qemu_result(reply, error, NULL);
    g_autoptr(JsonArray) events = NULL;
    g_autoptr(JsonArray) more = NULL;

    if (!result || !JSON_NODE_HOLDS_ARRAY(result)) {
        qmp_qemu_answer(request, reply, error);
        return;
    }
    events = json_array_new();
    more = json_array_new();
    add_events_of(events, json_node_get_array(result));
    add_events(more);
    merge(events, more);
    qmp_request_return(request, json_node_init_array(json_node_alloc(), events));
}

static void on_events(JsonObject *reply, const GError *error, gpointer opaque)
{
    List *list = opaque;
    g_autoptr(GError) reason = NULL;

    if (qmp_qemu_result(reply, error, &reason) ||
        !g_error_matches(reason, QMP_ERROR, QMP_ERROR_COMMAND_NOT_FOUND)) {
        on_list(reply, error, list);
        return;
    }
    qmp_qemu_backend_ask(list->backend, "query-qmp-schema", NULL, on_schema_for_events,
                         list->request);
    g_free(list);
}

void qmp_qemu_backend_run_events(QmpQemuBackend *backend, QmpRequest *request)
{
    List *list = g_new0(List, 1);

    list->backend = backend;
    list->request = request;
    list->add = add_events;
    qmp_qemu_backend_ask(backend, "query-events", json_object_ref(qmp_request_arguments(request)),
                         on_events, list);
}
