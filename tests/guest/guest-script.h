/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the simulated guest does around each block: contents, verification, delays, and misbehaviour. */
#ifndef GUEST_SCRIPT_H
#define GUEST_SCRIPT_H

#include "guest-agent.h"
#include "guest-options.h"

typedef struct GuestScript GuestScript;

/* Makes a script. OPTIONS and AGENT must outlive it; AGENT's interrupt ends every wait in it. */
GuestScript *guest_script_new(const GuestOptions *options, const GuestAgent *agent);

/* Does what comes before the first status is looked at. */
void guest_script_boot(GuestScript *script);

/* Begins run number RUN (from 0) and returns its hooks, valid until the next call. */
const GuestHooks *guest_script_start_run(GuestScript *script, guint64 run);

/* Ends a run: prints what was found in it. Returns FALSE when a block was wrong, or too many or too few came. */
gboolean guest_script_end_run(GuestScript *script, GuestOutcome outcome, guint64 blocks);

void guest_script_free(GuestScript *script);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(GuestScript, guest_script_free)

#endif
