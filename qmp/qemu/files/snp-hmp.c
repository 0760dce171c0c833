/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The HMP commands that do something.
 *
 * None of them blocks the main loop: the monitor is suspended until there is an answer, as QEMU's migrate does it.
 * Coroutines would not do: QEMU waits for an HMP command's coroutine in a loop that runs no GLib sources.
 */
#include "qemu/osdep.h"

#include "monitor/hmp.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/queue.h"
#include "snprelay/snp-compat.h"
#include "snprelay/snp-relay.h"

/* How long a monitor that cannot be suspended may keep the main loop. To begin to listen takes a millisecond. */
#define BRIEF_WAIT_MS 100

/* A command that waits, and with it its monitor. */
typedef struct Wait {
    QLIST_ENTRY(Wait) next; /* in waits, once the migration has begun */
    Monitor *mon;           /* NULL: it could not wait any longer */
    bool is_suspended;
    bool to_end;      /* wait until the migration has ended or paused, not only until it began */
    gboolean is_over; /* the command, whose monitor could not be suspended, was answered: */
    char *complaint;  /* so */
} Wait;

static QLIST_HEAD(, Wait) waits = QLIST_HEAD_INITIALIZER(waits);

static void end_wait(Wait *wait, const char *complaint)
{
    if (wait->mon && complaint) {
        monitor_printf(wait->mon, "Error: %s\n", complaint);
    } else if (complaint) {
        error_report("snp_migrate: %s", complaint);
    }
    if (wait->is_suspended) {
        monitor_resume(wait->mon);
    }
    g_free(wait->complaint);
    g_free(wait);
}

/* ---- Until the migration has begun ------------------------------------------------------------------- */

static void on_started(const char *reason, void *opaque)
{
    Wait *wait = opaque;

    if (wait->mon && !wait->is_suspended) {
        wait->is_over = TRUE; /* wait_briefly() goes on with it */
        wait->complaint = g_strdup(reason);
    } else if (wait->to_end && !reason) {
        QLIST_INSERT_HEAD(&waits, wait, next);
    } else {
        end_wait(wait, reason);
    }
}

/* For human-monitor-command, whose monitor is gone when the command returns. */
static void wait_briefly(Wait *wait)
{
    if (!wait->is_over) {
        snp_relay_run_until(&wait->is_over, BRIEF_WAIT_MS);
    }
    if (wait->is_over) {
        end_wait(wait, wait->complaint);
    } else {
        monitor_printf(wait->mon, "still starting; see \"info snp_migrate\"\n");
        wait->mon = NULL;
    }
}

static Wait *new_wait(Monitor *mon, bool to_end)
{
    Wait *wait = g_new0(Wait, 1);

    wait->mon = mon;
    wait->is_suspended = monitor_suspend(mon) == 0;
    wait->to_end = to_end && wait->is_suspended;
    if (to_end && !wait->is_suspended) {
        monitor_printf(mon, "this monitor cannot wait for the end, continuing detached\n");
    }
    return wait;
}

static void start(Monitor *mon, SnpStartKind kind, const QDict *qdict, bool to_end)
{
    Wait *wait = new_wait(mon, to_end);
    bool is_suspended = wait->is_suspended;

    snp_relay_start(mon, kind, qdict_get_str(qdict, "uri"), qdict_get_try_int(qdict, "address", 0),
                    qdict_get_try_bool(qdict, "force", false), on_started, wait);
    if (!is_suspended) {
        wait_briefly(wait);
    }
}

/* ---- Until it has ended ------------------------------------------------------------------------------ */

static void end_waits(const char *complaint)
{
    Wait *wait, *next;

    QLIST_FOREACH_SAFE (wait, &waits, next, next) {
        QLIST_REMOVE(wait, next);
        end_wait(wait, complaint);
    }
}

void snp_hmp_tell(const SnprelayInfo *info)
{
    g_autofree char *complaint = NULL;

    if (!snprelay_status_is_final(info->status) && info->status != SNPRELAY_STATUS_PAUSED) {
        return;
    }
    if (info->status != SNPRELAY_STATUS_COMPLETED) {
        complaint = g_strdup_printf(
            "the migration %s %s%s%s", info->status == SNPRELAY_STATUS_FAILED ? "has" : "is",
            snprelay_status_name(info->status), info->error_desc ? ": " : "",
            info->error_desc ? info->error_desc : "");
    }
    end_waits(complaint);
}

void snp_hmp_end(void)
{
    end_waits("QEMU is shutting down");
}

/* ---- The commands ------------------------------------------------------------------------------------ */

/* Prints what is wrong, if anything is. */
static void complain(Monitor *mon, const GError *error)
{
    if (error) {
        monitor_printf(mon, "Error: %s\n", error->message);
    }
}

static void resume(Monitor *mon, const QDict *qdict, bool detach)
{
    uint64_t address = qdict_get_try_int(qdict, "address", 0);
    Error *error = NULL;

    if (!snp_relay_resume(mon, qdict_get_try_str(qdict, "uri"),
                          qdict_haskey(qdict, "address") ? &address : NULL, &error)) {
        hmp_handle_error(mon, error);
    } else if (!detach) {
        Wait *wait = new_wait(mon, true);

        if (wait->is_suspended) {
            on_started(NULL, wait);
        } else {
            end_wait(wait, NULL);
        }
    }
}

void hmp_snp_migrate(Monitor *mon, const QDict *qdict)
{
    bool detach = qdict_get_try_bool(qdict, "detach", false);

    if (qdict_get_try_bool(qdict, "resume", false)) {
        resume(mon, qdict, detach);
    } else if (!qdict_haskey(qdict, "address")) {
        monitor_printf(mon,
                       "snp_migrate: %s expected\n"
                       "Try \"help snp_migrate\" for more information\n",
                       qdict_haskey(qdict, "uri") ? "address" : "uri");
    } else {
        start(mon, SNP_START_OUTGOING, qdict, !detach);
    }
}

void hmp_snp_migrate_incoming(Monitor *mon, const QDict *qdict)
{
    start(mon, SNP_START_INCOMING, qdict, false);
}

void hmp_snp_migrate_recover(Monitor *mon, const QDict *qdict)
{
    start(mon, SNP_START_RECOVER, qdict, false);
}

void hmp_snp_migrate_cancel(Monitor *mon G_GNUC_UNUSED, const QDict *qdict G_GNUC_UNUSED)
{
    snprelay_cancel(snp_relay_get());
}

void hmp_snp_migrate_pause(Monitor *mon, const QDict *qdict G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    snprelay_pause(snp_relay_get(), &error);
    complain(mon, error);
}

/* ---- Parameters -------------------------------------------------------------------------------------- */

void hmp_snp_migrate_set_parameter(Monitor *mon, const QDict *qdict)
{
    g_autoptr(GError) error = NULL;
    SnprelayParameterValue value = {NULL, NULL, 0};

    if (snprelay_parameter_parse(qdict_get_str(qdict, "name"), qdict_get_str(qdict, "value"),
                                 &value, &error)) {
        snprelay_set_parameters(snp_relay_get(), &value, 1, &error);
        snprelay_parameter_clear(&value);
    }
    complain(mon, error);
}

static void complete_from(ReadLineState *rs, const char *name, const char *prefix)
{
    if (g_str_has_prefix(name, prefix)) {
        readline_add_completion(rs, name);
    }
}

void snp_migrate_set_parameter_completion(ReadLineState *rs, int nb_args, const char *str)
{
    size_t count;
    const SnprelayParameter *parameters = snprelay_parameters(&count);

    readline_set_completion_index(rs, strlen(str));
    for (size_t i = 0; nb_args == 2 && i < count; i++) {
        complete_from(rs, parameters[i].name, str);
    }
}
