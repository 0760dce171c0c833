/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A GMainContext that QEMU's main loop runs.
 *
 * The relay's callbacks come from a context of their own, so that a monitor which cannot be suspended
 * (human-monitor-command) can let just them happen, and nothing else of QEMU, until a command is answered.
 */
#ifndef SNPRELAY_SNP_CONTEXT_H
#define SNPRELAY_SNP_CONTEXT_H

#include <glib.h>

/* Makes a context that is run from the main loop. Call it from the main loop's thread. The caller owns it. */
GMainContext *snp_context_new(void);

/*
 * Runs CONTEXT, and only it, until *DONE or for at most MILLISECONDS. From the main loop's thread, not from a callback of
 * CONTEXT.
 */
void snp_context_run_until(GMainContext *context, const gboolean *done, guint milliseconds);

#endif
