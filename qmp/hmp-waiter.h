/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A line that is done when the migration it started has ended, failed or paused. It sees every
 * change of the state from before the command is given, so that none can be missed.
 */
#ifndef QMP_HMP_WAITER_H
#define QMP_HMP_WAITER_H

#include "qmp/qmp-context.h"

typedef struct HmpWaiter HmpWaiter;

/*
 * Begins to watch for REQUEST, which is taken over. To be followed by exactly one of the next two. UNDER_WAY: what it
 * waits for goes on already; else an end that is told before a beginning is that of an earlier migration.
 */
HmpWaiter *hmp_waiter_new(QmpContext *context, HmpRequest *request, gboolean under_way);

/* The command took hold: REQUEST ends with the migration. */
void hmp_waiter_start(HmpWaiter *waiter);

/* The command was refused: ends REQUEST with ERROR. */
void hmp_waiter_refuse(HmpWaiter *waiter, const GError *error);

/* Tells the waiters of CONTEXT that the state changed. */
void hmp_waiters_tell(QmpContext *context, const SnprelayInfo *info);

/* Ends all waiting, for the end of the program. */
void hmp_waiters_clear(QmpContext *context);

#endif
