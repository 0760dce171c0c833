/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * This QEMU's one relay, shared by all monitors.
 *
 * Everything here runs in the main loop's thread with the big lock held; the blocks are moved by libsnprelay's own
 * threads, which never take it.
 */
#ifndef SNPRELAY_SNP_RELAY_H
#define SNPRELAY_SNP_RELAY_H

#include <snprelay/snprelay.h>

#include "monitor/monitor.h"

typedef enum SnpStartKind {
    SNP_START_OUTGOING,
    SNP_START_INCOMING,
    SNP_START_RECOVER, /* without an address */
} SnpStartKind;

/* How a command that takes a while was answered: REASON is NULL when it took hold. Called once. */
typedef void SnpStartDone(const char *reason, void *opaque);

/* The relay, made when it is first asked for. */
SnprelayRelay *snp_relay_get(void);

/*
 * Starts what KIND says, and answers through DONE, now or later. A descriptor that URI names (fd:NAME) is taken from MON
 * (NULL: from none).
 */
void snp_relay_start(Monitor *mon, SnpStartKind kind, const char *uri, uint64_t address, bool force,
                     SnpStartDone *done, void *opaque);

/* Goes on with a paused outgoing migration: URI NULL is the old one, ADDRESS NULL the old page. */
bool snp_relay_resume(Monitor *mon, const char *uri, const uint64_t *address, Error **errp);

/* Lets the relay's news happen, and nothing else, until *DONE or for MILLISECONDS at most. */
void snp_relay_run_until(const gboolean *done, guint milliseconds);

/* ---- Told to the monitors (snp-hmp.c, snp-qmp.c) ---- */

/* The state changed. */
void snp_hmp_tell(const SnprelayInfo *info);
void snp_qmp_tell(const SnprelayInfo *info);

/* QEMU is about to end: nobody will be told of a migration's end. */
void snp_hmp_end(void);

/* Makes the commands known under the names that have an underscore. */
void snp_qmp_add_aliases(void);

#endif
