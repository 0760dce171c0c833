/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The QMP commands.
 *
 * Those that take a while are coroutines: they yield until the relay has answered, while the main loop and the vCPUs go on.
 */
#include "qemu/osdep.h"

#include "monitor/monitor-internal.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-snp.h"
#include "qapi/qapi-events-snp.h"
#include "qapi/qapi-visit-snp.h"
#include "qapi/qobject-input-visitor.h"
#include "qapi/qobject-output-visitor.h"
#include "qemu/coroutine.h"
#include "snprelay/snp-compat.h"
#include "snprelay/snp-relay.h"

/* ---- Commands that take a while ---------------------------------------------------------------------- */

typedef struct Wait {
    Coroutine *coroutine; /* NULL while it has not yielded */
    bool is_done;
    char *reason;
} Wait;

static void wake(const char *reason, void *opaque)
{
    Wait *wait = opaque;

    wait->is_done = true;
    wait->reason = g_strdup(reason);
    if (wait->coroutine) {
        aio_co_wake(wait->coroutine);
    }
}

static void coroutine_fn start_and_wait(SnpStartKind kind, const char *uri, uint64_t address,
                                        bool force, Error **errp)
{
    Wait wait = {.coroutine = NULL};

    snp_relay_start(monitor_cur(), kind, uri, address, force, wake, &wait);
    if (!wait.is_done) {
        wait.coroutine = qemu_coroutine_self();
        qemu_coroutine_yield();
    }
    if (wait.reason) {
        error_setg(errp, "%s", wait.reason);
    }
    g_free(wait.reason);
}

void coroutine_fn qmp_snp_migrate(const char *uri, uint64_t address, bool has_resume, bool resume,
                                  bool has_force, bool force, Error **errp)
{
    if (has_resume && resume) {
        snp_relay_resume(monitor_cur(), uri, &address, errp);
    } else {
        start_and_wait(SNP_START_OUTGOING, uri, address, has_force && force, errp);
    }
}

void coroutine_fn qmp_snp_migrate_incoming(const char *uri, uint64_t address, bool has_force,
                                           bool force, Error **errp)
{
    start_and_wait(SNP_START_INCOMING, uri, address, has_force && force, errp);
}

void coroutine_fn qmp_snp_migrate_recover(const char *uri, Error **errp)
{
    start_and_wait(SNP_START_RECOVER, uri, 0, false, errp);
}

/* ---- Commands that are done at once ------------------------------------------------------------------ */

void qmp_snp_migrate_cancel(Error **errp G_GNUC_UNUSED)
{
    snprelay_cancel(snp_relay_get());
}

void qmp_snp_migrate_pause(Error **errp)
{
    g_autoptr(GError) error = NULL;

    if (!snprelay_pause(snp_relay_get(), &error)) {
        error_setg(errp, "%s", error->message);
    }
}

/* ---- What is told ------------------------------------------------------------------------------------ */

static strList *list_of(char **strings)
{
    strList *list = NULL, **tail = &list;

    for (; strings && *strings; strings++) {
        QAPI_LIST_APPEND(tail, g_strdup(*strings));
    }
    return list;
}

/* QAPI's enumerations have the names that the relay uses. */
static SnpMigrationStatus status_of(const SnprelayInfo *info)
{
    return qapi_enum_parse(&SnpMigrationStatus_lookup, snprelay_status_name(info->status),
                           SNP_MIGRATION_STATUS_NONE, &error_abort);
}

static void fill_counters(SnpMigrationInfo *answer, const SnprelayInfo *info)
{
    SNP_SET(answer, blocks, info->blocks);
    SNP_SET(answer, bytes, info->bytes);
    SNP_SET(answer, reconnects, info->reconnects);
    if (info->has_acked) {
        SNP_SET(answer, acked_bytes, info->acked_bytes);
    }
    if (info->setup_time >= 0) {
        SNP_SET(answer, setup_time, info->setup_time);
        SNP_SET(answer, mbps, info->mbps);
    }
    if (info->total_time >= 0) {
        SNP_SET(answer, total_time, info->total_time);
    }
    if (info->guest_idle_time >= 0) {
        SNP_SET(answer, guest_idle_time, info->guest_idle_time);
    }
}

SnpMigrationInfo *qmp_query_snp_migrate(Error **errp G_GNUC_UNUSED)
{
    g_autoptr(SnprelayInfo) info = snprelay_query(snp_relay_get());
    SnpMigrationInfo *answer = g_new0(SnpMigrationInfo, 1);

    answer->status = status_of(info);
    if (info->status == SNPRELAY_STATUS_NONE) {
        return answer;
    }
    SNP_SET(answer, direction,
            info->incoming ? SNP_MIGRATION_DIRECTION_INCOMING : SNP_MIGRATION_DIRECTION_OUTGOING);
    SNP_SET_STRING(answer, uri, g_strdup(info->uri));
    SNP_SET(answer, address, info->address);
    SNP_SET_LIST(answer, listening, list_of(info->listening));
    if (info->wire) {
        SNP_SET(answer, wire,
                qapi_enum_parse(&SnpWire_lookup, info->wire, SNP_WIRE_NATIVE, &error_abort));
    }
    fill_counters(answer, info);
    if (info->has_checksum) {
        SNP_SET_STRING(answer, checksum, g_strdup_printf("%016" PRIx64, info->checksum));
    }
    SNP_SET_STRING(answer, error_desc, g_strdup(info->error_desc));
    return answer;
}

void snp_qmp_tell(const SnprelayInfo *info)
{
    qapi_event_send_snp_migration(status_of(info), SNP_OPTIONAL_STRING(info->error_desc));
}

/* ---- Parameters -------------------------------------------------------------------------------------- */

static bool is_text(const SnprelayParameter *parameter)
{
    return parameter->type == SNPRELAY_PARAMETER_STRING ||
           parameter->type == SNPRELAY_PARAMETER_CHOICE;
}

/* The members of GIVEN that are there, by their names. */
static QDict *members_of(SnpMigrationParameters *given)
{
    QObject *object;
    Visitor *visitor = qobject_output_visitor_new(&object);

    visit_type_SnpMigrationParameters(visitor, NULL, &given, &error_abort);
    visit_complete(visitor, &object);
    visit_free(visitor);
    return qobject_to(QDict, object);
}

void qmp_snp_migrate_set_parameters(SnpMigrationParameters *given, Error **errp)
{
    size_t count, n_values = 0;
    const SnprelayParameter *parameters = snprelay_parameters(&count);
    g_autofree SnprelayParameterValue *values = g_new0(SnprelayParameterValue, count);
    g_autoptr(GError) error = NULL;
    QDict *members = members_of(given);

    for (size_t i = 0; i < count; i++) {
        const char *name = parameters[i].name;
        SnprelayParameterValue *value = &values[n_values];

        if (!qdict_haskey(members, name)) {
            continue;
        }
        n_values++;
        value->name = name;
        if (is_text(&parameters[i])) {
            value->text = (char *)qdict_get_str(members, name); /* lent: the relay copies it */
        } else {
            value->number = qnum_get_uint(qobject_to(QNum, qdict_get(members, name)));
        }
    }
    if (!snprelay_set_parameters(snp_relay_get(), values, n_values, &error)) {
        error_setg(errp, "%s", error->message);
    }
    qobject_unref(members);
}

SnpMigrationParameters *qmp_query_snp_migrate_parameters(Error **errp)
{
    size_t count;
    const SnprelayParameter *parameters = snprelay_parameters(&count);
    SnprelayParameterValue *values = snprelay_get_parameters(snp_relay_get());
    SnpMigrationParameters *answer = NULL;
    QDict *members = qdict_new();
    Visitor *visitor;

    for (size_t i = 0; i < count; i++) {
        if (is_text(&parameters[i])) {
            qdict_put_str(members, values[i].name, values[i].text ? values[i].text : "");
        } else {
            qdict_put_obj(members, values[i].name, QOBJECT(qnum_from_uint(values[i].number)));
        }
    }
    snprelay_parameters_free(values);
    visitor = qobject_input_visitor_new(QOBJECT(members));
    visit_type_SnpMigrationParameters(visitor, NULL, &answer, errp);
    visit_free(visitor);
    qobject_unref(members);
    return answer;
}

/* ---- Other names ------------------------------------------------------------------------------------- */

void snp_qmp_add_aliases(void)
{
    qmp_register_command(&qmp_commands, "snp_migrate", qmp_marshal_snp_migrate, QCO_COROUTINE, 0);
    qmp_register_command(&qmp_commands, "snp_migrate_incoming", qmp_marshal_snp_migrate_incoming,
                         QCO_COROUTINE, 0);
    qmp_register_command(&qmp_commands, "snp_migrate_cancel", qmp_marshal_snp_migrate_cancel, 0, 0);
}
