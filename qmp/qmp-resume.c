/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The page cannot be changed by a resume; everything else is the relay's to check. */
#include "qmp/qmp-resume.h"

#include <inttypes.h>

gboolean qmp_resume(SnprelayRelay *relay, const char *uri, const guint64 *address, GError **error)
{
    g_autoptr(SnprelayInfo) info = snprelay_query(relay);

    gboolean paused =
        info->status == SNPRELAY_STATUS_PAUSED || info->status == SNPRELAY_STATUS_RECOVERING;

    if (address && paused && *address != info->address) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "cannot resume with the page at 0x%" PRIx64
                    ": the paused migration is of the page at 0x%" PRIx64,
                    *address, info->address);
        return FALSE;
    }
    return snprelay_resume(relay, uri, error);
}
