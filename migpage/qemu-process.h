/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process of a running QEMU, pinned by a pidfd so that its number cannot come to mean another
 * one unnoticed.
 */
#ifndef MIGPAGE_QEMU_PROCESS_H
#define MIGPAGE_QEMU_PROCESS_H

#include <glib.h>
#include <sys/types.h>

typedef struct MigPageProcess MigPageProcess;

/*
 * Opens the process PID, which the peer credentials of QEMU's socket named. The caller must hear
 * something from QEMU through that socket afterwards: then it was that process. Errors
 * (SNPRELAY_ERROR_PAGE): 0 (it runs in another pid namespace), no such process.
 */
MigPageProcess *migpage_process_open(pid_t pid, GError **error);
void migpage_process_free(MigPageProcess *process);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MigPageProcess, migpage_process_free)

pid_t migpage_process_get_pid(const MigPageProcess *process);

/* Readable when the process has ended; the process's. */
int migpage_process_get_pidfd(const MigPageProcess *process);

/* FALSE: it has ended, and whatever was read from /proc/PID may be another's. */
gboolean migpage_process_is_alive(const MigPageProcess *process);

/* "qemu-system-x86 (pid 123)"; the process's. */
const char *migpage_process_get_name(const MigPageProcess *process);

/* "/proc/123/" and FORMAT; free with g_free(). */
char *migpage_process_path(const MigPageProcess *process, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* Why the kernel forbids access to the process, and what would help; free with g_free(). */
char *migpage_process_explain_denial(const MigPageProcess *process);

/* Sets ERROR (SNPRELAY_ERROR_PAGE): "cannot WHAT of PROCESS: ERRNUM", explained when it is a
 * denial. */
void migpage_process_set_error(const MigPageProcess *process, const char *what, int errnum,
                               GError **error);

#endif
