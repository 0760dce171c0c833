/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The relay's structures as the schema's objects. */
#ifndef QMP_QMP_INFO_H
#define QMP_QMP_INFO_H

#include <json-glib/json-glib.h>

#include "snprelay/snprelay.h"

/*
 * INFO as SnpMigrationInfo; members that are not known are absent. To free with json_node_unref().
 */
JsonNode *qmp_info_to_json(const SnprelayInfo *info);

/* The data of the event SNP_MIGRATION. */
JsonObject *qmp_info_to_event(const SnprelayInfo *info);

/* The present parameters as SnpMigrationParameters. */
JsonNode *qmp_parameters_to_json(SnprelayRelay *relay);

/*
 * Sets the parameters that OBJECT, which fits the schema, has: all or none. Errors: as
 * snprelay_set_parameters().
 */
gboolean qmp_parameters_from_json(SnprelayRelay *relay, JsonObject *object, GError **error);

#endif
