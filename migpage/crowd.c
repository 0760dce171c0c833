/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counting who wants the processors: the running and ready threads of the whole machine, as proc_loadavg(5) tells them. */
#include "migpage/crowd.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* On one processor. Two guests and two relays on two processors are no crowd: there short sleeps are best. */
#define CROWD 4
#define NAP_US 2000 /* for each one more on a processor */

static int count_runnable(void)
{
    char text[128], *slash, *number;
    int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;

    if (fd >= 0) {
        close(fd);
    }
    text[MAX(length, 0)] = '\0';
    slash = strchr(text, '/'); /* "0.31 0.12 0.05 RUNNABLE/ALL PID" */
    if (!slash) {
        return 0;
    }
    *slash = '\0';
    number = strrchr(text, ' ');
    return number ? atoi(number) : 0;
}

gint64 migpage_crowd_nap(void)
{
    gint64 processors = get_nprocs();
    gint64 surplus = count_runnable() - CROWD * processors;

    return CLAMP(surplus * NAP_US / processors, 0, MIGPAGE_CROWD_LONGEST_US);
}
