/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sandbox, in two steps.
 *
 * 1. No core dump and no debugger of the same user: blocks of a guest's memory are in this process. No new privileges.
 * 2. A list of the system calls that are allowed; anything else fails with EPERM, as if the kernel had never heard of it.
 *    Failing rather than killing: a migration whose guest cannot start over must not die of a C library that tries
 *    something new before it falls back.
 *
 * It is entered when memory, monitors and credentials named on the command line are open. Files are still opened later
 * (file: URIs, TLS credentials, name resolution), so paths are left to the system's own permissions.
 */
#include "relay/program/sandbox.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "snprelay/snprelay.h"

#if defined(HAVE_SECCOMP) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include <seccomp.h>

#define CALL(name) SCMP_SYS(name)

static const int always[] = {
    /* memory */
    CALL(brk),
    CALL(madvise),
    CALL(mmap),
    CALL(mprotect),
    CALL(mremap),
    CALL(munmap),
    /* threads and time */
    CALL(clock_getres),
    CALL(clock_gettime),
    CALL(clock_nanosleep),
    CALL(clone),
    CALL(clone3),
    CALL(exit),
    CALL(exit_group),
    CALL(futex),
    CALL(gettid),
    CALL(gettimeofday),
    CALL(membarrier),
    CALL(nanosleep),
    CALL(prctl),
    CALL(restart_syscall),
    CALL(rseq),
    CALL(sched_getaffinity),
    CALL(sched_getattr),
    CALL(sched_setaffinity),
    CALL(sched_setattr),
    CALL(sched_yield),
    CALL(set_robust_list),
    CALL(getcpu),
    /* signals and our own process */
    CALL(getegid),
    CALL(geteuid),
    CALL(getgid),
    CALL(getpid),
    CALL(getppid),
    CALL(getrandom),
    CALL(getrlimit),
    CALL(getrusage),
    CALL(getuid),
    CALL(prlimit64),
    CALL(rt_sigaction),
    CALL(rt_sigpending),
    CALL(rt_sigprocmask),
    CALL(rt_sigtimedwait),
    CALL(rt_sigreturn),
    CALL(sigaltstack),
    CALL(sysinfo),
    CALL(tgkill),
    CALL(uname),
    /* files */
    CALL(access),
    CALL(chmod),
    CALL(close),
    CALL(dup),
    CALL(dup3),
    CALL(faccessat),
    CALL(faccessat2),
    CALL(fallocate),
    CALL(fchmod),
    CALL(fchmodat),
    CALL(fcntl),
    CALL(fdatasync),
    CALL(flock),
    CALL(fstat),
    CALL(fstatfs),
    CALL(fsync),
    CALL(ftruncate),
    CALL(getcwd),
    CALL(getdents64),
    CALL(ioctl),
    CALL(lseek),
    CALL(lstat),
    CALL(newfstatat),
    CALL(open),
    CALL(openat),
    CALL(pread64),
    CALL(preadv),
    CALL(pwrite64),
    CALL(pwritev),
    CALL(read),
    CALL(readlink),
    CALL(readlinkat),
    CALL(readv),
    CALL(rename),
    CALL(renameat),
    CALL(renameat2),
    CALL(stat),
    CALL(statfs),
    CALL(statx),
    CALL(umask),
    CALL(unlink),
    CALL(unlinkat),
    CALL(write),
    CALL(writev),
    /* waiting; GIO watches the resolver's configuration */
    CALL(epoll_create1),
    CALL(epoll_ctl),
    CALL(epoll_pwait),
    CALL(epoll_wait),
    CALL(eventfd2),
    CALL(inotify_add_watch),
    CALL(inotify_init),
    CALL(inotify_init1),
    CALL(inotify_rm_watch),
    CALL(pipe),
    CALL(pipe2),
    CALL(poll),
    CALL(ppoll),
    CALL(pselect6),
    CALL(select),
    CALL(timerfd_create),
    CALL(timerfd_settime),
    /* sockets */
    CALL(accept),
    CALL(accept4),
    CALL(bind),
    CALL(connect),
    CALL(getpeername),
    CALL(getsockname),
    CALL(getsockopt),
    CALL(listen),
    CALL(recvfrom),
    CALL(recvmmsg),
    CALL(recvmsg),
    CALL(sendmmsg),
    CALL(sendmsg),
    CALL(sendto),
    CALL(setsockopt),
    CALL(shutdown),
    CALL(socket),
    CALL(socketpair),
};

static const int for_other_process[] = {
    CALL(kcmp),
    CALL(pidfd_getfd),
    CALL(pidfd_open),
    CALL(pidfd_send_signal),
    CALL(process_vm_readv),
    CALL(process_vm_writev),
};

static int allow(scmp_filter_ctx filter, const int *calls, size_t count)
{
    int result = 0;

    for (size_t i = 0; i < count && result == 0; i++) {
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
        if (result == -EDOM) {
            result = 0; /* this architecture does not have it */
        }
    }
    return result;
}

static int load_filter(const SandboxNeeds *needs)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int result;

    if (!filter) {
        return -ENOMEM;
    }
    result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (result == 0) {
        result = allow(filter, always, G_N_ELEMENTS(always));
    }
    if (result == 0 && needs->other_process) {
        result = allow(filter, for_other_process, G_N_ELEMENTS(for_other_process));
    }
    if (result == 0) {
        result = seccomp_load(filter);
    }
    seccomp_release(filter);
    return result;
}
#else
/* Built without libseccomp, or with a sanitizer that needs what the filter forbids. */
static int load_filter(const SandboxNeeds *needs G_GNUC_UNUSED)
{
    return 0;
}
#endif

gboolean relay_sandbox_enter(const SandboxNeeds *needs, GError **error)
{
    const struct rlimit no_core = {0, 0};
    int result;

    setrlimit(RLIMIT_CORE, &no_core);
    prctl(PR_SET_DUMPABLE, 0);
    if (needs->exec) {
        return TRUE;
    }
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    result = load_filter(needs);
    if (result < 0) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_POLICY,
                    "the sandbox cannot be entered: %s (--sandbox off goes without)",
                    g_strerror(-result));
    }
    return result >= 0;
}
