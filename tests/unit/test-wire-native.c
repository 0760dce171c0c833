/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The native stream's frames, byte by byte, and everything that a decoder must refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/wire-native.h"
#include "snprelay/snprelay.h"

static const guint8 hello_bytes[NATIVE_HEADER_SIZE + NATIVE_HELLO_SIZE] = {
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x38, /* header: HELLO, 56 bytes */
    0x00, 0x01, 0x00, 0x01,                         /* versions 1 to 1 */
    0x00, 0x01, 0x00, 0x01,                         /* layout 1, one page */
    0x00, 0x00, 0x08, 0x00,                         /* blocks of 2048 bytes */
    0x00, 0x00, 0x10, 0x00,                         /* window of 4096 blocks */
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* no features */
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, /* session */
    0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, /* */
    0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, /* position */
    0x02,                                           /* RESUME */
    0x00, 0x00, 0x1e, 0x00, 0x00, 0x00, 0x00,       /* reserved, peer-timeout 30 s, reserved */
};

static NativeHello example_hello(void)
{
    NativeHello hello = {.version_min = 1,
                         .version_max = 1,
                         .window = 4096,
                         .position = UINT64_C(0x0123456789abcdef),
                         .kind = NATIVE_KIND_RESUME,
                         .patience = 30};

    for (int i = 0; i < NATIVE_SESSION_SIZE; i++) {
        hello.session[i] = (guint8)(i * 0x11);
    }
    return hello;
}

/* ---- Encoding -------------------------------------------------------------------------------------- */

/* What an encoder wrote, and that it wrote nothing behind it. */
static void assert_frame(const guint8 *out, size_t written, const void *expected, size_t length)
{
    assert_int_equal(written, length);
    assert_memory_equal(out, expected, length);
    for (size_t i = length; i < NATIVE_FRAME_MAX; i++) {
        assert_int_equal(out[i], 0x5a);
    }
}

#define ASSERT_FRAME(call, ...)                                                                    \
    do {                                                                                           \
        static const guint8 expected_[] = {__VA_ARGS__};                                           \
        size_t written_;                                                                           \
        memset(out, 0x5a, sizeof(out));                                                            \
        written_ = (call);                                                                         \
        assert_frame(out, written_, expected_, sizeof(expected_));                                 \
    } while (0)

static void test_encoding(void **state)
{
    NativeHello hello = example_hello();
    guint8 out[NATIVE_FRAME_MAX];

    (void)state;
    assert_memory_equal(NATIVE_MAGIC, "SNPRELAY", NATIVE_MAGIC_SIZE);
    memset(out, 0x5a, sizeof(out));
    assert_frame(out, relay_native_encode_hello(out, &hello), hello_bytes, sizeof(hello_bytes));
    ASSERT_FRAME(relay_native_encode_header(out, NATIVE_KEEPALIVE, 0), 6, 0, 0, 0, 0, 0, 0, 0);
    ASSERT_FRAME(relay_native_encode_header(out, NATIVE_PAUSE, 0), 8, 0, 0, 0, 0, 0, 0, 0);
    ASSERT_FRAME(relay_native_encode_data_header(out, 0x0102030405060708, 1), 2, 0, 0, 0, 0, 0,
                 0x08, 0x08, 1, 2, 3, 4, 5, 6, 7, 8);
    ASSERT_FRAME(relay_native_encode_data_header(out, 0, 64), 2, 0, 0, 0, 0, 2, 0, 0x08, 0, 0, 0, 0,
                 0, 0, 0, 0);
    ASSERT_FRAME(relay_native_encode_ack(out, 0x1122334455667788), 3, 0, 0, 0, 0, 0, 0, 8, 0x11,
                 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88);
    ASSERT_FRAME(relay_native_encode_end(out, NATIVE_END, 2, 0xfedcba9876543210), 4, 0, 0, 0, 0, 0,
                 0, 16, 0, 0, 0, 0, 0, 0, 0, 2, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10);
    ASSERT_FRAME(relay_native_encode_end(out, NATIVE_DONE, 0, 1), 5, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0,
                 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
    ASSERT_FRAME(relay_native_encode_error(out, NATIVE_REASON_REFUSED, "no"), 7, 0, 0, 0, 0, 0, 0,
                 4, 0, 3, 'n', 'o');
    ASSERT_FRAME(relay_native_encode_error(out, NATIVE_REASON_CANCELLED, ""), 7, 0, 0, 0, 0, 0, 0,
                 2, 0, 2);
}

static void test_error_is_cut(void **state)
{
    g_autofree char *text = g_strnfill(3000, 'x');
    guint8 out[NATIVE_FRAME_MAX + 1];
    NativeHeader header;

    (void)state;
    out[NATIVE_FRAME_MAX] = 0x5a;
    assert_int_equal(relay_native_encode_error(out, NATIVE_REASON_FAILED, text), NATIVE_FRAME_MAX);
    assert_int_equal(out[NATIVE_FRAME_MAX], 0x5a);
    assert_true(relay_native_decode_header(out, &header, NULL));
    assert_int_equal(header.length, 2 + NATIVE_ERROR_TEXT_MAX);
}

/* ---- Headers --------------------------------------------------------------------------------------- */

static gboolean is_right_length(unsigned type, uint64_t length)
{
    switch (type) {
    case 1:
        return length >= 56 && length <= 4096;
    case 2:
        return length >= 8 + 2048 && length <= 8 + 64 * 2048 && (length - 8) % 2048 == 0;
    case 3:
        return length == 8;
    case 4:
    case 5:
        return length == 16;
    case 7:
        return length >= 2 && length <= 2 + 1024;
    default:
        return length == 0;
    }
}

static void check_header(unsigned type, guint32 length)
{
    const guint8 in[NATIVE_HEADER_SIZE] = {(guint8)type,
                                           0,
                                           0,
                                           0,
                                           (guint8)(length >> 24),
                                           (guint8)(length >> 16),
                                           (guint8)(length >> 8),
                                           (guint8)length};
    gboolean fine = type >= 1 && type <= 8 && is_right_length(type, length);
    g_autoptr(GError) error = NULL;
    NativeHeader header;

    if (relay_native_decode_header(in, &header, &error) != fine) {
        fail_msg("type %u, length %u", type, length);
    }
    if (fine) {
        assert_int_equal(header.type, type);
        assert_int_equal(header.length, length);
    } else {
        assert_true(g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER));
    }
}

static void test_header_lengths(void **state)
{
    static const guint32 large[] = {131080,     131079,     131081,     133128,    1 << 20,
                                    0x7fffffff, 0x80000000, 0xfffff808, 0xffffffff};

    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        for (guint32 length = 0; length < 4200; length += type < 10 ? 1 : 97) {
            check_header(type, length);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(large); i++) {
            check_header(type, large[i]);
        }
        for (guint32 blocks = 1; blocks < 70; blocks++) {
            check_header(type, 8 + blocks * 2048);
        }
    }
}

static void test_header_flags(void **state)
{
    (void)state;
    for (int at = 1; at < 4; at++) {
        for (int bit = 0; bit < 8; bit++) {
            guint8 in[NATIVE_HEADER_SIZE] = {NATIVE_KEEPALIVE};
            g_autoptr(GError) error = NULL;
            NativeHeader header;

            in[at] = (guint8)(1 << bit);
            assert_false(relay_native_decode_header(in, &header, &error));
            assert_non_null(strstr(error->message, "flags"));
        }
    }
}

/* ---- Hello ----------------------------------------------------------------------------------------- */

/* A hello's payload, room for extensions behind it, of exactly the right size: reading past it is seen by sanitizers. */
static guint8 *make_payload(const guint8 *extensions, size_t length)
{
    guint8 *payload = g_malloc(NATIVE_HELLO_SIZE + length);

    memcpy(payload, hello_bytes + NATIVE_HEADER_SIZE, NATIVE_HELLO_SIZE);
    if (length) {
        memcpy(payload + NATIVE_HELLO_SIZE, extensions, length);
    }
    return payload;
}

static void test_hello(void **state)
{
    NativeHello expected = example_hello(), hello;
    g_autofree guint8 *payload = make_payload(NULL, 0);
    g_autoptr(GError) error = NULL;

    (void)state;
    memset(&hello, 0xff, sizeof(hello));
    assert_true(relay_native_decode_hello(payload, NATIVE_HELLO_SIZE, &hello, &error));
    assert_int_equal(hello.version_min, 1);
    assert_int_equal(hello.version_max, 1);
    assert_int_equal(hello.window, 4096);
    assert_int_equal(hello.kind, NATIVE_KIND_RESUME);
    assert_true(hello.position == expected.position);
    assert_memory_equal(hello.session, expected.session, NATIVE_SESSION_SIZE);
    for (guint8 kind = 1; kind <= 3; kind++) {
        payload[48] = kind;
        assert_true(relay_native_decode_hello(payload, NATIVE_HELLO_SIZE, &hello, &error));
        assert_int_equal(hello.kind, kind);
    }
}

/* One place of the payload changed, which must be refused with WORDS. */
static void must_refuse(size_t offset, guint8 value, const char *words)
{
    g_autofree guint8 *payload = make_payload(NULL, 0);
    g_autoptr(GError) error = NULL;
    NativeHello hello;

    payload[offset] = value;
    if (relay_native_decode_hello(payload, NATIVE_HELLO_SIZE, &hello, &error)) {
        fail_msg("byte %zu = %u was accepted", offset, value);
    }
    assert_true(g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER));
    if (!strstr(error->message, words)) {
        fail_msg("byte %zu = %u: '%s' is not in: %s", offset, value, words, error->message);
    }
}

static void test_hello_refusals(void **state)
{
    (void)state;
    must_refuse(0, 1, "no common version");   /* 257 to 1 */
    must_refuse(1, 2, "versions 2 to 1");     /* 2 to 1 */
    must_refuse(3, 0, "version 1 is spoken"); /* 1 to 0 */
    for (size_t byte = 4; byte < 12; byte++) {
        must_refuse(byte, 3, "page layout"); /* layout, pages, block size */
    }
    for (size_t byte = 16; byte < 24; byte++) {
        for (int bit = 0; bit < 8; bit++) {
            must_refuse(byte, (guint8)(1 << bit), "features 0x");
        }
    }
    must_refuse(14, 0, "window 0");
    must_refuse(48, 0, "kind 0");
    must_refuse(48, 4, "kind 4");
    must_refuse(48, 255, "kind 255");
    for (size_t byte = 49; byte < 56; byte++) {
        if (byte == 50 || byte == 51) {
            continue; /* the peer-timeout: any value */
        }
        must_refuse(byte, 1, "malformed");
        must_refuse(byte, 0x80, "malformed");
    }
}

static void test_versions(void **state)
{
    static const struct {
        guint16 min, max;
        gboolean fine;
    } cases[] = {{1, 1, TRUE},  {0, 1, TRUE},  {1, 2, TRUE},      {0, 65535, TRUE}, {2, 3, FALSE},
                 {0, 0, FALSE}, {2, 1, FALSE}, {65535, 0, FALSE}, {2, 65535, FALSE}};

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        NativeHello hello = {.version_min = cases[i].min, .version_max = cases[i].max};
        g_autofree char *range = g_strdup_printf("versions %u to %u", cases[i].min, cases[i].max);
        g_autoptr(GError) error = NULL;
        guint16 version = 0;

        assert_int_equal(relay_native_choose_version(&hello, &version, &error), cases[i].fine);
        assert_int_equal(version, cases[i].fine ? 1 : 0);
        if (error) {
            assert_non_null(strstr(error->message, range));
            assert_non_null(strstr(error->message, "version 1 is spoken here"));
        }
    }
}

/* A later version may mean something else by everything behind the versions. */
static void test_version_is_judged_first(void **state)
{
    g_autofree guint8 *payload = make_payload(NULL, 0);
    g_autoptr(GError) error = NULL;
    NativeHello hello;

    (void)state;
    memset(payload, 0xff, NATIVE_HELLO_SIZE);
    assert_false(relay_native_decode_hello(payload, NATIVE_HELLO_SIZE, &hello, &error));
    assert_non_null(strstr(error->message, "no common version"));
}

static void test_extensions(void **state)
{
    static const struct {
        size_t length;
        const char *words; /* of the refusal; NULL: accepted */
        guint8 bytes[16];
    } cases[] = {
        {4, NULL, {0, 1, 0, 0}},
        {8, NULL, {0, 1, 0, 4, 'a', 'b', 'c', 'd'}},
        {4, NULL, {0x7f, 0xff, 0, 0}},
        {9, NULL, {0, 1, 0, 1, 'x', 0, 1, 0, 0}},
        {1, "past its end", {0}},
        {3, "past its end", {0, 1, 0}},
        {4, "past its end", {0, 1, 0, 1}},
        {4, "past its end", {0, 1, 0xff, 0xff}},
        {8, "past its end", {0, 1, 0, 5, 'a', 'b', 'c', 'd'}},
        {7, "past its end", {0, 1, 0, 2, 'a', 'b', 'c'}},
        {4, "extension 0x8000", {0x80, 0, 0, 0}},
        {4, "extension 0xffff", {0xff, 0xff, 0, 0}},
        {9, "extension 0x8001", {0, 1, 0, 1, 'x', 0x80, 1, 0, 0}},
    };

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree guint8 *payload = make_payload(cases[i].bytes, cases[i].length);
        size_t length = NATIVE_HELLO_SIZE + cases[i].length;
        g_autoptr(GError) error = NULL;
        NativeHello hello;

        assert_int_equal(relay_native_decode_hello(payload, length, &hello, &error),
                         !cases[i].words);
        if (cases[i].words && !strstr(error->message, cases[i].words)) {
            fail_msg("case %zu: %s", i, error->message);
        }
    }
}

/* ---- The other frames ------------------------------------------------------------------------------ */

static void test_numbers(void **state)
{
    guint8 out[NATIVE_FRAME_MAX];
    uint64_t blocks, checksum;
    guint32 count;

    (void)state;
    for (guint32 n = 1; n <= NATIVE_BLOCKS_MAX; n++) {
        NativeHeader header;

        relay_native_encode_data_header(out, UINT64_MAX - n, n);
        assert_true(relay_native_decode_header(out, &header, NULL));
        relay_native_decode_data_header(out + NATIVE_HEADER_SIZE, header.length, &blocks, &count);
        assert_true(blocks == UINT64_MAX - n);
        assert_int_equal(count, n);
    }
    relay_native_encode_ack(out, UINT64_MAX);
    relay_native_decode_ack(out + NATIVE_HEADER_SIZE, &blocks);
    assert_true(blocks == UINT64_MAX);
    relay_native_encode_end(out, NATIVE_DONE, 77, UINT64_C(0x8000000000000001));
    relay_native_decode_end(out + NATIVE_HEADER_SIZE, &blocks, &checksum);
    assert_true(blocks == 77);
    assert_true(checksum == UINT64_C(0x8000000000000001));
}

/* TEXT of LENGTH bytes in an ERROR frame, as the other side shows it. */
static char *shown(guint16 code, const char *text, size_t length, NativeReason *reason)
{
    g_autofree guint8 *payload = g_malloc(2 + length);
    char *result;

    payload[0] = (guint8)(code >> 8);
    payload[1] = (guint8)code;
    memcpy(payload + 2, text, length);
    relay_native_decode_error(payload, 2 + length, reason, &result);
    return result;
}

static void test_error_text(void **state)
{
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"", ""},
        {"the guest is gone", "the guest is gone"},
        {"caf\xc3\xa9 \xe2\x82\xac", "caf\xc3\xa9 \xe2\x82\xac"},
        {"two\nlines\r\tand", "two lines  and"},
        {"\033[2J\033]0;title\a", " [2J ]0;title "},
        {"del\x7f", "del "},
        {"half \xc3", "half \xef\xbf\xbd"},
        {"\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd"},
    };
    NativeReason reason;

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = shown(1, cases[i].text, strlen(cases[i].text), &reason);

        assert_string_equal(text, cases[i].shown);
    }
}

/* The second set of control characters drives terminals as the first does: U+009B is ESC [. */
static void test_error_text_c1(void **state)
{
    NativeReason reason;

    (void)state;
    for (gunichar c = 0x80; c <= 0xa0; c++) {
        char bytes[8] = "";
        g_autofree char *text = NULL;

        g_unichar_to_utf8(c, bytes);
        text = shown(1, bytes, strlen(bytes), &reason);
        if (g_unichar_iscntrl(g_utf8_get_char(text))) {
            fail_msg("the control character U+%04X came through", c);
        }
    }
}

/* A NUL in the text neither ends it early nor hides what is behind it. */
static void test_error_text_nul(void **state)
{
    NativeReason reason;
    g_autofree char *text = shown(1, "a\0b", 3, &reason);

    (void)state;
    assert_true(g_utf8_validate(text, -1, NULL));
    assert_non_null(strchr(text, 'b'));
}

/* Whatever bytes: valid UTF-8 without control characters. */
static void test_error_text_any(void **state)
{
    guint32 random = 1;

    (void)state;
    for (int round = 0; round < 2000; round++) {
        char bytes[64];
        NativeReason reason;
        g_autofree char *text = NULL;

        for (size_t i = 0; i < sizeof(bytes); i++) {
            random = random * 1664525 + 1013904223;
            bytes[i] = (char)(random >> 24);
        }
        text = shown((guint16)round, bytes, (size_t)round % sizeof(bytes), &reason);
        assert_true(g_utf8_validate(text, -1, NULL));
        for (const char *c = text; *c; c++) {
            assert_false(g_ascii_iscntrl(*c));
        }
    }
}

static void test_reasons(void **state)
{
    (void)state;
    for (int code = 0; code < 65536; code += code < 8 ? 1 : 1111) {
        NativeReason reason;
        g_autofree char *text = shown((guint16)code, "x", 1, &reason);

        assert_int_equal(reason, code == 2 || code == 3 ? code : NATIVE_REASON_FAILED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encoding),       cmocka_unit_test(test_error_is_cut),
        cmocka_unit_test(test_header_lengths), cmocka_unit_test(test_header_flags),
        cmocka_unit_test(test_hello),          cmocka_unit_test(test_hello_refusals),
        cmocka_unit_test(test_versions),       cmocka_unit_test(test_version_is_judged_first),
        cmocka_unit_test(test_extensions),     cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_error_text),     cmocka_unit_test(test_error_text_c1),
        cmocka_unit_test(test_error_text_nul), cmocka_unit_test(test_error_text_any),
        cmocka_unit_test(test_reasons),
    };

    return cmocka_run_group_tests_name("wire-native", tests, NULL, NULL);
}
