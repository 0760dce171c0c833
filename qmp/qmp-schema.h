/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the QAPI schema says, as tables: schema-gen.py writes them at build time from snp.json and
 * monitor.json.
 */
#ifndef QMP_QMP_SCHEMA_H
#define QMP_QMP_SCHEMA_H

#include <glib.h>
#include <json-glib/json-glib.h>

typedef enum QmpSchemaKind {
    QMP_SCHEMA_STRING,
    QMP_SCHEMA_INT,
    QMP_SCHEMA_NUMBER,
    QMP_SCHEMA_BOOL,
    QMP_SCHEMA_ENUM,
    QMP_SCHEMA_LIST,
    QMP_SCHEMA_ANY,
} QmpSchemaKind;

typedef struct QmpSchemaType {
    QmpSchemaKind kind;
    gint64 minimum;                      /* INT */
    guint64 maximum;                     /* INT */
    const char *const *values;           /* ENUM: NULL-terminated */
    const struct QmpSchemaType *element; /* LIST */
} QmpSchemaType;

typedef struct QmpSchemaMember {
    const char *name;
    const QmpSchemaType *type;
    gboolean optional;
} QmpSchemaMember;

typedef struct QmpSchemaCommand {
    const char *name;
    const char *module; /* "snp": ours everywhere; "monitor": only of a server that stands alone */
    const QmpSchemaMember *arguments;
    guint n_arguments;
} QmpSchemaCommand;

typedef struct QmpSchemaEvent {
    const char *name;
    const char *module;
} QmpSchemaEvent;

typedef struct QmpSchemaInfo {
    const char *text;   /* a SchemaInfo object as JSON */
    const char *module; /* "snp" when one of our own commands or events needs it */
} QmpSchemaInfo;

/* All of them; the last one's first member is NULL. */
extern const QmpSchemaCommand qmp_schema_commands[];
extern const QmpSchemaEvent qmp_schema_events[];
extern const QmpSchemaInfo qmp_schema_infos[];

/* Finds a command by NAME; NULL when the schema has none. */
const QmpSchemaCommand *qmp_schema_find(const char *name);

/*
 * Checks ARGUMENTS (NULL: none) against COMMAND's: all that are needed, nothing else, of the right
 * types and in their ranges. Errors: QMP_ERROR_GENERIC with QEMU's texts.
 */
gboolean qmp_schema_check(const QmpSchemaCommand *command, JsonObject *arguments, GError **error);

#endif
