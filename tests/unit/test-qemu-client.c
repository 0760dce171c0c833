/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client of QEMU's QMP socket, against a QEMU that this test plays itself, in the same main
 * loop. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include <glib/gstdio.h>

#include "qmp/qemu-client.h"
#include "qmp/qemu-page.h"
#include "qmp/qmp-error.h"
#include "snprelay/snprelay.h"

#define PATIENCE_MS 10000

typedef struct Test {
    char *folder, *path;
    int listener, peer; /* QEMU's side */
    QmpQemu *qemu;
    GString *told; /* what the callbacks heard: "ready;event X;reply 1;..." */
} Test;

static void on_ready(QmpQemu *qemu, gpointer opaque)
{
    Test *test = opaque;

    assert_true(qmp_qemu_is_ready(qemu));
    g_string_append(test->told, "ready;");
}

static void on_event(QmpQemu *qemu G_GNUC_UNUSED, JsonObject *event, gpointer opaque)
{
    Test *test = opaque;

    g_string_append_printf(test->told, "event %s;", json_object_get_string_member(event, "event"));
}

static void on_closed(QmpQemu *qemu, const GError *reason, gpointer opaque)
{
    Test *test = opaque;

    assert_ptr_equal(reason, qmp_qemu_get_error(qemu));
    g_string_append(test->told, "closed;");
}

static const QmpQemuWatcher watcher = {on_ready, on_event, on_closed};

static void on_reply(JsonObject *reply, const GError *error, gpointer opaque)
{
    Test *test = opaque;
    g_autoptr(GError) reason = NULL;
    JsonNode *result = qmp_qemu_result(reply, error, &reason);

    if (result) {
        assert_false(json_object_has_member(reply, "id"));
        g_string_append_printf(test->told, "reply %d;", (int)json_node_get_int(result));
    } else {
        g_string_append_printf(test->told, "%s;",
                               reply ? qmp_error_class_name(reason) : "no reply");
    }
}

static int set_up(void **state)
{
    Test *test = g_new0(Test, 1);
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    test->folder = g_dir_make_tmp("snprelay-XXXXXX", NULL);
    test->path = g_build_filename(test->folder, "qmp", NULL);
    test->told = g_string_new(NULL);
    test->peer = -1;
    test->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(address.sun_path, test->path, sizeof(address.sun_path));
    assert_return_code(bind(test->listener, (struct sockaddr *)&address, sizeof(address)), errno);
    assert_return_code(listen(test->listener, 1), errno);
    test->qemu = qmp_qemu_new(test->path);
    qmp_qemu_watch(test->qemu, &watcher, test);
    *state = test;
    return 0;
}

static int tear_down(void **state)
{
    Test *test = *state;

    g_clear_pointer(&test->qemu, qmp_qemu_unref);
    close(test->listener);
    if (test->peer >= 0) {
        close(test->peer);
    }
    g_unlink(test->path);
    g_rmdir(test->folder);
    g_free(test->folder);
    g_free(test->path);
    g_string_free(test->told, TRUE);
    g_free(test);
    return 0;
}

/* Runs the main loop until the callbacks have heard exactly TEXT. */
static void expect_told(Test *test, const char *text)
{
    gint64 deadline = g_get_monotonic_time() + PATIENCE_MS * 1000;

    while (test->told->len < strlen(text) && g_get_monotonic_time() < deadline) {
        g_main_context_iteration(NULL, FALSE);
        g_thread_yield();
    }
    assert_string_equal(test->told->str, text);
}

static void say(Test *test, const char *text)
{
    assert_int_equal(write(test->peer, text, strlen(text)), strlen(text));
}

/* Runs the main loop until the client has sent a line, takes it (and a descriptor, or -1). */
static char *hear(Test *test, int *fd)
{
    gint64 deadline = g_get_monotonic_time() + PATIENCE_MS * 1000;
    GString *line = g_string_new(NULL);
    char control[CMSG_SPACE(sizeof(int))];

    *fd = -1;
    while (!g_str_has_suffix(line->str, "\n") && g_get_monotonic_time() < deadline) {
        char byte;
        struct iovec vector = {&byte, 1};
        struct msghdr message = {.msg_iov = &vector,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof(control)};

        g_main_context_iteration(NULL, FALSE);
        if (recvmsg(test->peer, &message, MSG_DONTWAIT) == 1) {
            struct cmsghdr *header = CMSG_FIRSTHDR(&message);

            g_string_append_c(line, byte);
            if (header && header->cmsg_type == SCM_RIGHTS) {
                memcpy(fd, CMSG_DATA(header), sizeof(*fd));
            }
        }
    }
    return g_string_free(line, FALSE);
}

static void expect_line(Test *test, const char *text)
{
    int fd;
    g_autofree char *line = hear(test, &fd);

    assert_string_equal(line, text);
    assert_int_equal(fd, -1);
}

static void greet(Test *test, const char *capabilities)
{
    gint64 deadline = g_get_monotonic_time() + PATIENCE_MS * 1000;
    g_autofree char *greeting =
        g_strdup_printf("{\"QMP\": {\"version\": {}, \"capabilities\": [%s]}}\r\n", capabilities);

    while (!g_main_context_iteration(NULL, FALSE) && g_get_monotonic_time() < deadline) {
    }
    test->peer = accept(test->listener, NULL, NULL);
    assert_true(test->peer >= 0);
    say(test, greeting);
}

static void become_ready(Test *test)
{
    greet(test, "");
    expect_line(test, "{\"execute\": \"qmp_capabilities\", \"id\": 0}\n");
    say(test, "{\"return\": {}, \"id\": 0}\r\n");
    expect_told(test, "ready;");
    g_string_truncate(test->told, 0);
}

/* ---- Tests
 * ----------------------------------------------------------------------------------------- */

static void test_greeting(void **state)
{
    Test *test = *state;
    struct ucred peer;

    assert_false(qmp_qemu_get_peer(test->qemu, &peer));
    qmp_qemu_command(test->qemu, "early", NULL, on_reply, test);
    greet(test, "\"oob\", \"new\"");
    expect_line(test, "{\"execute\": \"qmp_capabilities\", \"id\": 0, \"arguments\": "
                      "{\"enable\": [\"oob\"]}}\n");
    expect_line(test, "{\"execute\": \"early\", \"id\": 1}\n");
    say(test, "{\"return\": {}, \"id\": 0}\r\n{\"return\": 7, \"id\": 1}\r\n");
    expect_told(test, "ready;reply 7;");
    assert_true(qmp_qemu_has_oob(test->qemu));
    assert_true(json_object_has_member(qmp_qemu_get_greeting(test->qemu), "QMP"));
    assert_true(qmp_qemu_get_peer(test->qemu, &peer));
    assert_int_equal(peer.pid, getpid());
}

static void test_many_outstanding(void **state)
{
    Test *test = *state;

    become_ready(test);
    for (int i = 0; i < 3; i++) {
        g_autoptr(JsonObject) command = json_object_new();

        json_object_set_string_member(command, "exec-oob", "x");
        json_object_set_string_member(command, "id", "of a client");
        qmp_qemu_execute(test->qemu, command, -1, on_reply, test);
    }
    expect_line(test, "{\"exec-oob\": \"x\", \"id\": 1}\n");
    expect_line(test, "{\"exec-oob\": \"x\", \"id\": 2}\n");
    expect_line(test, "{\"exec-oob\": \"x\", \"id\": 3}\n");
    say(test, "{\"return\": 3, \"id\": 3}{\"event\": \"STOP\"}{\"id\": 1, \"error\": {\"class\": "
              "\"CommandNotFound\", \"desc\": \"x\"}}{\"return\": 2, \"id\": 2}");
    expect_told(test, "reply 3;event STOP;CommandNotFound;reply 2;");
    assert_false(qmp_qemu_has_oob(test->qemu));
}

static void test_hang_up(void **state)
{
    Test *test = *state;

    become_ready(test);
    qmp_qemu_command(test->qemu, "a", NULL, on_reply, test);
    expect_line(test, "{\"execute\": \"a\", \"id\": 1}\n");
    shutdown(test->peer, SHUT_RDWR);
    expect_told(test, "no reply;closed;");
    qmp_qemu_command(test->qemu, "b", NULL, on_reply, test); /* answered, but not from here */
    assert_string_equal(test->told->str, "no reply;closed;");
    expect_told(test, "no reply;closed;no reply;");
    assert_non_null(strstr(qmp_qemu_get_error(test->qemu)->message, "closed"));
}

static void test_last_reference(void **state)
{
    Test *test = *state;

    become_ready(test);
    qmp_qemu_command(test->qemu, "a", NULL, on_reply, test);
    g_clear_pointer(&test->qemu, qmp_qemu_unref);
    assert_string_equal(test->told->str, "no reply;closed;");
}

static void push_descriptor(Test *test, const char *name)
{
    g_autoptr(JsonObject) command = json_object_new();
    int ends[2];

    assert_return_code(pipe(ends), errno);
    close(ends[0]);
    json_object_set_string_member(command, "execute", name);
    qmp_qemu_execute(test->qemu, command, ends[1], on_reply, test);
    assert_return_code(fcntl(ends[1], F_GETFD), errno); /* not yet sent */
}

/* QEMU keeps the last descriptor only: the second one, and what follows, waits for the first one's
 * answer. */
static void test_descriptors(void **state)
{
    Test *test = *state;
    g_autofree char *first = NULL, *second = NULL;
    int fd;
    char byte;

    become_ready(test);
    push_descriptor(test, "one");
    push_descriptor(test, "two");
    qmp_qemu_command(test->qemu, "three", NULL, on_reply, test);
    first = hear(test, &fd);
    assert_string_equal(first, "{\"execute\": \"one\", \"id\": 1}\n");
    assert_true(fd >= 0);
    close(fd);
    for (int i = 0; i < 100; i++) {
        g_main_context_iteration(NULL, FALSE);
    }
    assert_int_equal(recv(test->peer, &byte, 1, MSG_DONTWAIT), -1);
    say(test, "{\"return\": 1, \"id\": 1}");
    second = hear(test, &fd);
    assert_string_equal(second, "{\"execute\": \"two\", \"id\": 2}\n");
    assert_true(fd >= 0);
    close(fd);
    expect_line(test, "{\"execute\": \"three\", \"id\": 3}\n");
}

static void test_watcher_removes_itself(void **state)
{
    Test *test = *state;
    gulong number = qmp_qemu_watch(test->qemu, &watcher, test);

    qmp_qemu_unwatch(test->qemu, number);
    become_ready(test); /* told once */
}

static void test_garbage(void **state)
{
    Test *test = *state;

    become_ready(test);
    say(test, "{\"return\": 1, \"id\": 77}{\"event\": \"STOP\"}\r\n hello");
    expect_told(test, "event STOP;");
    say(test, "?");
    expect_told(test, "event STOP;closed;");
    assert_non_null(strstr(qmp_qemu_get_error(test->qemu)->message, "hello"));
}

/* A human monitor's answer of many megabytes, in many pieces. */
static void test_long_answer(void **state)
{
    Test *test = *state;
    g_autofree char *text = g_strnfill(65536, 'x');

    become_ready(test);
    qmp_qemu_command(test->qemu, "a", NULL, on_reply, test);
    say(test, "{\"return\": 5, \"id\": 1, \"more\": \"");
    for (int i = 0; i < 160; i++) {
        say(test, text);
        while (g_main_context_iteration(NULL, FALSE)) {
        }
    }
    say(test, "\"}");
    expect_told(test, "reply 5;");
}

static void on_page(const QmpQemuPage *page, const GError *error, gpointer opaque)
{
    Test *test = opaque;

    g_string_append_printf(test->told, "%s;", page ? page->block : error->message);
}

static void on_kind(const char *kind, const GError *error G_GNUC_UNUSED, gpointer opaque)
{
    Test *test = opaque;

    g_string_append_printf(test->told, "%s;", kind ? kind : "no kind");
}

static void test_find_page(void **state)
{
    Test *test = *state;

    become_ready(test);
    qmp_qemu_find_page(test->qemu, 0x1000, on_page, test);
    expect_line(test, "{\"execute\": \"human-monitor-command\", \"arguments\": {\"command-line\": "
                      "\"gpa2hva 0x1000\"}, \"id\": 1}\n");
    say(test, "{\"id\": 1, \"return\": \"Host virtual address for 0x1000 (ram) is 0x7000\"}"
              "{\"id\": 2, \"return\": \" AS \\\"memory\\\", root: system\\r\\n  "
              "0000000000000000-000000000000ffff (prio 0, ram): ram\\r\\n\"}");
    expect_told(test, "ram;");
    qmp_qemu_find_page(test->qemu, 0x1000, on_page, test);
    say(test, "{\"id\": 3, \"error\": {\"class\": \"CommandNotFound\", \"desc\": \"none\"}}"
              "{\"id\": 4, \"return\": {}}");
    expect_told(test, "ram;QEMU was asked where the guest's memory is (human-monitor-command), and "
                      "refused: none;");
}

static void test_kinds(void **state)
{
    static const struct {
        const char *answer, *kind;
    } cases[] = {
        {"\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"x\"}", "plain;"},
        {"\"return\": {\"enabled\": false, \"state\": \"uninit\"}", "plain;"},
        {"\"return\": {\"enabled\": true, \"state\": \"running\", \"sev-type\": \"sev-snp\"}",
         "AMD SEV-SNP (running);"},
        {"\"return\": {\"enabled\": true, \"state\": \"running\", \"policy\": 5}",
         "AMD SEV-ES (running);"},
        {"\"return\": {\"enabled\": true, \"state\": \"running\", \"policy\": 1}",
         "AMD SEV (running);"},
        {"\"return\": {\"enabled\": \"yes\"}", "plain;"},
        {"\"return\": []", "plain;"},
    };
    Test *test = *state;

    become_ready(test);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *answer = g_strdup_printf("{%s, \"id\": %d}", cases[i].answer, (int)i + 1);

        g_string_truncate(test->told, 0);
        qmp_qemu_query_kind(test->qemu, on_kind, test);
        say(test, answer);
        expect_told(test, cases[i].kind);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_greeting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_outstanding, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hang_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_last_reference, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_descriptors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_watcher_removes_itself, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_garbage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_find_page, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kinds, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
