/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long to keep out of the way where many threads want the processors.
 *
 * With many relays on few processors the guests hardly run any more if every relay wakes up again and again to see whether
 * its own did. So each sleeps longer the more threads there are, and those that are awake find a guest that runs.
 */
#ifndef MIGPAGE_CROWD_H
#define MIGPAGE_CROWD_H

#include <glib.h>

#define MIGPAGE_CROWD_LONGEST_US 20000

/* For how long to sleep at least, in us, at most the above; 0: there is no crowd, or it is not known (no /proc). Costs some
 * microseconds. Any thread. */
gint64 migpage_crowd_nap(void);

#endif
