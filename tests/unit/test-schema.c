/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The schema against itself and against the relay's tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "qmp/qmp-context.h"
#include "qmp/qmp-info.h"
#include "qmp/qmp-list.h"
#include "qmp/qmp-schema.h"

/* All SchemaInfo objects by name. */
static GHashTable *read_infos(JsonArray *array)
{
    GHashTable *infos = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < json_array_get_length(array); i++) {
        JsonObject *info = json_array_get_object_element(array, i);
        const char *name = json_object_get_string_member(info, "name");

        assert_false(g_hash_table_contains(infos, name));
        g_hash_table_insert(infos, (char *)name, info);
    }
    return infos;
}

static void check_type(GHashTable *infos, JsonObject *object, const char *member)
{
    const char *name, *meta;
    JsonObject *type;

    if (!json_object_has_member(object, member)) {
        return;
    }
    name = json_object_get_string_member(object, member);
    type = g_hash_table_lookup(infos, name);
    if (!type) {
        fail_msg("type '%s' is not described", name);
    }
    meta = json_object_get_string_member(type, "meta-type");
    assert_true(strcmp(meta, "command") != 0 && strcmp(meta, "event") != 0);
}

static void check_types_in(GHashTable *infos, JsonObject *object, const char *list)
{
    JsonArray *array =
        json_object_has_member(object, list) ? json_object_get_array_member(object, list) : NULL;

    for (guint i = 0; array && i < json_array_get_length(array); i++) {
        check_type(infos, json_array_get_object_element(array, i), "type");
    }
}

static void check_references(gboolean own_only)
{
    g_autoptr(JsonArray) array = json_array_new();
    g_autoptr(GHashTable) infos = NULL;
    GHashTableIter iter;
    gpointer info;

    qmp_list_schema(array, own_only);
    infos = read_infos(array);
    g_hash_table_iter_init(&iter, infos);
    while (g_hash_table_iter_next(&iter, NULL, &info)) {
        check_type(infos, info, "arg-type");
        check_type(infos, info, "ret-type");
        check_type(infos, info, "element-type");
        check_types_in(infos, info, "members");
        check_types_in(infos, info, "variants");
    }
    assert_true(g_hash_table_contains(infos, "snp-migrate"));
    assert_int_equal(g_hash_table_contains(infos, "query-name"), !own_only);
}

static void test_references(void **state)
{
    (void)state;
    check_references(FALSE);
    check_references(TRUE); /* what another program's schema is extended by stands by itself */
}

static void test_aliases(void **state)
{
    (void)state;
    for (guint i = 0; qmp_command_aliases[i][0]; i++) {
        assert_non_null(qmp_schema_find(qmp_command_aliases[i][1]));
    }
    for (const QmpCommand *command = qmp_own_commands; command->name; command++) {
        assert_non_null(qmp_schema_find(command->name));
    }
}

/* The schema's values of the argument NAME of COMMAND, NULL when it is no enum. */
static const QmpSchemaMember *find_argument(const char *command, const char *name)
{
    const QmpSchemaCommand *found = qmp_schema_find(command);

    for (guint i = 0; i < found->n_arguments; i++) {
        if (strcmp(found->arguments[i].name, name) == 0) {
            return &found->arguments[i];
        }
    }
    return NULL;
}

static void test_parameters(void **state)
{
    size_t count;
    const SnprelayParameter *parameters = snprelay_parameters(&count);

    (void)state;
    assert_int_equal(qmp_schema_find("snp-migrate-set-parameters")->n_arguments, count);
    for (size_t i = 0; i < count; i++) {
        const QmpSchemaMember *member =
            find_argument("snp-migrate-set-parameters", parameters[i].name);

        assert_non_null(member);
        assert_true(member->optional);
        switch (parameters[i].type) {
        case SNPRELAY_PARAMETER_STRING:
            assert_int_equal(member->type->kind, QMP_SCHEMA_STRING);
            break;
        case SNPRELAY_PARAMETER_CHOICE:
            assert_int_equal(member->type->kind, QMP_SCHEMA_ENUM);
            assert_true(g_strv_equal(member->type->values, parameters[i].choices));
            break;
        default:
            assert_int_equal(member->type->kind, QMP_SCHEMA_INT);
            assert_true(member->type->maximum >= parameters[i].maximum);
        }
    }
}

/* Every status and every member of an answer is in the schema. */
static void test_info(void **state)
{
    static char uri[] = "tcp:127.0.0.1:1";
    static char *listening[] = {uri, NULL};
    SnprelayInfo info = {.status = SNPRELAY_STATUS_COMPLETED,
                         .uri = uri,
                         .listening = listening,
                         .wire = "native",
                         .has_acked = TRUE,
                         .has_checksum = TRUE,
                         .checksum = 0xabc,
                         .error_desc = uri};
    g_autoptr(JsonArray) array = json_array_new();
    g_autoptr(GHashTable) infos = NULL;
    g_autoptr(JsonNode) node = qmp_info_to_json(&info);
    JsonArray *members, *statuses;

    (void)state;
    qmp_list_schema(array, TRUE);
    infos = read_infos(array);
    members =
        json_object_get_array_member(g_hash_table_lookup(infos, "SnpMigrationInfo"), "members");
    for (guint i = 0; i < json_array_get_length(members); i++) {
        const char *name =
            json_object_get_string_member(json_array_get_object_element(members, i), "name");

        assert_true(json_object_has_member(json_node_get_object(node), name));
    }
    assert_int_equal(json_object_get_size(json_node_get_object(node)),
                     json_array_get_length(members));
    assert_string_equal(json_object_get_string_member(json_node_get_object(node), "checksum"),
                        "0000000000000abc");
    statuses =
        json_object_get_array_member(g_hash_table_lookup(infos, "SnpMigrationStatus"), "values");
    assert_int_equal(json_array_get_length(statuses), SNPRELAY_N_STATUS);
    for (guint i = 0; i < SNPRELAY_N_STATUS; i++) {
        assert_string_equal(json_array_get_string_element(statuses, i), snprelay_status_name(i));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_info),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
