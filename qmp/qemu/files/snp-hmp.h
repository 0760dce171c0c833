/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The handlers that QEMU's tables of HMP commands name. */
#ifndef SNPRELAY_SNP_HMP_H
#define SNPRELAY_SNP_HMP_H

#include "qemu/readline.h"

void hmp_snp_migrate(Monitor *mon, const QDict *qdict);
void hmp_snp_migrate_incoming(Monitor *mon, const QDict *qdict);
void hmp_snp_migrate_cancel(Monitor *mon, const QDict *qdict);
void hmp_snp_migrate_pause(Monitor *mon, const QDict *qdict);
void hmp_snp_migrate_recover(Monitor *mon, const QDict *qdict);
void hmp_snp_migrate_set_parameter(Monitor *mon, const QDict *qdict);
void snp_migrate_set_parameter_completion(ReadLineState *rs, int nb_args, const char *str);

void hmp_info_snp_migrate(Monitor *mon, const QDict *qdict);
void hmp_info_snp_migrate_parameters(Monitor *mon, const QDict *qdict);
void hmp_info_snp_page(Monitor *mon, const QDict *qdict);

#endif
