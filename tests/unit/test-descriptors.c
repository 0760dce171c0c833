/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transports that are not a host's address: descriptors handed over, commands, files.
 */
#include "transports-common.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- fd -------------------------------------------------------------------------------------- */

static gboolean is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void test_fd_connected(void **state)
{
    TransportOptions options = plain_options();
    g_autofree char *text = NULL;
    g_autoptr(TransportListener) listener = NULL;
    g_autoptr(TransportStream) client = NULL;
    g_autoptr(TransportStream) server = NULL;
    g_autoptr(GError) error = NULL;
    size_t count;
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    options.fd = pair[0];
    client = must_connect("fd:name", &options);
    text = g_strdup_printf("fd:%d", pair[1]);
    options.fd = -1;
    listener = must_listen(text, &options);
    assert_false(transport_listener_is_repeatable(listener));
    assert_string_equal(transport_listener_uris(listener)[0], text);
    server = must_accept(listener);
    assert_null(transport_listener_accept(listener, &error));
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK));
    /* Taken: nothing wakes the caller any more. */
    assert_int_equal(
        poll(&(struct pollfd){transport_listener_fds(listener, &count)[0], POLLIN, 0}, 1, 0), 0);
    must_talk(client, server);
    g_clear_pointer(&client, transport_stream_free);
    g_clear_pointer(&server, transport_stream_free);
    assert_false(is_open(pair[0]) || is_open(pair[1]));
}

static void test_fd_listening(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    TransportOptions options = plain_options();
    g_autoptr(TransportListener) listener = NULL;
    g_autoptr(TransportStream) client = NULL;
    g_autoptr(TransportStream) server = NULL;

    (void)state;
    options.fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(options.fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(options.fd, 1), 0);
    listener = must_listen("fd:name", &options);
    assert_true(transport_listener_is_repeatable(listener));
    options.fd = -1;
    client = must_connect(transport_listener_uris(listener)[0], &options);
    server = must_accept(listener);
    must_talk(client, server);
}

static void test_fd_pipe(void **state)
{
    TransportOptions options = plain_options();
    g_autoptr(TransportListener) listener = NULL;
    g_autoptr(TransportStream) writer = NULL;
    g_autoptr(TransportStream) reader = NULL;
    g_autoptr(GError) error = NULL;
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    options.fd = fds[1];
    writer = must_connect("fd:out", &options);
    options.fd = fds[0];
    listener = must_listen("fd:in", &options);
    reader = must_accept(listener);
    assert_true(transport_stream_is_one_way(writer));
    must_write(writer, "hello", 5);
    must_read(reader, "hello", 5);
    must_shut_down(writer);
    must_read_end(reader);

    /* Nobody reads: an error, not a signal. */
    assert_int_equal(pipe(fds), 0);
    close(fds[0]);
    options.fd = fds[1];
    g_clear_pointer(&writer, transport_stream_free);
    writer = must_connect("fd:out", &options);
    assert_false(write_waiting(writer, "x", 1, &error));
    assert_words(error, "Broken pipe");
}

static void test_fd_refused(void **state)
{
    TransportOptions options = plain_options();
    int fds[2];

    (void)state;
    must_not_connect("fd:name", &options, "no descriptor was handed over under the name 'name'");
    must_not_connect("fd:1000000", &options, "descriptor 1000000 is not open");
    assert_int_equal(pipe(fds), 0);
    options.fd = fds[0];
    must_not_connect("fd:name", &options, "not open for writing");
    assert_false(is_open(fds[0])); /* taken over in any case */
    options.fd = fds[1];
    must_not_listen("fd:name", &options, "not open for reading");
    assert_false(is_open(fds[1]));
    options.fd = socket(AF_INET, SOCK_DGRAM, 0);
    must_not_connect("fd:name", &options, "not a stream socket");
    options.fd = socket(AF_INET, SOCK_STREAM, 0);
    must_not_connect("fd:name", &options, "not connected");
}

/* ---- exec ------------------------------------------------------------------------------------ */

/* Valgrind, for one, knows no such descriptors. */
static void skip_without_pidfd(void)
{
    int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

    if (fd < 0) {
        print_message("skipped: pidfd_open: %s\n", g_strerror(errno));
        skip();
    }
    close(fd);
}

static void test_exec(void **state)
{
    TransportOptions options = plain_options();
    g_autoptr(TransportStream) client = NULL;
    g_autoptr(TransportListener) listener = NULL;
    g_autoptr(TransportStream) server = NULL;

    (void)state;
    skip_without_pidfd();
    must_not_connect("exec:cat", &options, "--allow-exec");
    must_not_listen("exec:cat", &options, "--allow-exec");
    options.allow_exec = TRUE;
    client = must_connect("exec:cat", &options);
    assert_false(transport_stream_is_one_way(client));
    must_write(client, "hello", 5);
    must_read(client, "hello", 5);
    must_shut_down(client);
    must_read_end(client);
    listener = must_listen("exec:printf hello", &options);
    assert_false(transport_listener_is_repeatable(listener));
    server = must_accept(listener);
    must_read(server, "hello", 5);
    must_read_end(server);
}

static void test_exec_status(void **state)
{
    TransportOptions options = plain_options();
    g_autoptr(TransportStream) failing = NULL;
    g_autoptr(TransportStream) killed = NULL;
    g_autoptr(TransportStream) silent = NULL;
    g_autoptr(TransportStream) late = NULL;
    g_autoptr(GError) error = NULL;

    (void)state;
    skip_without_pidfd();
    options.allow_exec = TRUE;
    failing = must_connect("exec:exit 3", &options);
    must_fail_to_read(failing, "the command 'exit 3' ended with exit status 3");
    must_fail_to_read(failing, "exit status 3");
    assert_false(write_waiting(failing, "x", 1, &error));
    assert_words(error, "exit status 3");
    killed = must_connect("exec:kill -9 $$", &options);
    must_fail_to_read(killed, "killed by signal 9");
    silent = must_connect("exec:/nonexistent/command 2>&-", &options);
    must_fail_to_read(silent, "exit status 127");
    /* Its output ends long before it does: the status still counts. */
    late = must_connect("exec:exec >&-; cat >/dev/null; exit 4", &options);
    must_write(late, "hello", 5);
    must_shut_down(late);
    must_fail_to_read(late, "exit status 4");
}

/* A command that would go on for ever ends with its stream, and no process of ours remains. */
static void test_exec_is_ended(void **state)
{
    TransportOptions options = plain_options();
    TransportStream *stream;
    gint64 give_up = after_ms(PATIENCE_MS);

    (void)state;
    skip_without_pidfd();
    options.allow_exec = TRUE;
    stream = must_connect("exec:trap '' TERM; echo x; while :; do sleep 1; done", &options);
    must_read(stream, "x\n", 2);
    transport_stream_free(stream);
    while (waitid(P_ALL, 0, &(siginfo_t){0}, WEXITED | WNOHANG | WNOWAIT) == 0) {
        assert_true(g_get_monotonic_time() < give_up);
        g_usleep(10000);
    }
    assert_int_equal(errno, ECHILD);
}

/* ---- file ------------------------------------------------------------------------------------ */

static void test_file(void **state)
{
    g_autofree char *text = path_uri(state, "file", "stream");
    g_autofree char *offset = g_strconcat(text, ",offset=2", NULL);
    const char *path = strchr(text, ':') + 1;
    TransportOptions options = plain_options();
    g_autoptr(TransportStream) writer = must_connect(text, &options);
    g_autoptr(TransportListener) listener = NULL;
    g_autoptr(TransportStream) reader = NULL;
    struct stat status;

    assert_true(transport_stream_is_one_way(writer));
    assert_string_equal(transport_stream_peer(writer), text);
    must_write(writer, "hello world", 11);
    must_shut_down(writer);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    /* Written from an offset: what is before it stays, what was behind it is gone. */
    g_clear_pointer(&writer, transport_stream_free);
    writer = must_connect(offset, &options);
    must_write(writer, "y", 1);
    listener = must_listen(text, &options);
    assert_false(transport_listener_is_repeatable(listener));
    reader = must_accept(listener);
    assert_true(transport_stream_is_one_way(reader));
    must_read(reader, "hey", 3);
    must_read_end(reader);
    g_clear_pointer(&reader, transport_stream_free);
    g_clear_pointer(&listener, transport_listener_free);
    listener = must_listen(offset, &options);
    reader = must_accept(listener);
    must_read(reader, "y", 1);
    must_read_end(reader);
}

static void test_file_refused(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *directory = g_strdup_printf("file:%s", fixture->directory);
    g_autofree char *missing = path_uri(state, "file", "missing");
    g_autofree char *fifo = path_uri(state, "file", "fifo");
    TransportOptions options = plain_options();

    must_not_connect(directory, &options, "Is a directory");
    must_not_listen(directory, &options, "is not a file");
    must_not_listen(missing, &options, "No such file");
    assert_int_equal(mkfifo(strchr(fifo, ':') + 1, 0600), 0);
    must_not_listen(fifo, &options, "for a pipe use fd: or exec:");
    must_not_connect(fifo, &options, "opening");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fd_connected),  cmocka_unit_test(test_fd_listening),
        cmocka_unit_test(test_fd_pipe),       cmocka_unit_test(test_fd_refused),
        cmocka_unit_test(test_exec),          cmocka_unit_test(test_exec_status),
        cmocka_unit_test(test_exec_is_ended), cmocka_unit_test(test_file),
        cmocka_unit_test(test_file_refused),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
