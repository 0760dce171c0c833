/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What query-commands, query-events and query-qmp-schema tell of the schema. */
#ifndef QMP_QMP_LIST_H
#define QMP_QMP_LIST_H

#include <json-glib/json-glib.h>

/*
 * Each adds to ARRAY: the commands (with their other names), the events, the SchemaInfo objects.
 * OWN_ONLY leaves out what only a server that stands alone has; for a list that another program has
 * begun.
 */
void qmp_list_commands(JsonArray *array, gboolean own_only);
void qmp_list_events(JsonArray *array, gboolean own_only);
void qmp_list_schema(JsonArray *array, gboolean own_only);

/* Adds to ARRAY the SchemaInfo objects with NAMES (the last is NULL), wherever they come from. */
void qmp_list_schema_named(JsonArray *array, const char *const *names);

#endif
