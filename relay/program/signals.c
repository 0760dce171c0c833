/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Signals as events of the main loop. */
#include <glib-unix.h>
#include <signal.h>

#include "relay/program/program.h"

/* nohup(1) has the program go on when its terminal is gone. */
static gboolean is_ignored(int number)
{
    struct sigaction action;

    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

guint relay_signal_add(int number, GSourceFunc function, gpointer data)
{
    if (number == SIGHUP && is_ignored(number)) {
        return 0;
    }
    return g_unix_signal_add(number, function, data);
}
