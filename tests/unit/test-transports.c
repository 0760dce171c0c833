/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connecting, listening and moving bytes without TLS, over everything that a URI can name.
 */
#include "transports-common.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Listens on TEXT, connects to CONNECT_TEXT (NULL: where it listens) and talks. */
static void check_talk(const char *text, const char *connect_text)
{
    TransportOptions options = plain_options();
    g_autoptr(TransportListener) listener = must_listen(text, &options);
    const char *target = connect_text ? connect_text : transport_listener_uris(listener)[0];
    g_autoptr(TransportStream) client = must_connect(target, &options);
    g_autoptr(TransportStream) server = must_accept(listener);
    g_autoptr(GError) error = NULL;

    assert_true(transport_listener_is_repeatable(listener));
    assert_false(transport_stream_is_one_way(client));
    assert_false(transport_stream_is_tls(client));
    assert_string_equal(transport_stream_peer(client), target);
    assert_null(transport_listener_accept(listener, &error));
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK));
    must_talk(client, server);
}

static gboolean has_ipv6(void)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    gboolean has = fd >= 0 && !bind(fd, (struct sockaddr *)&address, sizeof address);

    if (fd >= 0) {
        close(fd);
    }
    return has;
}

/* ---- tcp ------------------------------------------------------------------------------------- */

static void test_tcp_ipv4(void **state)
{
    (void)state;
    check_talk("tcp:127.0.0.1:0", NULL);
    check_talk("tcp:127.0.0.1:0,ipv4,keep-alive", NULL);
}

static void test_tcp_ipv6(void **state)
{
    (void)state;
    if (!has_ipv6()) {
        print_message("skipped: no ::1 here\n");
        skip();
    }
    check_talk("tcp:[::1]:0", NULL);
}

static void test_tcp_options_reach_the_socket(void **state)
{
    TransportOptions options = plain_options();
    g_autoptr(TransportListener) listener = must_listen("tcp:127.0.0.1:0,keep-alive=on", &options);
    g_autofree char *text = g_strconcat(transport_listener_uris(listener)[0], ",keep-alive", NULL);
    g_autoptr(TransportStream) client = must_connect(text, &options);
    g_autoptr(TransportStream) server = must_accept(listener);
    TransportStream *streams[] = {client, server};

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(streams); i++) {
        int fd = transport_stream_read_fd(streams[i]);
        int value = 0;
        socklen_t length = sizeof value;

        assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &length), 0);
        assert_true(value);
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, &length), 0);
        assert_true(value);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    }
}

static int port_of(TransportListener *listener)
{
    return atoi(strrchr(transport_listener_uris(listener)[0], ':') + 1);
}

/* A name with several addresses, and a host that is none. */
static void test_tcp_names(void **state)
{
    TransportOptions options = plain_options();
    g_autoptr(TransportListener) all = must_listen("tcp::0", &options);
    g_autoptr(TransportListener) named = must_listen("tcp:localhost:0", &options);
    g_autoptr(TransportListener) ipv4 = must_listen("tcp:127.0.0.1:0", &options);
    TransportListener *listeners[] = {all, named, ipv4};

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(listeners); i++) {
        /* Of localhost's two addresses only one is served by the last. */
        g_autofree char *text = g_strdup_printf("tcp:localhost:%d", port_of(listeners[i]));
        g_autofree char *text4 = g_strdup_printf("tcp:127.0.0.1:%d", port_of(listeners[i]));
        g_autoptr(TransportStream) client = must_connect(text, &options);
        g_autoptr(TransportStream) server = must_accept(listeners[i]);
        g_autoptr(TransportStream) client4 = must_connect(text4, &options);
        g_autoptr(TransportStream) server4 = must_accept(listeners[i]);

        must_talk(client, server);
        must_talk(client4, server4);
        assert_true(g_str_has_prefix(transport_stream_peer(server4), "tcp:127.0.0.1:"));
    }
    must_not_connect("tcp:127.0.0.1:1,ipv6", &options, "has no IPv6 address");
    must_not_listen("tcp:127.0.0.1:0,ipv4=off", &options, "has no IPv6 address");
}

static void test_tcp_port_range(void **state)
{
    TransportOptions options = plain_options();
    g_autoptr(TransportListener) first = must_listen("tcp:127.0.0.1:0", &options);
    int port = port_of(first);
    int last = MIN(port + 50, 65535);
    g_autofree char *range = g_strdup_printf("tcp:127.0.0.1:%d,to=%d", port, last);
    g_autofree char *taken = g_strdup_printf("tcp:127.0.0.1:%d,to=%d", port, port);
    g_autoptr(TransportListener) second = must_listen(range, &options);

    (void)state;
    assert_in_range(port_of(second), port + 1, last);
    must_not_listen(taken, &options, "is free");
    must_not_listen(transport_listener_uris(first)[0], &options, "another program listens there");
    must_not_connect(range, &options, "option 'to' is only for listening");
    must_not_connect("tcp:127.0.0.1:0", &options, "port 0 is only for listening");
    must_not_connect("tcp::1", &options, "needs a host");
}

static void test_tcp_refused(void **state)
{
    TransportOptions options = plain_options();
    g_autoptr(TransportListener) listener = must_listen("tcp:127.0.0.1:0", &options);
    g_autofree char *text = g_strdup(transport_listener_uris(listener)[0]);

    (void)state;
    g_clear_pointer(&listener, transport_listener_free);
    must_not_connect(text, &options, "Connection refused");
}

static void test_reset_is_an_error(void **state)
{
    TransportOptions options = plain_options();
    g_autoptr(TransportListener) listener = must_listen("tcp:127.0.0.1:0", &options);
    g_autoptr(TransportStream) client =
        must_connect(transport_listener_uris(listener)[0], &options);
    TransportStream *server = must_accept(listener);

    (void)state;
    must_write(client, "unread", 6);
    must_become_ready(transport_stream_read_fd(server), POLLIN);
    transport_stream_free(server);
    must_fail_to_read(client, "reset by peer");
}

/* Aborted, the end of one side is no end for the other. */
static void test_abort(void **state)
{
    TransportOptions options = plain_options();
    g_autoptr(TransportListener) listener = must_listen("tcp:127.0.0.1:0", &options);
    g_autoptr(TransportStream) client =
        must_connect(transport_listener_uris(listener)[0], &options);
    TransportStream *server = must_accept(listener);

    (void)state;
    transport_stream_abort(server);
    transport_stream_free(server);
    must_fail_to_read(client, "reset by peer");
}

/* ---- Deadline and cancelling ----------------------------------------------------------------- */

/* A socket that listens but whose queue is full, with the descriptors that fill it. */
static GArray *make_full_queue(char **uri)
{
    GArray *fds = g_array_new(FALSE, FALSE, sizeof(int));
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct pollfd pollfd;

    g_array_append_val(fds, fd);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    do {
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        g_array_append_val(fds, fd);
        connect(fd, (struct sockaddr *)&address, sizeof address);
        pollfd = (struct pollfd){fd, POLLOUT, 0};
    } while (poll(&pollfd, 1, 200) == 1);
    *uri = g_strdup_printf("tcp:127.0.0.1:%d", ntohs(address.sin_port));
    return fds;
}

static void close_all(GArray *fds)
{
    for (guint i = 0; i < fds->len; i++) {
        close(g_array_index(fds, int, i));
    }
    g_array_free(fds, TRUE);
}

static void test_deadline(void **state)
{
    g_autofree char *text = NULL;
    GArray *fds = make_full_queue(&text);
    g_autoptr(TransportUri) uri = uri_of(text);
    g_autoptr(GError) error = NULL;
    TransportOptions options = plain_options();
    gint64 start = g_get_monotonic_time();

    (void)state;
    options.deadline = after_ms(200);
    assert_null(transport_connect(uri, &options, &error));
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT));
    assert_words(error, text);
    assert_in_range(g_get_monotonic_time() - start, 199000, LONG_US);
    close_all(fds);
}

static void test_deadline_unix(void **state)
{
    g_autofree char *text = path_uri(state, "unix", "full");
    g_autoptr(TransportUri) uri = uri_of(text);
    g_autoptr(GPtrArray) clients =
        g_ptr_array_new_with_free_func((GDestroyNotify)transport_stream_free);
    g_autoptr(GError) error = NULL;
    TransportOptions options = plain_options();
    TransportListener *listener = must_listen(text, &options);
    TransportStream *client;

    do {
        options.deadline = after_ms(100);
        client = transport_connect(uri, &options, &error);
        if (client) {
            g_ptr_array_add(clients, client);
        }
    } while (client && clients->len < 1000);
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT));
    /* Busy is not gone. */
    must_not_listen(text, &options, "another program listens there");
    transport_listener_free(listener);
}

static void test_cancel_from_another_thread(void **state)
{
    g_autofree char *text = NULL;
    GArray *fds = make_full_queue(&text);
    g_autoptr(TransportUri) uri = uri_of(text);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;
    TransportOptions options = {.cancellable = cancellable, .fd = -1};
    gint64 start = g_get_monotonic_time();
    GThread *thread = g_thread_new("cancel", cancel_soon, cancellable);

    (void)state;
    assert_null(transport_connect(uri, &options, &error));
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED));
    assert_true(g_get_monotonic_time() - start < LONG_US);
    g_thread_join(thread);
    g_clear_error(&error);
    /* And before it began. */
    assert_null(transport_connect(uri, &options, &error));
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED));
    close_all(fds);
}

/* ---- Name servers ---------------------------------------------------------------------------- */

/*
 * In place of the system's resolver: "silent.test" is never answered, "two.test" has a silent and a
 * good address.
 */
typedef struct FakeResolver {
    GResolver parent;
} FakeResolver;
typedef GResolverClass FakeResolverClass;

static GType fake_resolver_get_type(void);
G_DEFINE_TYPE(FakeResolver, fake_resolver, G_TYPE_RESOLVER)

static gboolean return_cancelled(GCancellable *cancellable, gpointer task)
{
    (void)cancellable;
    g_task_return_error_if_cancelled(task);
    return G_SOURCE_REMOVE;
}

static void fake_lookup(GResolver *resolver, const char *host, GCancellable *cancellable,
                        GAsyncReadyCallback callback, gpointer data)
{
    g_autoptr(GTask) task = g_task_new(resolver, cancellable, callback, data);

    if (g_str_equal(host, "silent.test")) {
        g_autoptr(GSource) source = g_cancellable_source_new(cancellable);

        g_task_attach_source(task, source, G_SOURCE_FUNC(return_cancelled));
    } else if (g_str_equal(host, "two.test")) {
        GList *list = g_list_append(NULL, g_inet_address_new_from_string("127.0.0.1"));

        list = g_list_append(list, g_inet_address_new_from_string("127.0.0.3"));
        g_task_return_pointer(task, list, (GDestroyNotify)g_resolver_free_addresses);
    } else {
        g_task_return_new_error(task, G_RESOLVER_ERROR, G_RESOLVER_ERROR_NOT_FOUND, "No such host");
    }
}

static GList *fake_lookup_finish(GResolver *resolver, GAsyncResult *result, GError **error)
{
    (void)resolver;
    return g_task_propagate_pointer(G_TASK(result), error);
}

static void fake_resolver_init(FakeResolver *resolver)
{
    (void)resolver;
}

static void fake_resolver_class_init(FakeResolverClass *class)
{
    class->lookup_by_name_async = fake_lookup;
    class->lookup_by_name_finish = fake_lookup_finish;
}

static void test_name_servers(void **state)
{
    g_autoptr(GResolver) real = g_resolver_get_default();
    g_autoptr(GResolver) fake = g_object_new(fake_resolver_get_type(), NULL);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(TransportUri) silent = uri_of("tcp:silent.test:1");
    g_autoptr(GError) error = NULL;
    TransportOptions options = plain_options();
    gint64 start = g_get_monotonic_time();
    GThread *thread;

    (void)state;
    g_resolver_set_default(fake);
    must_not_connect("tcp:nobody.test:1", &options, "looking up host name 'nobody.test': No such");
    must_not_listen("tcp:nobody.test:1", &options, "looking up host name 'nobody.test': No such");
    options.deadline = after_ms(100);
    assert_null(transport_connect(silent, &options, &error));
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT));
    assert_words(error, "looking up host name 'silent.test'");
    g_clear_error(&error);
    options = (TransportOptions){.cancellable = cancellable, .fd = -1};
    thread = g_thread_new("cancel", cancel_soon, cancellable);
    assert_null(transport_connect(silent, &options, &error));
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED));
    g_thread_join(thread);
    assert_true(g_get_monotonic_time() - start < LONG_US);
    g_resolver_set_default(real);
}

/* An address that does not answer leaves time for the next. */
static void test_every_address_is_tried(void **state)
{
    g_autoptr(GResolver) real = g_resolver_get_default();
    g_autoptr(GResolver) fake = g_object_new(fake_resolver_get_type(), NULL);
    g_autofree char *full = NULL;
    GArray *fds = make_full_queue(&full);
    const char *port = strrchr(full, ':');
    g_autofree char *good = g_strconcat("tcp:127.0.0.3", port, NULL);
    g_autofree char *name = g_strconcat("tcp:two.test", port, NULL);
    TransportOptions options = plain_options();
    TransportListener *listener = must_listen(good, &options);
    g_autoptr(TransportStream) client = NULL;
    gint64 start;

    (void)state;
    g_resolver_set_default(fake);
    start = g_get_monotonic_time();
    options.deadline = after_ms(4000);
    client = must_connect(name, &options);
    assert_true(g_get_monotonic_time() - start >= 1999000); /* and before the deadline */
    assert_string_equal(transport_stream_peer(client), good);
    transport_listener_free(listener);
    options.deadline = after_ms(400);
    must_not_connect(name, &options, "no answer within the time allowed; tcp:127.0.0.3:");
    g_resolver_set_default(real);
    close_all(fds);
}

/* ---- unix ------------------------------------------------------------------------------------ */

static void test_unix(void **state)
{
    g_autofree char *text = path_uri(state, "unix", "socket");
    const char *path = strchr(text, ':') + 1;
    TransportOptions options = plain_options();
    g_autoptr(TransportListener) listener = NULL;
    struct stat status;

    check_talk(text, NULL);
    assert_int_equal(lstat(path, &status), -1); /* it was removed */

    listener = must_listen(text, &options);
    assert_int_equal(lstat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    must_not_listen(text, &options, "another program listens there");
    /* One that took our place is not ours to remove. */
    assert_int_equal(unlink(path), 0);
    assert_true(g_file_set_contents(path, "precious", -1, NULL));
    g_clear_pointer(&listener, transport_listener_free);
    assert_int_equal(lstat(path, &status), 0);
    must_not_listen(text, &options, "not a socket");
    must_not_connect(text, &options, "Connection refused");
    assert_int_equal(unlink(path), 0);
    must_not_connect(text, &options, "No such file");
}

static void test_unix_replaces_stale_socket(void **state)
{
    g_autofree char *text = path_uri(state, "unix", "stale");
    g_autofree char *other = path_uri(state, "unix", "kept");
    const char *path = strchr(text, ':') + 1;
    TransportOptions options = plain_options();
    TransportListener *listener = must_listen(text, &options);

    /* Freed while its file has another name: the file stays, and nobody serves it. */
    assert_int_equal(rename(path, strchr(other, ':') + 1), 0);
    transport_listener_free(listener);
    assert_int_equal(rename(strchr(other, ':') + 1, path), 0);
    must_not_connect(text, &options, "Connection refused");
    check_talk(text, NULL);
}

static void test_unix_abstract(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *name = g_path_get_basename(fixture->directory);
    g_autofree char *long_form = g_strdup_printf("unix:%s,abstract=on", name);
    g_autofree char *short_form = g_strdup_printf("unix:@%s", name);
    g_autofree char *padded = g_strdup_printf("unix:%s,abstract=on,tight=off", name);
    TransportOptions options = plain_options();
    g_autoptr(TransportListener) listener = NULL;

    check_talk(long_form, NULL);
    check_talk(short_form, long_form);
    check_talk(padded, NULL);
    listener = must_listen(padded, &options);
    must_not_connect(long_form, &options, "Connection refused");
    assert_string_equal(transport_listener_uris(listener)[0], padded);
}

/* ---- vsock ----------------------------------------------------------------------------------- */

static void test_vsock(void **state)
{
    g_autoptr(TransportUri) uri = uri_of("vsock:any:any");
    g_autoptr(TransportUri) nowhere = uri_of("vsock:4242:1");
    TransportOptions options = plain_options();
    g_autoptr(GError) error = NULL;
    g_autoptr(TransportListener) listener = NULL;

    (void)state;
    must_not_connect("vsock:any:1", &options, "only for listening");
    options.deadline = after_ms(500);
    assert_null(transport_connect(nowhere, &options, &error));
    assert_words(error, "connecting to 'vsock:4242:1': vsock:4242:1: ");
    print_message("%s\n", error->message);
    g_clear_error(&error);
    listener = transport_listen(uri, &options, &error);
    if (!listener) {
        print_message("skipped: %s\n", error->message);
        skip();
    }
    assert_true(g_str_has_prefix(transport_listener_uris(listener)[0], "vsock:any:"));
    assert_false(g_str_has_suffix(transport_listener_uris(listener)[0], ":any"));
    must_not_listen(transport_listener_uris(listener)[0], &options, "another program listens");
    assert_null(transport_listener_accept(listener, &error));
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK));
}

/* ---- Much data ------------------------------------------------------------------------------- */

/* A writer that nobody reads from is told to wait, and what comes out is what went in. */
static void test_back_pressure(void **state)
{
    TransportOptions options = plain_options();
    g_autoptr(TransportListener) listener = must_listen("tcp:127.0.0.1:0", &options);
    g_autoptr(TransportStream) client =
        must_connect(transport_listener_uris(listener)[0], &options);
    g_autoptr(TransportStream) server = must_accept(listener);
    guint8 block[4096 + 24];
    struct iovec vectors[] = {{block, 24}, {block + 24, 4096}};
    g_autoptr(GByteArray) sent = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    gssize count;

    (void)state;
    do {
        for (size_t i = 0; i < sizeof block; i++) {
            block[i] = (guint8)(sent->len * 7 + i);
        }
        count = transport_stream_writev(client, vectors, 2, &error);
        if (count > 0) {
            g_byte_array_append(sent, block, (guint)count);
        }
    } while (count > 0);
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK));
    assert_true(sent->len > sizeof block);
    must_shut_down(client);
    must_read(server, sent->data, sent->len);
    must_read_end(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp_ipv4),
        cmocka_unit_test(test_tcp_ipv6),
        cmocka_unit_test(test_tcp_options_reach_the_socket),
        cmocka_unit_test(test_tcp_names),
        cmocka_unit_test(test_tcp_port_range),
        cmocka_unit_test(test_tcp_refused),
        cmocka_unit_test(test_reset_is_an_error),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_deadline_unix),
        cmocka_unit_test(test_cancel_from_another_thread),
        cmocka_unit_test(test_name_servers),
        cmocka_unit_test(test_every_address_is_tried),
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_unix_replaces_stale_socket),
        cmocka_unit_test(test_unix_abstract),
        cmocka_unit_test(test_vsock),
        cmocka_unit_test(test_back_pressure),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
