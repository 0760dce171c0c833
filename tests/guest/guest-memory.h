/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The simulated guest's RAM: a file, of which only the migration page is mapped. */
#ifndef GUEST_MEMORY_H
#define GUEST_MEMORY_H

#include "guest-options.h"

/* Maps the page that OPTIONS name, shared, for the life of the process. Returns NULL and sets ERROR on failure. */
guint8 *guest_memory_map(const GuestOptions *options, GError **error);

#endif
