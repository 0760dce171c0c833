/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The relay's life beside the machine's: made on demand, told of a reset, ended before QEMU ends. */
#include "qemu/osdep.h"

#include "migration/blocker.h"
#include "qapi/error.h"
#include "qapi/qapi-events-snp.h"
#include "qemu/error-report.h"
#include "qemu/module.h"
#include "qemu/notify.h"
#include "qemu/queue.h"
#include "snprelay/snp-compat.h"
#include "snprelay/snp-context.h"
#include "snprelay/snp-page.h"
#include "snprelay/snp-relay.h"

/* A command that was not answered yet. The relay has it as the opaque of its answer. */
typedef struct Start {
    QLIST_ENTRY(Start) next;
    SnpStartDone *done; /* NULL: QEMU ends, and whoever asked was told so */
    void *opaque;
    char *fd_name; /* handed to the relay for this command, or NULL */
} Start;

static struct {
    SnprelayRelay *relay;
    GMainContext *context;
    Error *blocker; /* why QEMU's own migration is not possible now, or NULL */
    bool is_ending; /* nothing is started any longer */
    QLIST_HEAD(, Start) starts;
} snp;

/* ---- QEMU's own migration and ours exclude each other ------------------------------------------------ */

/* Its page would be written behind the back of a snapshot or a migration of the whole machine. */
static bool block_migration(Error **errp)
{
    int failed;

    if (snp.blocker) {
        return true;
    }
    error_setg(&snp.blocker, "an SNP migration is under way (see snp_migrate_cancel)");
#if SNP_BLOCKER_OWNS_REASON
    failed = migrate_add_blocker(&snp.blocker, errp);
#else
    failed = migrate_add_blocker(snp.blocker, errp);
    if (failed) {
        error_free(snp.blocker);
        snp.blocker = NULL;
    }
#endif
    return !failed;
}

/* Called when something has ended: does nothing while anything else goes on. */
static void unblock_migration(void)
{
    g_autoptr(SnprelayInfo) info = snprelay_query(snp.relay);

    if (!snp.blocker || !QLIST_EMPTY(&snp.starts) || !snprelay_status_is_final(info->status)) {
        return;
    }
#if SNP_BLOCKER_OWNS_REASON
    migrate_del_blocker(&snp.blocker);
#else
    migrate_del_blocker(snp.blocker);
    error_free(snp.blocker);
    snp.blocker = NULL;
#endif
}

/* ---- From the relay ---------------------------------------------------------------------------------- */

static void status_changed(SnprelayRelay *relay G_GNUC_UNUSED, const SnprelayInfo *info,
                           gpointer opaque G_GNUC_UNUSED)
{
    if (snprelay_status_is_final(info->status)) {
        unblock_migration();
    }
    snp_qmp_tell(info);
    snp_hmp_tell(info);
}

static void stalled(SnprelayRelay *relay G_GNUC_UNUSED, uint64_t idle_ms,
                    gpointer opaque G_GNUC_UNUSED)
{
    qapi_event_send_snp_migration_stalled(idle_ms);
}

static void warning(SnprelayRelay *relay G_GNUC_UNUSED, const char *message,
                    gpointer opaque G_GNUC_UNUSED)
{
    warn_report("%s", message);
}

/* ---- From the machine -------------------------------------------------------------------------------- */

static void on_reset(void *opaque G_GNUC_UNUSED)
{
    snprelay_guest_gone(snp.relay, "the guest was reset");
}

static void answer_all(const char *reason)
{
    Start *start;

    QLIST_FOREACH (start, &snp.starts, next) {
        SnpStartDone *done = g_steal_pointer(&start->done);

        if (done) {
            done(reason, start->opaque);
        }
    }
}

/*
 * The main loop is about to end, and the monitors with it, so nothing may wait for an answer any longer. With
 * -no-shutdown QEMU stays, and so does a migration: what the guest has given still reaches the peer.
 */
static void on_shutdown(Notifier *notifier G_GNUC_UNUSED, void *data G_GNUC_UNUSED)
{
    if (shutdown_action == SHUTDOWN_ACTION_PAUSE) {
        return;
    }
    snp.is_ending = true;
    snprelay_guest_gone(snp.relay, "QEMU was shut down");
    answer_all("QEMU is shutting down");
    snp_hmp_end();
}

/* Also when something calls exit(); tells the peer and waits for the threads, about a second at most. */
static void on_qemu_exit(Notifier *notifier G_GNUC_UNUSED, void *data G_GNUC_UNUSED)
{
    g_clear_pointer(&snp.relay, snprelay_free);
}

/* ---- Life -------------------------------------------------------------------------------------------- */

static Notifier shutdown_notifier = {.notify = on_shutdown};
static Notifier exit_notifier = {.notify = on_qemu_exit};

SnprelayRelay *snp_relay_get(void)
{
    static const SnprelayCallbacks callbacks = {
        .map_page = snp_page_map,
        .status_changed = status_changed,
        .stalled = stalled,
        .warning = warning,
    };

    if (!snp.relay) {
        snp.context = snp_context_new();
        /* As QEMU's own migrate: who has the monitor may start programs, unless -sandbox forbids it. */
        snp.relay = snprelay_new(snp.context, &callbacks, SNPRELAY_POLICY_ALLOW_EXEC, NULL);
        qemu_register_reset(on_reset, NULL);
        qemu_register_shutdown_notifier(&shutdown_notifier);
        qemu_add_exit_notifier(&exit_notifier);
    }
    return snp.relay;
}

void snp_relay_run_until(const gboolean *done, guint milliseconds)
{
    snp_context_run_until(snp.context, done, milliseconds);
}

/* ---- Commands ---------------------------------------------------------------------------------------- */

/* The name in fd:NAME, or NULL. */
static const char *fd_name_of(const char *uri)
{
    const char *name = uri && g_str_has_prefix(uri, "fd:") ? uri + strlen("fd:") : "";

    return *name && !g_ascii_isdigit(*name) ? name : NULL;
}

/* Moves the descriptor that URI names from QEMU's monitor to the relay. *NAME is its name, or NULL; to be freed. */
static bool hand_over_fd(Monitor *mon, const char *uri, char **name, Error **errp)
{
    g_autoptr(GError) error = NULL;
    const char *fd_name = fd_name_of(uri);
    int fd;

    *name = NULL;
    if (!fd_name || !mon) {
        return true;
    }
    fd = monitor_get_fd(mon, fd_name, errp);
    if (fd < 0) {
        return false;
    }
    if (!snprelay_add_fd(snp_relay_get(), fd_name, fd, &error)) {
        error_setg(errp, "%s", error->message);
        return false;
    }
    *name = g_strdup(fd_name);
    return true;
}

/* A command has used up its descriptor, whatever became of it, as QEMU's own do. */
static void drop_fd(const char *name)
{
    if (name) {
        snprelay_remove_fd(snp.relay, name, NULL);
    }
}

static void on_ready(SnprelayRelay *relay G_GNUC_UNUSED, const GError *error, gpointer opaque)
{
    Start *start = opaque;

    QLIST_REMOVE(start, next);
    drop_fd(start->fd_name);
    if (error) {
        unblock_migration();
    }
    if (start->done) {
        start->done(error ? error->message : NULL, start->opaque);
    }
    g_free(start->fd_name);
    g_free(start);
}

static bool check_start(Monitor *mon, const char *uri, uint64_t address, char **fd_name,
                        Error **errp)
{
    if (snp.is_ending) {
        error_setg(errp, "QEMU is shutting down");
        return false;
    }
    if (address > INT64_MAX) {
        error_setg(errp, "address %" PRId64 " is negative, or beyond any guest's memory",
                   (int64_t)address);
        return false;
    }
    snp_relay_get();
    return hand_over_fd(mon, uri, fd_name, errp);
}

void snp_relay_start(Monitor *mon, SnpStartKind kind, const char *uri, uint64_t address, bool force,
                     SnpStartDone *done, void *opaque)
{
    SnprelayFlags flags = force ? SNPRELAY_FLAG_FORCE : SNPRELAY_FLAG_NONE;
    g_autofree char *fd_name = NULL;
    Error *error = NULL;
    Start *start;

    if (!check_start(mon, uri, address, &fd_name, &error) || !block_migration(&error)) {
        drop_fd(fd_name);
        done(error_get_pretty(error), opaque);
        error_free(error);
        return;
    }
    start = g_new0(Start, 1);
    start->done = done;
    start->opaque = opaque;
    start->fd_name = g_steal_pointer(&fd_name);
    QLIST_INSERT_HEAD(&snp.starts, start, next);
    switch (kind) {
    case SNP_START_OUTGOING:
        snprelay_migrate(snp.relay, uri, address, flags, on_ready, start);
        break;
    case SNP_START_INCOMING:
        snprelay_migrate_incoming(snp.relay, uri, address, flags, on_ready, start);
        break;
    case SNP_START_RECOVER:
        snprelay_recover(snp.relay, uri, on_ready, start);
        break;
    }
}

bool snp_relay_resume(Monitor *mon, const char *uri, const uint64_t *address, Error **errp)
{
    SnprelayRelay *relay = snp_relay_get();
    g_autoptr(SnprelayInfo) info = snprelay_query(relay);
    g_autoptr(GError) error = NULL;
    g_autofree char *fd_name = NULL;
    bool is_paused =
        info->status == SNPRELAY_STATUS_PAUSED || info->status == SNPRELAY_STATUS_RECOVERING;

    if (address && is_paused && *address != info->address) {
        error_setg(errp,
                   "cannot resume with the page at 0x%" PRIx64
                   ": the paused migration is of the page at 0x%" PRIx64,
                   *address, info->address);
        return false;
    }
    if (!hand_over_fd(mon, uri, &fd_name, errp)) {
        return false;
    }
    if (!snprelay_resume(relay, uri, &error)) {
        error_setg(errp, "%s", error->message);
    }
    drop_fd(fd_name);
    return !error;
}

/* The table of QMP commands is complete only when QEMU has begun to run. */
static void on_machine_done(Notifier *notifier G_GNUC_UNUSED, void *data G_GNUC_UNUSED)
{
    snp_qmp_add_aliases();
}

static void init(void)
{
    static Notifier machine_notifier = {.notify = on_machine_done};

    qemu_add_machine_init_done_notifier(&machine_notifier);
}
type_init(init)
