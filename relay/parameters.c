/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of parameters and everything that is read from it. */
#include "relay/parameters.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "migpage/guest-memory.h"
#include "migpage/layout.h"

static const char *const wires[] = {"native", "poc", NULL};
static const char *const polls[] = {"adaptive", "busy", NULL};

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define DAY UINT64_C(86400)

static const SnprelayParameter table[] = {
    {"wire", SNPRELAY_PARAMETER_CHOICE, wires, 0, 0,
     "stream of an outgoing migration; an incoming one detects it"},
    {"max-bandwidth", SNPRELAY_PARAMETER_SIZE, NULL, 0, INT64_MAX, "bytes a second, 0: no limit"},
    {"window", SNPRELAY_PARAMETER_SIZE, NULL, 64 * KIB, KIB *MIB,
     "bytes kept until they are acknowledged"},
    {"connect-timeout", SNPRELAY_PARAMETER_SECONDS, NULL, 1, DAY,
     "for connecting and for the hello"},
    {"reconnect-timeout", SNPRELAY_PARAMETER_SECONDS, NULL, 0, DAY,
     "how long a broken connection is tried again, 0: not at all"},
    {"peer-timeout", SNPRELAY_PARAMETER_SECONDS, NULL, 1, DAY,
     "silence after which the peer counts as gone"},
    {"stall-warning", SNPRELAY_PARAMETER_MS, NULL, 0, DAY * 1000,
     "idle time of the guest that is reported, 0: never"},
    {"poll", SNPRELAY_PARAMETER_CHOICE, polls, 0, 0,
     "how to wait for the guest; busy never sleeps and wants a core of its own"},
    {"tls-creds", SNPRELAY_PARAMETER_STRING, NULL, 0, 0,
     "directory with ca-cert.pem and {server,client}-{cert,key}.pem; unset: no TLS"},
    {"tls-hostname", SNPRELAY_PARAMETER_STRING, NULL, 0, 0,
     "name to verify in the server's certificate; unset: the URI's host"},
    {"tls-authz", SNPRELAY_PARAMETER_STRING, NULL, 0, 0,
     "pattern for the client's distinguished name; unset: any that is verified"},
};

/* Where each one's value lies, in the table's order. */
static const size_t offsets[G_N_ELEMENTS(table)] = {
    offsetof(RelayParameters, wire),
    offsetof(RelayParameters, max_bandwidth),
    offsetof(RelayParameters, window),
    offsetof(RelayParameters, connect_timeout),
    offsetof(RelayParameters, reconnect_timeout),
    offsetof(RelayParameters, peer_timeout),
    offsetof(RelayParameters, stall_warning),
    offsetof(RelayParameters, poll),
    offsetof(RelayParameters, tls_creds),
    offsetof(RelayParameters, tls_hostname),
    offsetof(RelayParameters, tls_authz),
};

const SnprelayParameter *snprelay_parameters(size_t *count)
{
    *count = G_N_ELEMENTS(table);
    return table;
}

static gboolean is_text(const SnprelayParameter *parameter)
{
    return parameter->type == SNPRELAY_PARAMETER_STRING ||
           parameter->type == SNPRELAY_PARAMETER_CHOICE;
}

static char **text_of(const RelayParameters *parameters, size_t index)
{
    return (char **)((char *)parameters + offsets[index]);
}

static uint64_t *number_of(const RelayParameters *parameters, size_t index)
{
    return (uint64_t *)((char *)parameters + offsets[index]);
}

RelayParameters *relay_parameters_new(void)
{
    RelayParameters *parameters = g_new0(RelayParameters, 1);

    parameters->wire = g_strdup("native");
    parameters->window = 8 * MIB;
    parameters->connect_timeout = 10;
    parameters->reconnect_timeout = 30;
    parameters->peer_timeout = 30;
    parameters->stall_warning = 5000;
    parameters->poll = g_strdup("adaptive");
    parameters->tls_creds = g_strdup("");
    parameters->tls_hostname = g_strdup("");
    parameters->tls_authz = g_strdup("");
    return parameters;
}

RelayParameters *relay_parameters_copy(const RelayParameters *parameters)
{
    RelayParameters *copy = g_memdup2(parameters, sizeof(*parameters));

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        if (is_text(&table[i])) {
            *text_of(copy, i) = g_strdup(*text_of(parameters, i));
        }
    }
    return copy;
}

void relay_parameters_free(RelayParameters *parameters)
{
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        if (is_text(&table[i])) {
            g_free(*text_of(parameters, i));
        }
    }
    g_free(parameters);
}

static gboolean find_parameter(const char *name, size_t *index, GError **error)
{
    g_autoptr(GString) known = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        if (strcmp(name, table[i].name) == 0) {
            *index = i;
            return TRUE;
        }
        g_string_append_printf(known, "%s%s", i ? ", " : "", table[i].name);
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                "there is no parameter '%s'; there are %s", name, known->str);
    return FALSE;
}

static gboolean check_choice(const SnprelayParameter *parameter, const char *text, GError **error)
{
    g_autofree char *choices = NULL;

    if (g_strv_contains(parameter->choices, text)) {
        return TRUE;
    }
    choices = g_strjoinv(" or ", (char **)parameter->choices);
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                "parameter '%s' expects %s, not '%s'", parameter->name, choices, text);
    return FALSE;
}

static gboolean check_value(const SnprelayParameter *parameter, const SnprelayParameterValue *value,
                            GError **error)
{
    if (parameter->type == SNPRELAY_PARAMETER_CHOICE) {
        return check_choice(parameter, value->text ? value->text : "", error);
    }
    if (parameter->type == SNPRELAY_PARAMETER_STRING ||
        (value->number >= parameter->minimum && value->number <= parameter->maximum)) {
        return TRUE;
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                "parameter '%s' expects a number from %" PRIu64 " to %" PRIu64 ", not %" PRIu64,
                parameter->name, parameter->minimum, parameter->maximum, value->number);
    return FALSE;
}

gboolean snprelay_parameter_parse(const char *name, const char *text, SnprelayParameterValue *value,
                                  GError **error)
{
    const SnprelayParameter *parameter;
    size_t index;

    if (!find_parameter(name, &index, error)) {
        return FALSE;
    }
    parameter = &table[index];
    *value = (SnprelayParameterValue){.name = parameter->name};
    if (!is_text(parameter) &&
        !migpage_parse_number(text, parameter->type == SNPRELAY_PARAMETER_SIZE, &value->number)) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "parameter '%s' expects %s, not '%s'", name,
                    parameter->type == SNPRELAY_PARAMETER_SIZE
                        ? "a number of bytes (suffixes k, M, G, T)"
                    : parameter->type == SNPRELAY_PARAMETER_MS ? "a number of milliseconds"
                                                               : "a number of seconds",
                    text);
        return FALSE;
    }
    if (is_text(parameter)) {
        value->text = g_strdup(text);
    }
    if (!check_value(parameter, value, error)) {
        snprelay_parameter_clear(value);
        return FALSE;
    }
    return TRUE;
}

void snprelay_parameter_clear(SnprelayParameterValue *value)
{
    g_clear_pointer(&value->text, g_free);
}

gboolean relay_parameters_set(RelayParameters *parameters, const SnprelayParameterValue *values,
                              size_t count, gboolean running, GError **error)
{
    size_t index;

    for (size_t i = 0; i < count; i++) {
        if (!find_parameter(values[i].name, &index, error) ||
            !check_value(&table[index], &values[i], error)) {
            return FALSE;
        }
        if (running && number_of(parameters, index) != &parameters->max_bandwidth) {
            g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_STATE,
                        "parameter '%s' cannot be changed during a migration (max-bandwidth can)",
                        values[i].name);
            return FALSE;
        }
    }
    for (size_t i = 0; i < count; i++) {
        find_parameter(values[i].name, &index, NULL);
        if (is_text(&table[index])) {
            g_free(*text_of(parameters, index));
            *text_of(parameters, index) = g_strdup(values[i].text ? values[i].text : "");
        } else {
            *number_of(parameters, index) = values[i].number;
        }
    }
    return TRUE;
}

SnprelayParameterValue *relay_parameters_get(const RelayParameters *parameters)
{
    SnprelayParameterValue *values = g_new0(SnprelayParameterValue, G_N_ELEMENTS(table));

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        values[i].name = table[i].name;
        if (is_text(&table[i])) {
            values[i].text = g_strdup(*text_of(parameters, i));
        } else {
            values[i].number = *number_of(parameters, i);
        }
    }
    return values;
}

void snprelay_parameters_free(SnprelayParameterValue *values)
{
    for (size_t i = 0; values && i < G_N_ELEMENTS(table); i++) {
        snprelay_parameter_clear(&values[i]);
    }
    g_free(values);
}
