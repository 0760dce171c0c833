/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Splitting lines, their arguments, completion, and the text of lines that need no guest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "qmp/hmp-session.h"
#include "qmp/hmp.h"

static const char *const splits[][2] = {
    {"", ""},
    {"  ", ""},
    {"a b\tc ", "a|b|c"},
    {"\va\f\v", "a"},
    {"a \"b c\" d", "a|b c|d"},
    {"\"a\\\"b\\\\ \\n\"", "a\"b\\ \n"},
    {"a\"b\" c\\d", "a\"b\"|c\\d"},
    {"\"\"", ""},
    {"\"a", "!unterminated string: \"a"},
    {"\"a\\", "!unsupported escape code: '\\ '"},
    {"\"a\\x\"", "!unsupported escape code: '\\x'"},
    {"\"a\"b", "!a blank is missing after the string \"a\""},
};

static void test_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(splits); i++) {
        g_autoptr(GError) error = NULL;
        g_auto(GStrv) words = hmp_split(splits[i][0], &error);
        g_autofree char *joined = words ? g_strjoinv("|", words) : NULL;
        g_autofree char *complaint = error ? g_strconcat("!", error->message, NULL) : NULL;

        assert_string_equal(words ? joined : complaint, splits[i][1]);
    }
}

static void test_numbers(void **state)
{
    static const char *const wrong[] = {"",
                                        "0x",
                                        "-1",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "1M",
                                        "1a",
                                        "0xg",
                                        "0x0x1",
                                        "1.",
                                        "x1",
                                        "0x-1",
                                        "18446744073709551616",
                                        "0x10000000000000000"};
    guint64 number = 0;

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        assert_false(hmp_parse_number(wrong[i], &number));
    }
    assert_true(hmp_parse_number("4096", &number) && number == 4096);
    assert_true(hmp_parse_number("0x1000", &number) && number == 4096);
    assert_true(hmp_parse_number("0XfFf", &number) && number == 4095);
    assert_true(hmp_parse_number("0xffffffffffffffff", &number) && number == G_MAXUINT64);
    assert_true(hmp_parse_number("010", &number) && number == 10);
}

static void on_map(SnprelayMapRequest *request, uint64_t address, gpointer opaque)
{
    (void)opaque;
    snprelay_map_failed(request, g_error_new(SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE, "no page at %u",
                                             (unsigned)address));
}

static void on_output(const char *text, size_t length, gpointer opaque)
{
    g_string_append_len(opaque, text, length);
}

typedef struct Fixture {
    SnprelayRelay *relay;
    QmpContext *context;
    HmpSession *session;
    GString *output;
} Fixture;

static int set_up(void **state)
{
    static const SnprelayCallbacks callbacks = {.map_page = on_map};
    Fixture *f = g_new0(Fixture, 1);

    f->relay = snprelay_new(NULL, &callbacks, SNPRELAY_POLICY_DEFAULT, f);
    f->context = qmp_context_new(f->relay, NULL);
    f->output = g_string_new(NULL);
    f->session = hmp_session_new(f->context, "\n", on_output, f->output);
    g_string_truncate(f->output, 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    Fixture *f = *state;

    hmp_session_free(f->session);
    qmp_context_unref(f->context);
    snprelay_free(f->relay);
    g_string_free(f->output, TRUE);
    g_free(f);
    return 0;
}

/* What LINE prints, up to the prompt. */
static const char *run(Fixture *f, const char *line)
{
    g_string_truncate(f->output, 0);
    hmp_session_feed(f->session, line, strlen(line));
    hmp_session_feed(f->session, "\n", 1);
    while (!hmp_session_is_idle(f->session)) {
        g_main_context_iteration(NULL, TRUE);
    }
    assert_true(g_str_has_suffix(f->output->str, HMP_PROMPT));
    g_string_truncate(f->output, f->output->len - strlen(HMP_PROMPT));
    return f->output->str;
}

#define TRY(command) "\nTry \"help " command "\" for more information\n"

static const char *const lines[][2] = {
    {"", ""},
    {"  ", ""},
    {"foo", "unknown command: 'foo'\n"},
    {"info foo", "unknown command: 'info foo'\n"},
    {"help foo", "unknown command: 'foo'\n"},
    {"snp_migrate", "snp_migrate: uri expected" TRY("snp_migrate")},
    {"snp_migrate tcp:a:1", "snp_migrate: address expected" TRY("snp_migrate")},
    {"snp_migrate -z a 1", "snp_migrate: unsupported option -z" TRY("snp_migrate")},
    {"snp_migrate a 0x10k", "snp_migrate: address '0x10k' is not a number: give it in hexadecimal "
                            "with 0x, or in decimal" TRY("snp_migrate")},
    {"snp_migrate a 1 b",
     "snp_migrate: extraneous characters at the end of line: 'b'" TRY("snp_migrate")},
    {"snp_migrate \"a", "unterminated string: \"a" TRY("snp_migrate")},
    {"snp_migrate_cancel now",
     "snp_migrate_cancel: extraneous characters at the end of line: 'now'" TRY(
         "snp_migrate_cancel")},
    {"snp_migrate_cancel", ""},
    {"info snp_migrate", "Migration status: none\n"},
    {"info status", "snprelay status: running\n"},
    {"snp_migrate_recover", "snp_migrate_recover: uri expected" TRY("snp_migrate_recover")},
    {"snp_migrate_set_parameter window 1M", ""},
    {"snp_migrate_set_parameter tls-creds \"a b\"", ""},
};

static void test_lines(void **state)
{
    Fixture *f = *state;

    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        assert_string_equal(run(f, lines[i][0]), lines[i][1]);
    }
    assert_non_null(strstr(run(f, "info snp_migrate_parameters"), "window: 1048576 bytes\n"));
    assert_non_null(strstr(run(f, "info snp_migrate_parameters"), "tls-creds: 'a b'\n"));
    assert_non_null(strstr(run(f, "help"), "snp_migrate [-d] [-r] [-f] uri address -- "));
    assert_non_null(strstr(run(f, "? snp_migrate"), "-d: return at once"));
    assert_non_null(strstr(run(f, "info"), "info snp_page -- "));
}

/* What the relay refuses is printed, with -d and without. */
static void test_refused(void **state)
{
    static const char *const wrong[] = {
        "snp_migrate tcp:127.0.0.1:1 4096",    "snp_migrate -d tcp:127.0.0.1:1 4096",
        "snp_migrate -df tcp:127.0.0.1:1 0x1", "snp_migrate -r",
        "snp_migrate_incoming foo:bar 0x1000", "snp_migrate_pause",
        "snp_migrate_recover tcp:127.0.0.1:0", "snp_migrate_set_parameter foo 1",
        "snp_migrate_set_parameter window x",  "info snp_page"};
    Fixture *f = *state;

    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        const char *text = run(f, wrong[i]);

        assert_true(g_str_has_prefix(text, "Error: "));
        assert_true(strchr(text, '\n') == text + strlen(text) - 1);
    }
}

static void test_line_ends(void **state)
{
    Fixture *f = *state;
    g_autofree char *large = g_strnfill(HMP_MAX_LINE + 1, 'a');

    hmp_session_feed(f->session, "\r\n\n\r", 4);
    assert_string_equal(f->output->str, HMP_PROMPT HMP_PROMPT HMP_PROMPT);
    g_string_truncate(f->output, 0);
    hmp_session_feed(f->session, "foo", 3);
    assert_string_equal(f->output->str, "");
    hmp_session_feed_end(f->session);
    assert_string_equal(f->output->str, "unknown command: 'foo'\n" HMP_PROMPT);
    assert_non_null(strstr(run(f, large), "too long"));
    assert_string_equal(run(f, "bar"), "unknown command: 'bar'\n");
}

static const char *const completions[][2] = {
    {"snp_migrate_s", "snp_migrate_set_parameter"},
    {"info s", "snp_migrate snp_migrate_parameters snp_page status"},
    {"  info snp_p", "snp_page"},
    {"help q", "quit"},
    {"snp_migrate_set_parameter tls-h", "tls-hostname"},
    {"snp_migrate_set_parameter wire ", "native poc"},
    {"snp_migrate_set_parameter window ", ""},
    {"foo b", ""},
};

static void test_completion(void **state)
{
    g_auto(GStrv) all = hmp_complete("");

    (void)state;
    assert_true(g_strv_contains((const char *const *)all, "snp_migrate"));
    for (size_t i = 0; i < G_N_ELEMENTS(completions); i++) {
        g_auto(GStrv) found = hmp_complete(completions[i][0]);
        g_autofree char *joined = g_strjoinv(" ", found);

        assert_string_equal(joined, completions[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test_setup_teardown(test_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_line_ends, set_up, tear_down),
        cmocka_unit_test(test_completion),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
