/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Boundaries, errors and recovery of the JSON stream; every input is also fed cut at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "qmp/json-stream.h"
#include "qmp/json-string.h"

/* Messages and errors, one a line. */
static void on_message(JsonNode *message, GError *error, gpointer opaque)
{
    GString *seen = opaque;
    g_autofree char *text = message ? qmp_json_to_line(message) : NULL;

    g_string_append_printf(seen, "%s\n", message ? text : error->message);
    g_clear_pointer(&message, json_node_unref);
    g_clear_error(&error);
}

static char *feed(const char *first, size_t n_first, const char *second, size_t n_second)
{
    GString *seen = g_string_new(NULL);
    g_autoptr(QmpJsonStream) stream = qmp_json_stream_new(on_message, seen);

    qmp_json_stream_feed(stream, first, n_first);
    qmp_json_stream_feed(stream, second, n_second);
    return g_string_free(seen, FALSE);
}

#define BAD "JSON parse error, "

static const struct {
    const char *input, *expected;
} cases[] = {
    {"{}", "{}\n"},
    {" {\"a\" : 1 ,\"b\":[ ]}", "{\"a\": 1, \"b\": []}\n"},
    {"{}{}", "{}\n{}\n"},
    {"{'it\\'s': 'a \"b\"'}", "{\"it's\": \"a \\\"b\\\"\"}\n"},
    {"[1, -0, 2.5, 1e17, 1e-7, 3.0]", "[1, 0, 2.5, 1e+17, 9.9999999999999995e-08, 3]\n"},
    {"[9223372036854775807, 9223372036854775808]", "[9223372036854775807, 9223372036854775808]\n"},
    {"[18446744073709551615, 18446744073709551616, -9223372036854775809]",
     "[18446744073709551615, 1.8446744073709552e+19, -9.2233720368547758e+18]\n"},
    {"{'18446744073709551615': 1}", "{\"18446744073709551615\": 1}\n"},
    {"{18446744073709551615: 1}", BAD "key is not a string in object\n"},
    {"[true,false,null]", "[true, false, null]\n"},
    {"[\"\\u00e9 \xc3\xa9 \\ud83d\\ude00 \\/\"]", "[\"\\u00E9 \\u00E9 \\uD83D\\uDE00 /\"]\n"},
    {"'\\u001f\\u007f\\n'", "\"\\u001F\\u007f\\n\"\n"},
    {"null\n", "null\n"},
    {"3 4 ", "3\n4\n"},
    {"{]", BAD "expecting value\n"},
    {"}", BAD "expecting value\n"},
    {"\xff", BAD "stray '\\uFFFD'\n"},
    {"\xff\xfe", BAD "stray '\\uFFFD'\n" BAD "stray '\\uFFFD'\n"},
    {"\xff  a\t\"b'{}", BAD "stray '\\uFFFD'\n{}\n"},
    {"{\xff", BAD "stray '\\uFFFD'\n"},
    {"{\x01", BAD "stray '\x01'\n"},
    {"{'bad \xff", BAD "stray ''bad \\uFFFD'\n"},
    {"{'a': 'b', 'id': '\n", BAD "stray ''\n'\n"},
    {"%p\n", BAD "stray '%'\n"},
    {"01\n", BAD "stray '01'\n"},
    {"-a\n", BAD "stray '-a'\n"},
    {"1.x\n", BAD "stray '1.x'\n"},
    {"foo ", BAD "invalid keyword 'foo'\n"},
    {"{'a':1,}", BAD "expecting value\n"},
    {"{'a' 1}", BAD "missing : in object pair\n"},
    {"{1:1}", BAD "key is not a string in object\n"},
    {"{'a':1 'b'}", BAD "expected separator in dict\n"},
    {"[1 2]", BAD "expected separator in list\n"},
    {"{'a':1,'a':2}", BAD "duplicate key\n"},
    {"'\\z'", BAD "invalid escape sequence in string\n"},
    {"'\\ud800'", BAD "\\ud800 is not a valid Unicode character\n"},
    {"'\\u0000'", BAD "\\u0000 is not a valid Unicode character\n"},
    {"'\xed\xa0\x80'", BAD "invalid UTF-8 sequence in string\n"},
    {"'\xc0\x80'", BAD "invalid UTF-8 sequence in string\n"},
    {"1e999 ", BAD "number is too large\n"},
};

/* Errors tell stray bytes as valid UTF-8; in the table they are written as in an answer. */
static void assert_seen(const char *seen, const char *expected, const char *input)
{
    g_autofree char *escaped = NULL;
    g_auto(GStrv) parts = g_strsplit(seen, "\xef\xbf\xbd", -1);

    escaped = g_strjoinv("\\uFFFD", parts);
    if (strcmp(escaped, expected) != 0) {
        fail_msg("input '%s': '%s' is not '%s'", input, escaped, expected);
    }
}

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        size_t length = strlen(cases[i].input);

        for (size_t cut = 0; cut <= length; cut++) {
            g_autofree char *seen = feed(cases[i].input, cut, cases[i].input + cut, length - cut);

            assert_seen(seen, cases[i].expected, cases[i].input);
        }
    }
}

/* After anything bad, 0xFF brings the stream back: what follows is understood. */
static void test_recovery(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *input = g_strconcat(cases[i].input, "\xff{'understood':1}", NULL);
        size_t length = strlen(input);

        for (size_t cut = 0; cut <= length; cut++) {
            g_autofree char *seen = feed(input, cut, input + cut, length - cut);

            assert_true(g_str_has_suffix(seen, "\n{\"understood\": 1}\n"));
        }
    }
}

/* Without the help of 0xFF, too, where the error tells where to begin anew. */
static void test_next_line(void **state)
{
    static const char *const inputs[] = {"{]\n", "{\xff", "{\x01", "{'bad \xff",      "{'id':'\n",
                                         "%p",   "null",  "{}",    "{'execute':true}"};

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(inputs); i++) {
        g_autofree char *seen =
            feed(inputs[i], strlen(inputs[i]), "{ 'next': 1 }", strlen("{ 'next': 1 }"));

        assert_true(g_str_has_suffix(seen, "\n{\"next\": 1}\n"));
    }
}

static char *repeat(const char *what, size_t times)
{
    GString *text = g_string_new(NULL);

    while (times--) {
        g_string_append(text, what);
    }
    return g_string_free(text, FALSE);
}

static void test_limits(void **state)
{
    g_autofree char *open = repeat("[", QMP_JSON_MAX_NESTING);
    g_autofree char *close = repeat("]", QMP_JSON_MAX_NESTING);
    g_autofree char *many = repeat("1,", QMP_JSON_MAX_TOKENS / 2 + 1);
    g_autofree char *large = repeat("a", QMP_JSON_MAX_LENGTH + 1);
    g_autofree char *deep_enough = feed(open, strlen(open), close, strlen(close));
    g_autofree char *too_deep = feed(open, strlen(open), "[", 1);
    g_autofree char *too_many = feed("[", 1, many, QMP_JSON_MAX_TOKENS);
    g_autofree char *too_large = feed("{\"", 2, large, QMP_JSON_MAX_LENGTH - 1);

    (void)state;
    assert_true(g_str_has_prefix(deep_enough, "[[["));
    assert_string_equal(too_deep, "JSON nesting depth limit exceeded\n");
    assert_string_equal(too_many, "JSON token count limit exceeded\n");
    assert_string_equal(too_large, "JSON token size limit exceeded\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_recovery),
        cmocka_unit_test(test_next_line),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
