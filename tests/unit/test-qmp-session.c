/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A QMP session: bytes in, lines out. The relay is a real one without a guest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "qmp/qmp-session.h"

typedef struct Fixture {
    SnprelayRelay *relay;
    QmpContext *context;
    QmpSession *session;
    GString *output;
    SnprelayMapRequest *mapping; /* asked for and not answered */
    gboolean quit;
} Fixture;

static void on_map(SnprelayMapRequest *request, uint64_t address, gpointer opaque)
{
    (void)address;
    ((Fixture *)opaque)->mapping = request;
}

static void on_quit(gpointer opaque)
{
    ((Fixture *)opaque)->quit = TRUE;
}

static void on_output(const char *text, size_t length, gpointer opaque)
{
    g_string_append_len(((Fixture *)opaque)->output, text, length);
}

static void feed(Fixture *f, const char *text)
{
    qmp_session_feed(f->session, text, strlen(text));
}

/* Checks all output since the last call. */
static void expect(Fixture *f, const char *expected)
{
    assert_string_equal(f->output->str, expected);
    g_string_truncate(f->output, 0);
}

static int set_up(void **state)
{
    static const SnprelayCallbacks callbacks = {.map_page = on_map};
    Fixture *f = g_new0(Fixture, 1);
    QmpHooks hooks = {.quit = on_quit, .opaque = f};

    f->relay = snprelay_new(NULL, &callbacks, SNPRELAY_POLICY_DEFAULT, f);
    f->context = qmp_context_new(f->relay, &hooks);
    f->output = g_string_new(NULL);
    f->session = qmp_session_new(f->context, on_output, f);
    *state = f;
    return 0;
}

static int set_up_negotiated(void **state)
{
    Fixture *f;

    set_up(state);
    f = *state;
    feed(f, "{'execute':'qmp_capabilities'}");
    g_string_truncate(f->output, 0);
    return 0;
}

static int tear_down(void **state)
{
    Fixture *f = *state;

    g_clear_pointer(&f->session, qmp_session_free);
    qmp_context_unref(f->context);
    snprelay_free(f->relay);
    g_string_free(f->output, TRUE);
    g_free(f);
    return 0;
}

#define GENERIC(text) "{\"error\": {\"class\": \"GenericError\", \"desc\": \"" text "\"}}\r\n"
#define NOT_FOUND(text) "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"" text "\"}}\r\n"
#define OK "{\"return\": {}}\r\n"

static void test_negotiation(void **state)
{
    Fixture *f = *state;

    assert_true(
        g_str_has_prefix(f->output->str, "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": "));
    assert_true(g_str_has_suffix(f->output->str, "}, \"capabilities\": []}}\r\n"));
    g_string_truncate(f->output, 0);
    feed(f, "{'execute':'query-version'}");
    expect(f, NOT_FOUND("Expecting capabilities negotiation with 'qmp_capabilities'"));
    feed(f, "{'execute':'qmp_capabilities','arguments':{'enable':['oob']}}");
    expect(f, GENERIC("Capability oob not available"));
    feed(f, "{'execute':'qmp_capabilities','arguments':{'enable':['x']}}");
    expect(f, GENERIC("Parameter 'enable[0]' does not accept value 'x'"));
    feed(f, "{'execute':'qmp_capabilities','arguments':{'enable':[]},'id':[1]}");
    expect(f, "{\"return\": {}, \"id\": [1]}\r\n");
    feed(f, "{'execute':'qmp_capabilities'}");
    expect(f, NOT_FOUND("Capabilities negotiation is already complete, command ignored"));
}

/* The input, and all that is answered. */
static const char *const refused[][2] = {
    {"null\n", GENERIC("QMP input must be a JSON object")},
    {"[]", GENERIC("QMP input must be a JSON object")},
    {"{}", GENERIC("QMP input lacks member 'execute'")},
    {"{'id':3}", "{\"id\": 3, \"error\": {\"class\": \"GenericError\", \"desc\": "
                 "\"QMP input lacks member 'execute'\"}}\r\n"},
    {"{'execute':true}", GENERIC("QMP input member 'execute' must be a string")},
    {"{'execute':'x','arguments':[]}", GENERIC("QMP input member 'arguments' must be an object")},
    {"{'execute':'x','extra':1}", GENERIC("QMP input member 'extra' is unexpected")},
    {"{'exec-oob':'x'}", GENERIC("QMP input member 'exec-oob' is unexpected")},
    {"{'execute':'x'}", NOT_FOUND("The command x has not been found")},
    {"{]", GENERIC("JSON parse error, expecting value")},
    {"{'execute':'query-name','arguments':{'x':1}}", GENERIC("Parameter 'x' is unexpected")},
    {"{'execute':'snp-migrate','arguments':{'address':0}}", GENERIC("Parameter 'uri' is missing")},
    {"{'execute':'snp_migrate','arguments':{'uri':'x'}}",
     GENERIC("Parameter 'address' is missing")},
    {"{'execute':'snp-migrate','arguments':{'uri':3,'address':0}}",
     GENERIC("Invalid parameter type for 'uri', expected: string")},
    {"{'execute':'snp-migrate','arguments':{'uri':'x','address':'0'}}",
     GENERIC("Invalid parameter type for 'address', expected: integer")},
    {"{'execute':'snp-migrate','arguments':{'uri':'x','address':1.5}}",
     GENERIC("Invalid parameter type for 'address', expected: integer")},
    {"{'execute':'snp-migrate','arguments':{'uri':'x','address':-1}}",
     GENERIC("Parameter 'address' expects a number from 0 to 9223372036854775807, not -1")},
    {"{'execute':'snp-migrate','arguments':{'uri':'x','address':18446744073709551615}}",
     GENERIC("Parameter 'address' expects a number below 2^63")},
    {"{'execute':'snp-migrate','arguments':{'uri':'x','address':0,'resume':1}}",
     GENERIC("Invalid parameter type for 'resume', expected: boolean")},
    {"{'execute':'snp-migrate-set-parameters','arguments':{'wire':'x'}}",
     GENERIC("Parameter 'wire' does not accept value 'x'")},
    {"{'execute':'snp-migrate-set-parameters','arguments':{'peer-timeout':4294967296}}",
     GENERIC("Parameter 'peer-timeout' expects a number from 0 to 4294967295, not 4294967296")},
    {"{'execute':'getfd','arguments':{'fdname':'x'}}",
     GENERIC("No file descriptor supplied via SCM_RIGHTS")},
    {"{'execute':'human-monitor-command'}", GENERIC("Parameter 'command-line' is missing")},
};

static void test_refused(void **state)
{
    Fixture *f = *state;

    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        feed(f, refused[i][0]);
        expect(f, refused[i][1]);
        feed(f, "{'execute':'query-name'}");
        expect(f, OK);
    }
}

static void test_answers(void **state)
{
    Fixture *f = *state;

    feed(f, "{'execute':'query-name','id':'cookie'}{'execute':'query-snp-migrate','id':null}");
    expect(f, "{\"return\": {}, \"id\": \"cookie\"}\r\n"
              "{\"return\": {\"status\": \"none\"}, \"id\": null}\r\n");
    feed(f, "{'execute':'human-monitor-command','arguments':{'command-line':'foo'}}");
    expect(f, "{\"return\": \"unknown command: 'foo'\\r\\n\"}\r\n");
    feed(f, "{'execute':'snp-migrate-set-parameters','arguments':{'wire':'poc','window':65536}}");
    expect(f, OK);
    feed(f, "{'execute':'human-monitor-command','arguments':"
            "{'command-line':'info snp_migrate_parameters'}}");
    assert_non_null(strstr(f->output->str, "wire: poc\\r\\n"));
    assert_non_null(strstr(f->output->str, "window: 65536 bytes\\r\\n"));
    g_string_truncate(f->output, 0);
    feed(f, "{'execute':'quit'}");
    expect(f, OK);
    assert_true(f->quit);
}

/* A command waits for its answer, those behind it wait for it, and other sessions do not. */
static void test_later(void **state)
{
    Fixture *f = *state;
    QmpSession *first = f->session;

    feed(f, "{'execute':'snp-migrate','arguments':{'uri':'tcp:127.0.0.1:1','address':4096},'id':1}"
            "{'execute':'query-name','id':2}");
    expect(f, "");
    assert_non_null(f->mapping);
    assert_false(qmp_session_is_idle(first));

    f->session = qmp_session_new(f->context, on_output, f);
    feed(f, "{'execute':'qmp_capabilities'}");
    assert_true(g_str_has_suffix(f->output->str, OK));
    qmp_session_free(f->session);
    g_string_truncate(f->output, 0);

    f->session = first;
    snprelay_map_failed(f->mapping, g_error_new(SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE, "no RAM"));
    while (f->output->len == 0) {
        g_main_context_iteration(NULL, TRUE);
    }
    assert_true(g_str_has_prefix(f->output->str, "{\"id\": 1, \"error\": "));
    assert_true(g_str_has_suffix(f->output->str, "{\"return\": {}, \"id\": 2}\r\n"));
    assert_true(qmp_session_is_idle(first));
}

/* A client that hung up is answered by nobody. */
static void test_hang_up(void **state)
{
    Fixture *f = *state;

    feed(f, "{'execute':'snp-migrate','arguments':{'uri':'tcp:127.0.0.1:1','address':4096}}");
    assert_non_null(f->mapping);
    g_clear_pointer(&f->session, qmp_session_free);
    snprelay_map_failed(f->mapping, g_error_new(SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE, "no RAM"));
    while (g_main_context_iteration(NULL, FALSE)) {
    }
    expect(f, "");
}

static void feed_fd(Fixture *f)
{
    GArray *fds = qmp_fds_new();
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    g_array_append_val(fds, fd);
    qmp_session_feed_fds(f->session, fds);
}

/*
 * A descriptor goes to the command that takes it, also when it came with a byte of its own before.
 */
static void test_descriptors(void **state)
{
    Fixture *f = *state;

    feed_fd(f);
    feed(f, " ");
    feed(f, "{'execute':'query-name'}{'execute':'getfd','arguments':{'fdname':'a'}}");
    expect(f, OK OK);
    feed(f, "{'execute':'getfd','arguments':{'fdname':'a'}}");
    expect(f, GENERIC("No file descriptor supplied via SCM_RIGHTS"));
    feed(f, "{'execute':'closefd','arguments':{'fdname':'a'}}");
    expect(f, OK);
    feed(f, "{'execute':'closefd','arguments':{'fdname':'a'}}");
    assert_non_null(strstr(f->output->str, "GenericError"));
    g_string_truncate(f->output, 0);
    feed_fd(f);
    feed(f, "{'execute':'getfd','arguments':{'fdname':'1a'}}");
    assert_non_null(strstr(f->output->str, "GenericError"));
}

static void test_full(void **state)
{
    Fixture *f = *state;

    feed(f, "{'execute':'snp-migrate','arguments':{'uri':'tcp:127.0.0.1:1','address':4096}}");
    assert_false(qmp_session_is_full(f->session));
    feed(f, "{}{}{}{}{}{}{}{}");
    assert_true(qmp_session_is_full(f->session));
    snprelay_map_failed(f->mapping, g_error_new(SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE, "no RAM"));
    while (qmp_session_is_full(f->session)) {
        g_main_context_iteration(NULL, TRUE);
    }
}

static void test_events(void **state)
{
    Fixture *f = *state;
    JsonObject *data = json_object_new();
    g_autoptr(JsonNode) event = NULL;

    json_object_set_string_member(data, "status", "setup");
    event = qmp_event_new("SNP_MIGRATION", data);
    g_string_truncate(f->output, 0);
    qmp_session_send_event(f->session, event);
    expect(f, ""); /* not before the negotiation */
    feed(f, "{'execute':'qmp_capabilities'}");
    expect(f, OK);
    qmp_session_send_event(f->session, event);
    assert_true(g_str_has_prefix(f->output->str, "{\"timestamp\": {\"seconds\": "));
    assert_true(g_str_has_suffix(
        f->output->str, "}, \"event\": \"SNP_MIGRATION\", \"data\": {\"status\": \"setup\"}}\r\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_negotiation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up_negotiated, tear_down),
        cmocka_unit_test_setup_teardown(test_answers, set_up_negotiated, tear_down),
        cmocka_unit_test_setup_teardown(test_later, set_up_negotiated, tear_down),
        cmocka_unit_test_setup_teardown(test_hang_up, set_up_negotiated, tear_down),
        cmocka_unit_test_setup_teardown(test_descriptors, set_up_negotiated, tear_down),
        cmocka_unit_test_setup_teardown(test_full, set_up_negotiated, tear_down),
        cmocka_unit_test_setup_teardown(test_events, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
