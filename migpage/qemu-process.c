/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU's process, and the reasons for which the kernel may keep it from us. */
#include "migpage/qemu-process.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "snprelay/snprelay.h"

struct MigPageProcess {
    pid_t pid;
    int pidfd;
    char *name;
};

static char *read_name(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/comm", (int)pid);
    g_autofree char *name = NULL;

    if (!g_file_get_contents(path, &name, NULL, NULL)) {
        return g_strdup_printf("pid %d", (int)pid);
    }
    return g_strdup_printf("%s (pid %d)", g_strchomp(name), (int)pid);
}

MigPageProcess *migpage_process_open(pid_t pid, GError **error)
{
    MigPageProcess *process;
    int pidfd;

    if (pid <= 0) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
                    "QEMU's process cannot be seen from here: it runs outside this pid namespace "
                    "(container); run the relay in QEMU's pid namespace or in one above it, or use "
                    "--guest-memory file:PATH");
        return NULL;
    }
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
                    "cannot open QEMU's process, pid %d: %s", (int)pid,
                    errno == ESRCH ? "it has ended" : g_strerror(errno));
        return NULL;
    }
    process = g_new0(MigPageProcess, 1);
    process->pid = pid;
    process->pidfd = pidfd;
    process->name = read_name(pid);
    return process;
}

void migpage_process_free(MigPageProcess *process)
{
    close(process->pidfd);
    g_free(process->name);
    g_free(process);
}

pid_t migpage_process_get_pid(const MigPageProcess *process)
{
    return process->pid;
}

int migpage_process_get_pidfd(const MigPageProcess *process)
{
    return process->pidfd;
}

gboolean migpage_process_is_alive(const MigPageProcess *process)
{
    struct pollfd poll_one = {process->pidfd, POLLIN, 0};

    return poll(&poll_one, 1, 0) == 0;
}

const char *migpage_process_get_name(const MigPageProcess *process)
{
    return process->name;
}

char *migpage_process_path(const MigPageProcess *process, const char *format, ...)
{
    g_autofree char *rest = NULL;
    va_list arguments;

    va_start(arguments, format);
    rest = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    return g_strdup_printf("/proc/%d/%s", (int)process->pid, rest);
}

/* The process's real user, or -1. */
static long read_uid(const MigPageProcess *process)
{
    g_autofree char *path = migpage_process_path(process, "status");
    g_autofree char *status = NULL;
    const char *line;

    if (!g_file_get_contents(path, &status, NULL, NULL)) {
        return -1;
    }
    line = strstr(status, "\nUid:");
    return line ? strtol(line + strlen("\nUid:"), NULL, 10) : -1;
}

/* A process that must not be looked into belongs to root in /proc. */
static gboolean is_dumpable(const MigPageProcess *process, long uid)
{
    g_autofree char *path = migpage_process_path(process, "mem");
    struct stat st;

    return stat(path, &st) < 0 || (long)st.st_uid == uid;
}

char *migpage_process_explain_denial(const MigPageProcess *process)
{
    long us = geteuid(), it = read_uid(process);
    g_autofree char *scope = NULL;

    if (us == 0) {
        return g_strdup(
            "the relay is root, but without CAP_SYS_PTRACE (a container?), or a security "
            "module forbids it");
    }
    if (it >= 0 && us != it) {
        return g_strdup_printf("the relay runs as user %ld and QEMU as user %ld; run the relay as "
                               "QEMU's user, or give it CAP_SYS_PTRACE",
                               us, it);
    }
    if (!is_dumpable(process, it)) {
        return g_strdup("QEMU is not dumpable, because it changed its user after it was started "
                        "(-runas) or has capabilities; start QEMU as its user at once (runuser, "
                        "systemd's User=), or give the relay CAP_SYS_PTRACE");
    }
    if (g_file_get_contents("/proc/sys/kernel/yama/ptrace_scope", &scope, NULL, NULL) &&
        strtol(scope, NULL, 10) > 0) {
        return g_strdup_printf(
            "kernel.yama.ptrace_scope is %s: give the relay CAP_SYS_PTRACE, or set "
            "it to 0",
            g_strchomp(scope));
    }
    return g_strdup("QEMU has capabilities that the relay lacks, or a security module forbids it; "
                    "give the relay CAP_SYS_PTRACE");
}

void migpage_process_set_error(const MigPageProcess *process, const char *what, int errnum,
                               GError **error)
{
    g_autofree char *why = NULL;

    if (!migpage_process_is_alive(process)) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE, "cannot %s of %s: it has ended",
                    what, process->name);
        return;
    }
    if (errnum == EACCES || errnum == EPERM) {
        why = migpage_process_explain_denial(process);
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE, "cannot %s of %s: %s%s%s%s", what,
                process->name, g_strerror(errnum), why ? " (" : "", why ? why : "", why ? ")" : "");
}
