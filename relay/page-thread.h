/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who takes the turns with the guest.
 *
 * A thread of its own keeps the page going while the stream thread is in a system call: that is the fastest way where
 * there are processors for it. Where there are few, a second thread only takes the processor from the guest, and waking it
 * costs more than it brings; then the stream thread attends to the page itself whenever it has nothing to send or
 * receive. All functions are the stream thread's.
 */
#ifndef RELAY_PAGE_THREAD_H
#define RELAY_PAGE_THREAD_H

#include "relay/migration.h"

/* Once both sides know each other: begins on the page. Errors: those of migpage_begin(); no thread could be made. */
gboolean relay_page_begin(Migration *migration, GError **error);

/* The stream thread is about to be busy with something else, like connecting: the page goes on in a thread. ERROR may be
 * NULL: then it waits. */
gboolean relay_page_hand_over(Migration *migration, GError **error);

/* ... and is back. */
void relay_page_take_over(Migration *migration);

/* TRUE: the stream thread must attend to the page itself, and may do so now. */
gboolean relay_page_is_attended(Migration *migration);

/* Takes turns, until there is something for the stream to do or the guest has not acted for some microseconds. Returns for
 * how long (us) the stream thread may sleep before it attends again; 0: it must not. */
gint64 relay_page_attend(Migration *migration);

/* Stops the page thread, if it runs. Afterwards page_ended does not change. */
void relay_page_stop(Migration *migration);

#endif
