/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * URIs: tables of good ones with every field, and of bad ones with words that the error must have.
 */
#include "transports/transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define ANY G_MAXUINT32

/* 107 bytes, the most that a unix socket's name can have; one more is too many. */
#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define LONGEST "/" HUNDRED "/01234"

/* What a TransportUri must hold; what is not named is zero or NULL. */
static const struct {
    const char *text, *host, *path, *fd_name, *command;
    TransportKind kind;
    guint16 port, port_to;
    TransportTristate ipv4, ipv6;
    gboolean keep_alive, abstract, tight;
    guint32 cid, vsock_port;
    int fd_number; /* 0: none */
    guint64 file_offset;
} good[] = {
    {.text = "tcp:example.org:4444", .host = "example.org", .port = 4444},
    {.text = "tcp:127.0.0.1:65535", .host = "127.0.0.1", .port = 65535},
    {.text = "tcp::0", .host = ""},
    {.text = "tcp:[::1]:1", .host = "::1", .port = 1},
    {.text = "tcp:[fe80::1%lo]:1", .host = "fe80::1%lo", .port = 1},
    {.text = "tcp:h:1,ipv4", .host = "h", .port = 1, .ipv4 = TRANSPORT_ON},
    {.text = "tcp:h:1,ipv4=on,ipv6=off",
     .host = "h",
     .port = 1,
     .ipv4 = TRANSPORT_ON,
     .ipv6 = TRANSPORT_OFF},
    {.text = "tcp:[::]:1,ipv6,ipv4",
     .host = "::",
     .port = 1,
     .ipv4 = TRANSPORT_ON,
     .ipv6 = TRANSPORT_ON},
    {.text = "tcp:h:1,keep-alive", .host = "h", .port = 1, .keep_alive = TRUE},
    {.text = "tcp:h:1,keep-alive=on", .host = "h", .port = 1, .keep_alive = TRUE},
    {.text = "tcp:h:1,keep-alive=off", .host = "h", .port = 1},
    {.text = "tcp:h:10,to=10", .host = "h", .port = 10, .port_to = 10},
    {.text = "tcp::10,to=65535,ipv6",
     .host = "",
     .port = 10,
     .port_to = 65535,
     .ipv6 = TRANSPORT_ON},
    {.text = "unix:/run/x", .kind = TRANSPORT_UNIX, .path = "/run/x", .tight = TRUE},
    {.text = "unix:a,b", .kind = TRANSPORT_UNIX, .path = "a,b", .tight = TRUE},
    {.text = "unix:" LONGEST, .kind = TRANSPORT_UNIX, .path = LONGEST, .tight = TRUE},
    {.text = "unix:x,abstract=on",
     .kind = TRANSPORT_UNIX,
     .path = "x",
     .abstract = TRUE,
     .tight = TRUE},
    {.text = "unix:x,tight=off,abstract", .kind = TRANSPORT_UNIX, .path = "x", .abstract = TRUE},
    {.text = "unix:x,abstract=on,tight",
     .kind = TRANSPORT_UNIX,
     .path = "x",
     .abstract = TRUE,
     .tight = TRUE},
    {.text = "unix:@x", .kind = TRANSPORT_UNIX, .path = "x", .abstract = TRUE, .tight = TRUE},
    {.text = "unix:@x,abstract=off", .kind = TRANSPORT_UNIX, .path = "@x", .tight = TRUE},
    {.text = "unix:./@x", .kind = TRANSPORT_UNIX, .path = "./@x", .tight = TRUE},
    {.text = "vsock:2:1024", .kind = TRANSPORT_VSOCK, .cid = 2, .vsock_port = 1024},
    {.text = "vsock:any:1", .kind = TRANSPORT_VSOCK, .cid = ANY, .vsock_port = 1},
    {.text = "vsock:4294967295:any", .kind = TRANSPORT_VSOCK, .cid = ANY, .vsock_port = ANY},
    {.text = "fd:7", .kind = TRANSPORT_FD, .fd_name = "7", .fd_number = 7},
    {.text = "fd:fd-mig", .kind = TRANSPORT_FD, .fd_name = "fd-mig"},
    {.text = "exec:cat >x, y", .kind = TRANSPORT_EXEC, .command = "cat >x, y"},
    {.text = "file:/x", .kind = TRANSPORT_FILE, .path = "/x"},
    {.text = "file:a,b", .kind = TRANSPORT_FILE, .path = "a,b"},
    {.text = "file:/x,offset=512", .kind = TRANSPORT_FILE, .path = "/x", .file_offset = 512},
    {.text = "file:/x,offset=0x200", .kind = TRANSPORT_FILE, .path = "/x", .file_offset = 512},
    {.text = "file:/x,offset=3M", .kind = TRANSPORT_FILE, .path = "/x", .file_offset = 3 << 20},
    {.text = "file:/x,offset=9223372036854775807",
     .kind = TRANSPORT_FILE,
     .path = "/x",
     .file_offset = G_MAXINT64},
};

static const struct {
    const char *text;
    const char *words; /* in the error */
} bad[] = {
    {"", "supported are tcp:HOST:PORT, unix:PATH, vsock:CID:PORT, fd:NUMBER-OR-NAME, "
         "exec:COMMAND, file:PATH"},
    {"127.0.0.1", "names no transport"},
    {"localhost:4444", "transport 'localhost' is not supported; supported are tcp:"},
    {"rdma:host:1", "transport 'rdma' is not supported; supported are tcp:"},
    {"TCP:host:1", "transport 'TCP' is not supported"},
    {"tcp:h\xff:1", "UTF-8"},
    {"tcp:", "expected tcp:HOST:PORT"},
    {"tcp:host", "expected tcp:HOST:PORT"},
    {"tcp:host:", "port '' is not a number from 0 to 65535"},
    {"tcp::", "port ''"},
    {"tcp:host:65536", "port '65536' is not a number from 0 to 65535"},
    {"tcp:host:-1", "port '-1'"},
    {"tcp:host:+1", "port '+1'"},
    {"tcp:host: 1", "port ' 1'"},
    {"tcp:host:1x", "port '1x'"},
    {"tcp:host:ssh", "port 'ssh'"},
    {"tcp:::1:4444", "must be in brackets"},
    {"tcp:[::1]4444", "expected tcp:[IPV6-ADDRESS]:PORT"},
    {"tcp:[::1:4444", "expected tcp:[IPV6-ADDRESS]:PORT"},
    {"tcp:[127.0.0.1]:1", "not an IPv6 address"},
    {"tcp:[]:1", "not an IPv6 address"},
    {"tcp:a b:1", "not a host name"},
    {"tcp://host:1", "'//host' is not a host name"},
    {"tcp:host,ipv4:1", "not a host name"},
    {"tcp:host:1,", "unknown option ''"},
    {"tcp:host:1,foo=on", "unknown option 'foo'; known are ipv4, ipv6, keep-alive, to"},
    {"tcp:host:1,ipv4=yes", "option 'ipv4' is 'on' or 'off', not 'yes'"},
    {"tcp:host:1,ipv4=", "'on' or 'off', not ''"},
    {"tcp:host:1,ipv4,ipv4=off", "option 'ipv4' is given twice"},
    {"tcp:host:1,ipv4=off,ipv6=off", "cannot both be off"},
    {"tcp:host:1,to", "to=PORT"},
    {"tcp:host:5,to=4", "to=4 must not be below the first port, 5"},
    {"tcp:host:0,to=4", "which is not 0"},
    {"tcp:host:1,to=65536", "port to= '65536'"},
    {"unix:", "expected unix:PATH"},
    {"unix:@", "expected unix:PATH"},
    {"unix:,abstract=on", "expected unix:PATH"},
    {"unix:x,tight", "only for abstract"},
    {"unix:" LONGEST "5", "a path of 108 bytes is too long: the limit is 107"},
    {"unix:@" LONGEST "5", "an abstract name of 108 bytes is too long: the limit is 107"},
    {"vsock:1", "expected vsock:CID:PORT"},
    {"vsock:1:2:3", "expected vsock:CID:PORT"},
    {"vsock:x:2", "CID 'x'"},
    {"vsock:2:", "port ''"},
    {"vsock:4294967296:1", "CID '4294967296'"},
    {"fd:", "expected fd:NUMBER or fd:NAME"},
    {"fd:7x", "'7x' is neither"},
    {"fd:99999999999", "is neither"},
    {"exec:", "expected exec:COMMAND"},
    {"exec:  ", "expected exec:COMMAND"},
    {"file:", "expected file:PATH"},
    {"file:,offset=1", "expected file:PATH"},
    {"file:x,offset=", "offset ''"},
    {"file:x,offset=-1", "offset '-1'"},
    {"file:x,offset=0x", "offset '0x'"},
    {"file:x,offset=1kk", "offset '1kk'"},
    {"file:x,offset=1q", "offset '1q'"},
    {"file:x,offset=9223372036854775808", "below 2^63"},
    {"file:x,offset=8388608T", "below 2^63"},
    {"file:x,offset=99999999999999999999", "below 2^63"},
};

static void assert_same_text(const char *text, const char *wanted)
{
    if (wanted) {
        assert_non_null(text);
        assert_string_equal(text, wanted);
    } else {
        assert_null(text);
    }
}

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(TransportUri) uri = transport_uri_parse(good[i].text, &error);

        if (!uri) {
            fail_msg("%s: %s", good[i].text, error->message);
            return;
        }
        assert_string_equal(uri->text, good[i].text);
        assert_int_equal(uri->kind, good[i].kind);
        assert_same_text(uri->host, good[i].host);
        assert_int_equal(uri->port, good[i].port);
        assert_int_equal(uri->port_to, good[i].port_to);
        assert_int_equal(uri->ipv4, good[i].ipv4);
        assert_int_equal(uri->ipv6, good[i].ipv6);
        assert_int_equal(uri->keep_alive, good[i].keep_alive);
        assert_same_text(uri->path, good[i].path);
        assert_int_equal(uri->abstract, good[i].abstract);
        assert_int_equal(uri->tight, good[i].tight);
        assert_int_equal(uri->cid, good[i].cid);
        assert_int_equal(uri->vsock_port, good[i].vsock_port);
        assert_same_text(uri->fd_name, good[i].fd_name);
        assert_int_equal(uri->fd_number, good[i].fd_number ? good[i].fd_number : -1);
        assert_same_text(uri->command, good[i].command);
        assert_int_equal(uri->file_offset, good[i].file_offset);
    }
}

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(TransportUri) uri = transport_uri_parse(bad[i].text, &error);

        if (uri) {
            fail_msg("'%s' was accepted", bad[i].text);
        }
        assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT));
        if (!strstr(error->message, bad[i].words)) {
            fail_msg("'%s': '%s' is not in: %s", bad[i].text, bad[i].words, error->message);
        }
    }
}

static void test_is_local(void **state)
{
    static const struct {
        const char *text;
        gboolean local;
    } cases[] = {
        {"tcp:127.0.0.1:1", TRUE},
        {"tcp:127.9.9.9:1", TRUE},
        {"tcp:[::1]:1", TRUE},
        {"tcp:localhost:1", TRUE},
        {"tcp:LocalHost:1", TRUE},
        {"unix:/x", TRUE},
        {"vsock:2:1", TRUE},
        {"fd:3", TRUE},
        {"exec:x", TRUE},
        {"file:x", TRUE},
        {"tcp::1", FALSE},
        {"tcp:0.0.0.0:1", FALSE},
        {"tcp:[::]:1", FALSE},
        {"tcp:10.0.0.1:1", FALSE},
        {"tcp:localhost.example:1", FALSE},
        {"tcp:[2001:db8::1]:1", FALSE},
    };

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(TransportUri) uri = transport_uri_parse(cases[i].text, NULL);

        assert_non_null(uri);
        if (transport_uri_is_local(uri) != cases[i].local) {
            fail_msg("%s", cases[i].text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_is_local),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
