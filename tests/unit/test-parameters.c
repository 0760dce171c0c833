/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The migration parameters: defaults, bounds, all or none, and what may change while a migration runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/parameters.h"

/* The table that users rely on: names in their order, and defaults. */
static const struct {
    const char *name, *text;
    uint64_t number;
} defaults[] = {
    {"wire", "native", 0},
    {"max-bandwidth", NULL, 0},
    {"window", NULL, 8 * 1024 * 1024},
    {"connect-timeout", NULL, 10},
    {"reconnect-timeout", NULL, 30},
    {"peer-timeout", NULL, 30},
    {"stall-warning", NULL, 5000},
    {"poll", "adaptive", 0},
    {"tls-creds", "", 0},
    {"tls-hostname", "", 0},
    {"tls-authz", "", 0},
};

/* Exactly the defaults, but that the one named EXCEPT (may be NULL) is left out. */
static void assert_defaults(const RelayParameters *parameters, const char *except)
{
    SnprelayParameterValue *values = relay_parameters_get(parameters);

    for (size_t i = 0; i < G_N_ELEMENTS(defaults); i++) {
        assert_string_equal(values[i].name, defaults[i].name);
        if (g_strcmp0(except, defaults[i].name) == 0) {
            continue;
        }
        assert_true(g_strcmp0(values[i].text, defaults[i].text) == 0);
        assert_true(values[i].number == defaults[i].number);
    }
    snprelay_parameters_free(values);
}

static void test_table(void **state)
{
    g_autoptr(RelayParameters) parameters = relay_parameters_new();
    size_t count;
    const SnprelayParameter *table = snprelay_parameters(&count);

    (void)state;
    assert_int_equal(count, G_N_ELEMENTS(defaults));
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(table[i].name, defaults[i].name);
        assert_true(strlen(table[i].help) > 0);
        assert_true(table[i].minimum <= table[i].maximum);
    }
    assert_defaults(parameters, NULL);
}

static void test_good_values(void **state)
{
    static const struct {
        const char *name, *typed, *text;
        uint64_t number;
    } good[] = {
        {"wire", "poc", "poc", 0},
        {"wire", "native", "native", 0},
        {"max-bandwidth", "0", NULL, 0},
        {"max-bandwidth", "100M", NULL, 100 << 20},
        {"max-bandwidth", "0x10", NULL, 16},
        {"max-bandwidth", "9223372036854775807", NULL, INT64_MAX},
        {"window", "64k", NULL, 65536},
        {"window", "1G", NULL, 1 << 30},
        {"connect-timeout", "1", NULL, 1},
        {"connect-timeout", "86400", NULL, 86400},
        {"reconnect-timeout", "0", NULL, 0},
        {"peer-timeout", "1", NULL, 1},
        {"stall-warning", "0", NULL, 0},
        {"stall-warning", "86400000", NULL, 86400000},
        {"poll", "busy", "busy", 0},
        {"tls-creds", "/etc/pki", "/etc/pki", 0},
        {"tls-creds", "", "", 0},
        {"tls-hostname", "host.example", "host.example", 0},
        {"tls-authz", "CN=*,O=x", "CN=*,O=x", 0},
    };

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(RelayParameters) parameters = relay_parameters_new();
        g_autoptr(GError) error = NULL;
        SnprelayParameterValue value, *values;
        size_t at = 0;

        assert_true(snprelay_parameter_parse(good[i].name, good[i].typed, &value, &error));
        assert_string_equal(value.name, good[i].name);
        assert_true(relay_parameters_set(parameters, &value, 1, FALSE, &error));
        snprelay_parameter_clear(&value);
        snprelay_parameter_clear(&value); /* twice does no harm */
        assert_defaults(parameters, good[i].name);
        values = relay_parameters_get(parameters);
        while (strcmp(values[at].name, good[i].name) != 0) {
            at++;
        }
        assert_true(g_strcmp0(values[at].text, good[i].text) == 0);
        assert_true(values[at].number == good[i].number);
        snprelay_parameters_free(values);
    }
    snprelay_parameters_free(NULL);
}

static void test_bad_values(void **state)
{
    static const struct {
        const char *name, *typed, *words;
    } bad[] = {
        {"bandwidth", "1", "max-bandwidth"},
        {"", "1", "max-bandwidth"},
        {"Wire", "poc", "there is no parameter 'Wire'"},
        {"wire", "", "native or poc"},
        {"wire", "POC", "native or poc"},
        {"poll", "lazy", "adaptive or busy"},
        {"max-bandwidth", "fast", "number of bytes"},
        {"max-bandwidth", "-1", "number of bytes"},
        {"max-bandwidth", "1m", "number of bytes"},
        {"max-bandwidth", "9223372036854775808", "from 0 to"},
        {"window", "65535", "from 65536 to 1073741824"},
        {"window", "0", "from 65536"},
        {"window", "1T", "to 1073741824"},
        {"connect-timeout", "0", "from 1 to 86400"},
        {"connect-timeout", "86401", "from 1 to 86400"},
        {"connect-timeout", "1k", "number of seconds"},
        {"connect-timeout", "1.5", "number of seconds"},
        {"reconnect-timeout", "86401", "from 0 to 86400"},
        {"peer-timeout", "0", "from 1"},
        {"stall-warning", "86400001", "to 86400000"},
        {"stall-warning", "5s", "number of milliseconds"},
    };

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        SnprelayParameterValue value;

        if (snprelay_parameter_parse(bad[i].name, bad[i].typed, &value, &error)) {
            fail_msg("%s=%s was accepted", bad[i].name, bad[i].typed);
        }
        assert_true(g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID));
        if (!strstr(error->message, bad[i].words) || !strstr(error->message, bad[i].name)) {
            fail_msg("'%s' is not in: %s", bad[i].words, error->message);
        }
    }
}

/* Values that did not come through snprelay_parameter_parse(), as a monitor makes them. */
static void test_all_or_none(void **state)
{
    static char poc[] = "poc";
    const SnprelayParameterValue good = {"max-bandwidth", NULL, 5};
    const SnprelayParameterValue bad[] = {{"window", NULL, 1},
                                          {"wire", NULL, 0},
                                          {"nothing", NULL, 0},
                                          {"peer-timeout", NULL, UINT64_MAX}};
    g_autoptr(RelayParameters) parameters = relay_parameters_new();

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        SnprelayParameterValue values[] = {good, {"wire", poc, 0}, bad[i], {"tls-authz", poc, 0}};
        g_autoptr(GError) error = NULL;

        assert_false(relay_parameters_set(parameters, values, G_N_ELEMENTS(values), FALSE, &error));
        assert_true(g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID));
        assert_non_null(strstr(error->message, bad[i].name));
        assert_defaults(parameters, NULL);
    }
    assert_true(relay_parameters_set(parameters, &good, 1, FALSE, NULL));
    assert_true(parameters->max_bandwidth == 5);
    assert_true(relay_parameters_set(parameters, NULL, 0, FALSE, NULL));
}

static void test_while_running(void **state)
{
    static char text[] = "native";
    g_autoptr(RelayParameters) parameters = relay_parameters_new();

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(defaults); i++) {
        SnprelayParameterValue values[] = {{"max-bandwidth", NULL, 7},
                                           {defaults[i].name, NULL, 100000}};
        gboolean allowed = strcmp(defaults[i].name, "max-bandwidth") == 0;
        g_autoptr(GError) error = NULL;

        if (defaults[i].text) {
            values[1].text = text;
        }
        if (strcmp(defaults[i].name, "poll") == 0) {
            values[1].text = (char *)defaults[i].text;
        }
        if (g_str_has_suffix(defaults[i].name, "timeout")) {
            values[1].number = 5;
        }
        assert_int_equal(relay_parameters_set(parameters, values, 2, TRUE, &error), allowed);
        if (!allowed) {
            assert_true(g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_STATE));
            assert_non_null(strstr(error->message, defaults[i].name));
        }
        assert_defaults(parameters, allowed ? "max-bandwidth" : NULL);
        parameters->max_bandwidth = 0;
    }
}

static void test_copy(void **state)
{
    static char poc[] = "poc";
    const SnprelayParameterValue value = {"wire", poc, 0};
    RelayParameters *parameters = relay_parameters_new();
    g_autoptr(RelayParameters) copy = relay_parameters_copy(parameters);

    (void)state;
    assert_true(relay_parameters_set(parameters, &value, 1, FALSE, NULL));
    assert_string_equal(parameters->wire, "poc");
    relay_parameters_free(parameters);
    assert_defaults(copy, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),         cmocka_unit_test(test_good_values),
        cmocka_unit_test(test_bad_values),    cmocka_unit_test(test_all_or_none),
        cmocka_unit_test(test_while_running), cmocka_unit_test(test_copy),
    };

    return cmocka_run_group_tests_name("parameters", tests, NULL, NULL);
}
