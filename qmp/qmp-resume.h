/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Going on with a paused migration, for both monitors. */
#ifndef QMP_QMP_RESUME_H
#define QMP_QMP_RESUME_H

#include "snprelay/snprelay.h"

/*
 * Resumes towards URI (NULL: as before). ADDRESS (NULL: as before) must be the page of the
 * migration. Errors: INVALID, and those of snprelay_resume().
 */
gboolean qmp_resume(SnprelayRelay *relay, const char *uri, const guint64 *address, GError **error);

#endif
