/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Commands of exec: URIs. The command's standard input and output are one socket, so that it may
 * use them as two pipes or as one connection; what it writes to standard error goes where ours
 * goes.
 */
#include "transports/internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* How long a command may take to end after it was asked to. */
#define CHILD_GRACE_MS 2000

struct TransportChild {
    pid_t pid;
    int pidfd;
    char *command;
    gboolean ended; /* and reaped; status is valid */
    int status;
};

/* Runs in the new process: the command shall not inherit what this thread blocks and ignores. A Ctrl-C at the terminal is
 * for us, who still have something to say through it. */
static void reset_signals(gpointer data G_GNUC_UNUSED)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGINT, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
}

static void child_destroy(TransportChild *child)
{
    transport_fd_close(&child->pidfd);
    g_free(child->command);
    g_free(child);
}

TransportChild *transport_child_start(const char *command, int *fd, GError **error)
{
    const char *arguments[] = {"/bin/sh", "-c", command, NULL};
    TransportChild *child;
    TRANSPORT_AUTOFD ours = -1;
    TRANSPORT_AUTOFD theirs = -1;
    int pair[2];
    GPid pid;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "socketpair: %s",
                    g_strerror(errno));
        return NULL;
    }
    ours = pair[0];
    theirs = pair[1];
    if (!g_spawn_async_with_pipes_and_fds(NULL, arguments, NULL, G_SPAWN_DO_NOT_REAP_CHILD,
                                          reset_signals, NULL, theirs, theirs, -1, NULL, NULL, 0,
                                          &pid, NULL, NULL, NULL, error)) {
        return NULL;
    }
    child = g_new0(TransportChild, 1);
    child->pid = pid;
    child->command = g_strdup(command);
    child->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (child->pidfd < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "pidfd_open: %s",
                    g_strerror(errno));
        kill(pid, SIGKILL);
        transport_child_free(child);
        return NULL;
    }
    *fd = transport_fd_steal(&ours);
    return child;
}

int transport_child_fd(TransportChild *child)
{
    return child->pidfd;
}

gboolean transport_child_has_ended(TransportChild *child, int timeout_ms)
{
    struct pollfd pollfd = {child->pidfd, POLLIN, 0};

    if (child->ended) {
        return TRUE;
    }
    if (poll(&pollfd, 1, timeout_ms) == 1) {
        /* Where SIGCHLD is ignored there is no status to learn; then it counts as 0. */
        child->ended = waitpid(child->pid, &child->status, WNOHANG) != 0;
    }
    return child->ended;
}

gboolean transport_child_check(TransportChild *child, GError **error)
{
    if (WIFEXITED(child->status) && WEXITSTATUS(child->status) == 0) {
        return TRUE;
    }
    if (WIFSIGNALED(child->status)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    "the command '%s' was killed by signal %d (%s)", child->command,
                    WTERMSIG(child->status), g_strsignal(WTERMSIG(child->status)));
    } else {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    "the command '%s' ended with exit status %d", child->command,
                    WEXITSTATUS(child->status));
    }
    return FALSE;
}

/* A thread of its own, for a command that did not end by itself. */
static gpointer reap_child(gpointer data)
{
    TransportChild *child = data;

    if (!transport_child_has_ended(child, CHILD_GRACE_MS)) {
        kill(child->pid, SIGKILL);
        while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    child_destroy(child);
    return NULL;
}

void transport_child_free(TransportChild *child)
{
    GThread *thread;

    if (!child) {
        return;
    }
    if (transport_child_has_ended(child, 0)) {
        child_destroy(child);
        return;
    }
    kill(child->pid, SIGTERM);
    thread = g_thread_try_new("exec-reaper", reap_child, child, NULL);
    if (thread) {
        g_thread_unref(thread);
    } else {
        reap_child(child); /* no thread to be had: better late than a zombie */
    }
}
