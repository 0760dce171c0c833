/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TLS: who is let in, who is not, and that each refusal says why and whose fault it is. Peers that
 * our own code would never be are played by the openssl program.
 */
#include "transports-common.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Directories, by what is in them: good/ and other/ are two worlds with a CA each; in the rest the
 * CA is good's, and the name says what is wrong with the certificates.
 */
static const char make_certificates[] =
    "set -e; exec 2>/dev/null; cd \"$1\"\n"
    "key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'\n"
    "ca() { mkdir $1; openssl req -x509 $key -keyout $1/ca-key.pem -out $1/ca-cert.pem -days 9"
    " -subj \"/CN=$1 CA\"; }\n"
    "issue() { mkdir -p $1; cp -n $2/ca-cert.pem $1; openssl req $key -keyout $1/$3-key.pem"
    " -subj \"$4\" | openssl x509 -req -CA $2/ca-cert.pem -CAkey $2/ca-key.pem -days $5 -extfile $6"
    " -out $1/$3-cert.pem; }\n"
    "printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' >s.cnf\n"
    "printf 'subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n' >n.cnf\n"
    "printf 'extendedKeyUsage=clientAuth\n' >c.cnf\n"
    "for d in good other; do ca $d; issue $d $d server /CN=srv 9 s.cnf;"
    " issue $d $d client '/O=cloud/CN=host1' 9 c.cnf; done\n"
    "issue expired good server /CN=srv -1 s.cnf; issue expired good client /CN=cli -1 c.cnf\n"
    "issue noip good server /CN=127.0.0.1 9 n.cnf\n"
    "issue foreign other client /CN=cli 9 c.cnf; cp good/ca-cert.pem foreign/\n"
    "mkdir empty nokey broken; cp good/ca-cert.pem good/server-cert.pem nokey\n"
    "echo nothing >broken/ca-cert.pem\n";

/*
 * LeakSanitizer crashes on the thread-local storage of libraries that were loaded later, as GIO's
 * TLS module is. Valgrind looks for leaks here.
 */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

static char *directory;

static int make_all(void **state)
{
    g_autoptr(GError) error = NULL;
    const char *command[] = {"/bin/sh", "-c", make_certificates, "sh", NULL, NULL};
    int status;

    (void)state;
    directory = g_dir_make_tmp("tls-XXXXXX", &error);
    command[4] = directory;
    if (!g_spawn_sync(NULL, (char **)command, NULL, 0, NULL, NULL, NULL, NULL, &status, &error) ||
        !g_spawn_check_wait_status(status, &error)) {
        print_error("making certificates: %s\n", error->message);
        return -1;
    }
    return 0;
}

static int remove_all(void **state)
{
    const char *command[] = {"rm", "-rf", directory, NULL};

    (void)state;
    g_spawn_sync(NULL, (char **)command, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
                 NULL);
    g_clear_pointer(&directory, g_free);
    return 0;
}

static char *path_of(const char *name)
{
    return g_build_filename(directory, name, NULL);
}

static TransportTls *load(const char *name, gboolean server, const char *hostname,
                          const char *authz)
{
    g_autofree char *path = path_of(name);
    g_autoptr(GError) error = NULL;
    TransportTls *tls = transport_tls_load(path, server, hostname, authz, &error);

    if (!tls) {
        fail_msg("%s", error->message);
    }
    return tls;
}

/* ---- A pair of ours -------------------------------------------------------------------------- */

/* Set before must_pair(); it fills in the rest. */
typedef struct Pair {
    TransportTls *client_tls, *server_tls; /* given; NULL: plain */
    const char *host;
    TransportListener *listener;
    TransportStream *server;
    TransportStream *client; /* NULL: refused, see error */
    GError *error;
    char *target;
} Pair;

static gpointer connect_pair(gpointer data)
{
    Pair *pair = data;
    g_autoptr(TransportUri) uri = transport_uri_parse(pair->target, NULL);
    TransportOptions options = plain_options();

    options.tls = pair->client_tls;
    pair->client = transport_connect(uri, &options, &pair->error);
    return NULL;
}

static void make_pair(Pair *pair)
{
    TransportOptions options = plain_options();
    GThread *thread;

    options.tls = pair->server_tls;
    pair->listener = must_listen("tcp:127.0.0.1:0", &options);
    pair->target = g_strdup_printf("tcp:%s%s", pair->host ? pair->host : "127.0.0.1",
                                   strrchr(transport_listener_uris(pair->listener)[0], ':'));
    thread = g_thread_new("connect", connect_pair, pair);
    pair->server = must_accept(pair->listener);
    g_thread_join(thread);
}

static void clear_pair(Pair *pair)
{
    g_clear_pointer(&pair->client, transport_stream_free);
    g_clear_pointer(&pair->server, transport_stream_free);
    g_clear_pointer(&pair->listener, transport_listener_free);
    g_clear_pointer(&pair->client_tls, transport_tls_unref);
    g_clear_pointer(&pair->server_tls, transport_tls_unref);
    g_clear_error(&pair->error);
    g_clear_pointer(&pair->target, g_free);
}

static void check_good(const char *host, const char *hostname, const char *authz)
{
    Pair pair = {.host = host};

    pair.server_tls = load("good", TRUE, NULL, authz);
    pair.client_tls = load("good", FALSE, hostname, NULL);
    make_pair(&pair);
    if (!pair.client) {
        fail_msg("%s", pair.error->message);
    }
    assert_true(transport_stream_is_tls(pair.client) && transport_stream_is_tls(pair.server));
    must_talk(pair.client, pair.server);
    clear_pair(&pair);
}

static void test_good(void **state)
{
    (void)state;
    check_good("127.0.0.1", NULL, NULL);
    check_good("localhost", NULL, NULL);
    check_good("127.0.0.1", NULL, "*CN=host1*");
    /* Once more to the same place: nothing is resumed, all is verified. */
    check_good("localhost", NULL, "*");
}

/* More than socket buffers hold, in both directions at once, with what is not ready tried again. */
static void test_much_data(void **state)
{
    Pair pair = {0};
    g_autoptr(GByteArray) sent = g_byte_array_new();
    guint8 block[20000];
    g_autoptr(GError) error = NULL;
    struct iovec vectors[] = {{block, 24}, {block + 24, sizeof block - 24}};
    gssize count;

    (void)state;
    pair.server_tls = load("good", TRUE, NULL, NULL);
    pair.client_tls = load("good", FALSE, NULL, NULL);
    make_pair(&pair);
    assert_non_null(pair.client);
    do {
        for (size_t i = 0; i < sizeof block; i++) {
            block[i] = (guint8)(sent->len / 100 + i * 7);
        }
        count = transport_stream_writev(pair.client, vectors, 2, &error);
        if (count > 0) {
            g_byte_array_append(sent, block, (guint)count);
        }
    } while (count > 0);
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK));
    must_read(pair.server, sent->data, sent->len);
    must_write(pair.client, block, sizeof block);
    must_read(pair.server, block, sizeof block);
    must_write(pair.server, "done", 4);
    /* What a record holds beyond the first read is announced, though the socket is empty. */
    must_become_ready(transport_stream_read_fd(pair.client), POLLIN);
    must_read(pair.client, "do", 2);
    must_become_ready(transport_stream_read_fd(pair.client), POLLIN);
    must_read(pair.client, "ne", 2);
    clear_pair(&pair);
}

static void check_client_refuses(const char *server, const char *client, const char *host,
                                 const char *hostname, const char *words)
{
    Pair pair = {.host = host};

    pair.server_tls = load(server, TRUE, NULL, NULL);
    pair.client_tls = load(client, FALSE, hostname, NULL);
    make_pair(&pair);
    assert_null(pair.client);
    assert_words(pair.error, pair.target);
    assert_words(pair.error, "the certificate of the TLS server tcp:127.0.0.1:");
    assert_words(pair.error, words);
    must_fail_to_read(pair.server, "TLS handshake with the client tcp:127.0.0.1:");
    clear_pair(&pair);
}

static void test_client_refuses(void **state)
{
    (void)state;
    check_client_refuses("good", "good", "127.0.0.1", "other.example",
                         "is not for 'other.example' but for localhost, 127.0.0.1");
    check_client_refuses("good", "good", "127.0.0.1", "127.0.0.2", "is not for '127.0.0.2'");
    check_client_refuses("noip", "good", "127.0.0.1", NULL,
                         "is not for '127.0.0.1' but for localhost");
    check_client_refuses("other", "good", "127.0.0.1", NULL, "is not signed by a CA in ");
}

static void test_authz_refused(void **state)
{
    Pair pair = {0};

    (void)state;
    pair.server_tls = load("good", TRUE, NULL, "*CN=host2*");
    pair.client_tls = load("good", FALSE, NULL, NULL);
    make_pair(&pair);
    must_fail_to_read(pair.server, "does not match tls-authz '*CN=host2*'");
    must_fail_to_read(pair.server, "the certificate of the TLS client tcp:127.0.0.1:");
    g_clear_pointer(&pair.server, transport_stream_free);
    /* With TLS 1.3 the client hears of it when it reads. */
    assert_non_null(pair.client);
    must_fail_to_read(pair.client, "refused this client");
    clear_pair(&pair);
}

static void test_refusal_is_told_when_writing(void **state)
{
    Pair pair = {0};
    g_autoptr(GError) error = NULL;
    char block[65536] = "";

    (void)state;
    pair.server_tls = load("good", TRUE, NULL, "nobody");
    pair.client_tls = load("good", FALSE, NULL, NULL);
    make_pair(&pair);
    must_fail_to_read(pair.server, "does not match");
    g_clear_pointer(&pair.server, transport_stream_free);
    while (write_waiting(pair.client, block, sizeof block, &error)) {
    }
    assert_words(error, "refused this client");
    clear_pair(&pair);
}

static void test_cut_is_an_error(void **state)
{
    Pair pair = {0};

    (void)state;
    pair.server_tls = load("good", TRUE, NULL, NULL);
    pair.client_tls = load("good", FALSE, NULL, NULL);
    make_pair(&pair);
    assert_non_null(pair.client);
    must_write(pair.client, "x", 1);
    must_read(pair.server, "x", 1);
    g_clear_pointer(&pair.client, transport_stream_free);
    must_fail_to_read(pair.server, "cut the connection off");
    clear_pair(&pair);
}

/* ---- Peers without TLS ----------------------------------------------------------------------- */

static void test_plain_client(void **state)
{
    Pair pair = {0};

    (void)state;
    pair.server_tls = load("good", TRUE, NULL, NULL);
    make_pair(&pair);
    must_write(pair.client, "GET / HTTP/1.0\r\n\r\n", 18);
    must_fail_to_read(pair.server,
                      "which does not speak TLS (set tls-creds on both sides): it sent plain text");
    clear_pair(&pair);
}

/* Until the handshake is over nothing is ready, and a caller that polls sleeps. */
static void test_silent_client(void **state)
{
    Pair pair = {0};
    struct pollfd fds[2];
    g_autoptr(GError) error = NULL;
    char letter = 'x';
    struct iovec vector = {&letter, 1};
    char byte;
    gint64 start;

    (void)state;
    pair.server_tls = load("good", TRUE, NULL, NULL);
    make_pair(&pair);
    assert_int_equal(transport_stream_read(pair.server, &byte, 1, &error), -1);
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK));
    g_clear_error(&error);
    assert_int_equal(transport_stream_writev(pair.server, &vector, 1, &error), -1);
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK));
    fds[0] = (struct pollfd){transport_stream_read_fd(pair.server), POLLIN, 0};
    fds[1] = (struct pollfd){transport_stream_write_fd(pair.server), POLLOUT, 0};
    assert_int_equal(poll(fds, 2, 50), 0);
    start = g_get_monotonic_time();
    g_clear_pointer(&pair.server, transport_stream_free);
    assert_true(g_get_monotonic_time() - start < LONG_US);
    clear_pair(&pair);
}

/* Who was told to wait, and asks what to poll after the handshake has ended, is woken all the same. */
static void test_end_of_handshake_wakes(void **state)
{
    Pair pair = {0};
    g_autoptr(GError) error = NULL;
    char byte;

    (void)state;
    pair.client_tls = load("good", FALSE, NULL, NULL);
    pair.server_tls = load("good", TRUE, NULL, NULL);
    make_pair(&pair);
    assert_non_null(pair.client);
    must_become_ready(transport_stream_read_fd(pair.server), POLLIN); /* the handshake is over */
    must_become_ready(transport_stream_read_fd(pair.server), POLLIN);
    must_become_ready(transport_stream_write_fd(pair.server), POLLOUT);
    assert_int_equal(transport_stream_read(pair.server, &byte, 1, &error), -1);
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK));
    clear_pair(&pair);
}

static void test_plain_server(void **state)
{
    TransportOptions options = plain_options();
    g_autoptr(TransportListener) listener = must_listen("tcp:127.0.0.1:0", &options);
    g_autofree char *text = g_strdup(transport_listener_uris(listener)[0]);
    g_autoptr(TransportTls) tls = load("good", FALSE, NULL, NULL);
    g_autoptr(TransportUri) uri = uri_of(text);
    g_autoptr(GError) error = NULL;
    Pair pair = {0};

    (void)state;
    /* Silent. */
    options.tls = tls;
    options.deadline = after_ms(200);
    assert_null(transport_connect(uri, &options, &error));
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT));
    assert_words(error, "does it speak TLS?");
    /* One that talks first. */
    pair.client_tls = transport_tls_ref(tls);
    pair.target = g_strdup(text);
    g_clear_pointer(&listener, transport_listener_free);
    options = plain_options();
    listener = must_listen(text, &options);
    {
        GThread *thread = g_thread_new("connect", connect_pair, &pair);
        g_autoptr(TransportStream) server = must_accept(listener);

        must_write(server, "220 hello, who are you?\r\n", 25);
        g_thread_join(thread);
        assert_null(pair.client);
        assert_words(pair.error, "tls-creds must be set on both sides");
    }
    clear_pair(&pair);
}

static void test_cancel_during_handshake(void **state)
{
    TransportOptions options = plain_options();
    g_autoptr(TransportListener) listener = must_listen("tcp:127.0.0.1:0", &options);
    g_autoptr(TransportUri) uri = uri_of(transport_listener_uris(listener)[0]);
    g_autoptr(TransportTls) tls = load("good", FALSE, NULL, NULL);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;
    gint64 start = g_get_monotonic_time();
    GThread *thread = g_thread_new("cancel", cancel_soon, cancellable);

    (void)state;
    options = (TransportOptions){.cancellable = cancellable, .tls = tls, .fd = -1};
    assert_null(transport_connect(uri, &options, &error));
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED));
    assert_true(g_get_monotonic_time() - start < LONG_US);
    g_thread_join(thread);
}

/* ---- Peers that openssl plays ---------------------------------------------------------------- */

/* It ends when the test program does, however that ends. */
G_GNUC_PRINTF(1, 2) static GSubprocess *start_openssl(const char *format, ...)
{
    g_autofree char *arguments = NULL;
    g_autofree char *command = NULL;
    g_autoptr(GError) error = NULL;
    va_list list;
    GSubprocess *process;

    va_start(list, format);
    arguments = g_strdup_vprintf(format, list);
    va_end(list);
    command = g_strdup_printf("cd '%s' && exec setpriv --pdeathsig KILL openssl %s", directory,
                              arguments);
    process = g_subprocess_new(G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE |
                                   G_SUBPROCESS_FLAGS_STDERR_SILENCE,
                               &error, "/bin/sh", "-c", command, NULL);
    if (!process) {
        fail_msg("%s", error->message);
    }
    return process;
}

static void end_openssl(GSubprocess *process)
{
    g_subprocess_force_exit(process);
    g_subprocess_wait(process, NULL, NULL);
    g_object_unref(process);
}

static void check_server_refuses(const char *certificate, const char *words)
{
    TransportOptions options = plain_options();
    g_autoptr(TransportTls) tls = load("good", TRUE, NULL, NULL);
    g_autoptr(TransportListener) listener = NULL;
    g_autoptr(TransportStream) server = NULL;
    GSubprocess *client;

    options.tls = tls;
    listener = must_listen("tcp:127.0.0.1:0", &options);
    client = start_openssl("s_client -connect %s -CAfile good/ca-cert.pem %s",
                           transport_listener_uris(listener)[0] + strlen("tcp:"), certificate);
    server = must_accept(listener);
    must_fail_to_read(server, words);
    must_fail_to_read(server, "client tcp:127.0.0.1:");
    g_clear_pointer(&server, transport_stream_free);
    end_openssl(client);
}

static void test_server_refuses(void **state)
{
    (void)state;
    for (int i = 2; i <= 3; i++) {
        static const struct {
            const char *certificate, *words;
        } cases[] = {
            {"", "which gave no certificate"},
            {"-cert expired/client-cert.pem -key expired/client-key.pem", "(CN=cli) expired at 20"},
            {"-cert foreign/client-cert.pem -key foreign/client-key.pem",
             "is not signed by a CA in"},
        };

        for (size_t j = 0; j < G_N_ELEMENTS(cases); j++) {
            g_autofree char *arguments = g_strdup_printf("-tls1_%d %s", i, cases[j].certificate);

            check_server_refuses(arguments, cases[j].words);
        }
    }
}

/* Starts a server with ARGUMENTS and returns its URI. */
static GSubprocess *start_openssl_server(const char *arguments, char **uri)
{
    GSubprocess *process = start_openssl("s_server -accept 127.0.0.1:0 %s", arguments);
    g_autoptr(GDataInputStream) output =
        g_data_input_stream_new(g_subprocess_get_stdout_pipe(process));
    g_autofree char *line = NULL;

    g_filter_input_stream_set_close_base_stream(G_FILTER_INPUT_STREAM(output), FALSE);
    do {
        g_free(line);
        line = g_data_input_stream_read_line(output, NULL, NULL, NULL);
        assert_non_null(line);
    } while (!g_str_has_prefix(line, "ACCEPT "));
    *uri = g_strdup_printf("tcp:127.0.0.1%s", strrchr(line, ':'));
    return process;
}

static void test_client_refuses_expired_server(void **state)
{
    g_autoptr(TransportTls) tls = load("good", FALSE, "localhost", NULL);
    TransportOptions options = plain_options();
    g_autofree char *text = NULL;
    GSubprocess *server =
        start_openssl_server("-cert expired/server-cert.pem -key expired/server-key.pem", &text);

    (void)state;
    options.tls = tls;
    must_not_connect(text, &options, "(CN=srv) expired at 20");
    end_openssl(server);
}

static void test_server_of_openssl_refuses(void **state)
{
    static const char *const versions[] = {"-tls1_2", "-tls1_3"};
    g_autoptr(TransportTls) tls = load("good", FALSE, NULL, NULL);

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(versions); i++) {
        g_autofree char *text = NULL;
        g_autofree char *arguments = g_strdup_printf(
            "%s -cert good/server-cert.pem -key good/server-key.pem -Verify 1 -verify_return_error "
            "-CAfile other/ca-cert.pem",
            versions[i]);
        GSubprocess *server = start_openssl_server(arguments, &text);
        g_autoptr(TransportUri) uri = uri_of(text);
        g_autoptr(TransportStream) stream = NULL;
        g_autoptr(GError) error = NULL;
        TransportOptions options = plain_options();
        char byte;

        options.tls = tls;
        stream = transport_connect(uri, &options, &error);
        if (stream) {
            assert_int_equal(read_waiting(stream, &byte, 1, &error), -1);
        }
        assert_words(error, "refused this client");
        print_message("%s: %s\n", versions[i], error->message);
        end_openssl(server);
    }
}

/* ---- Credentials ----------------------------------------------------------------------------- */

static void test_bad_directories(void **state)
{
    static const struct {
        const char *directory;
        gboolean server;
        const char *words;
    } cases[] = {
        {"nowhere", TRUE, "nowhere/ca-cert.pem: No such file"},
        {"empty", TRUE, "empty/ca-cert.pem: No such file"},
        {"broken", TRUE, "broken/ca-cert.pem: there is no PEM certificate in it"},
        {"nokey", TRUE, "nokey/server-key.pem: No such file"},
        {"nokey", FALSE, "nokey/client-cert.pem: No such file"},
        {"expired", TRUE, "expired/server-cert.pem (CN=srv) expired at 20"},
        {"expired", FALSE, "expired/client-cert.pem (CN=cli) expired at 20"},
        {"foreign", FALSE, "foreign/client-cert.pem (CN=cli) is not signed by a CA in"},
    };

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = path_of(cases[i].directory);
        g_autoptr(GError) error = NULL;

        if (transport_tls_load(path, cases[i].server, NULL, NULL, &error)) {
            fail_msg("%s was accepted", path);
        }
        assert_words(error, cases[i].words);
    }
}

static void test_other_transports(void **state)
{
    g_autoptr(TransportTls) nameless = load("good", FALSE, NULL, NULL);
    g_autoptr(TransportTls) named = load("good", FALSE, "localhost", NULL);
    g_autoptr(TransportTls) server_tls = load("good", TRUE, NULL, NULL);
    g_autofree char *file = g_strdup_printf("file:%s/stream", directory);
    TransportOptions options = plain_options();
    Pair pair = {.client_tls = transport_tls_ref(named)};
    g_autoptr(TransportListener) listener = NULL;
    g_autoptr(TransportStream) server = NULL;
    GThread *thread;

    (void)state;
    options.tls = server_tls;
    pair.target = g_strdup_printf("unix:%s/socket", directory);
    listener = must_listen(pair.target, &options);
    options.tls = nameless;
    must_not_connect(pair.target, &options, "set tls-hostname");
    server = must_accept(listener);
    g_clear_pointer(&server, transport_stream_free);
    thread = g_thread_new("connect", connect_pair, &pair);
    server = must_accept(listener);
    g_thread_join(thread);
    assert_non_null(pair.client);
    must_talk(pair.client, server);
    options.tls = named;
    must_not_connect(file, &options, "two directions");
    options.tls = server_tls;
    must_not_listen(file, &options, "two directions");
    clear_pair(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_much_data),
        cmocka_unit_test(test_client_refuses),
        cmocka_unit_test(test_authz_refused),
        cmocka_unit_test(test_refusal_is_told_when_writing),
        cmocka_unit_test(test_cut_is_an_error),
        cmocka_unit_test(test_plain_client),
        cmocka_unit_test(test_silent_client),
        cmocka_unit_test(test_end_of_handshake_wakes),
        cmocka_unit_test(test_plain_server),
        cmocka_unit_test(test_cancel_during_handshake),
        cmocka_unit_test(test_server_refuses),
        cmocka_unit_test(test_client_refuses_expired_server),
        cmocka_unit_test(test_server_of_openssl_refuses),
        cmocka_unit_test(test_bad_directories),
        cmocka_unit_test(test_other_transports),
    };

    return cmocka_run_group_tests(tests, make_all, remove_all);
}
