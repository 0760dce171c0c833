/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the program gives up once it has opened what the command line names. */
#ifndef RELAY_PROGRAM_SANDBOX_H
#define RELAY_PROGRAM_SANDBOX_H

#include <glib.h>

typedef struct SandboxNeeds {
    gboolean
        exec; /* exec: URIs: children would inherit a filter that they cannot live with, so there is none */
    gboolean other_process; /* qemu: looks into another process */
} SandboxNeeds;

/* Enters the sandbox with all threads that there are. FALSE with ERROR when the kernel refuses. */
gboolean relay_sandbox_enter(const SandboxNeeds *needs, GError **error);

#endif
