/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a relay can be told once a migration runs, its parameters and its descriptors. */
#include <string.h>
#include <unistd.h>

#include "relay/start.h"

static gboolean check_status(Migration *m, gboolean fits, const char *what, GError **error)
{
    g_autoptr(SnprelayInfo) info = m ? relay_migration_info(m) : NULL;

    if (fits) {
        return TRUE;
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_STATE, "%s; the state is %s", what,
                info ? snprelay_status_name(info->status) : "none");
    return FALSE;
}

static SnprelayStatus status_of(Migration *m)
{
    g_autoptr(SnprelayInfo) info = m ? relay_migration_info(m) : NULL;

    return info ? info->status : SNPRELAY_STATUS_NONE;
}

static gboolean is_paused(Migration *m)
{
    SnprelayStatus status = status_of(m);

    return status == SNPRELAY_STATUS_PAUSED || status == SNPRELAY_STATUS_RECOVERING;
}

/* Puts a URI (taken over, may be NULL) and what belongs to it into the requests of a migration that is still paused. With the
 * lock held. */
static gboolean request_uri(Migration *m, TransportUri **uri, int fd, GError **error)
{
    if (m->status != SNPRELAY_STATUS_PAUSED && m->status != SNPRELAY_STATUS_RECOVERING) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_STATE,
                    "the migration is paused no longer; the state is %s",
                    snprelay_status_name(m->status));
        return FALSE;
    }
    if (!*uri) {
        return TRUE;
    }
    relay_requests_drop_uri(&m->requests);
    m->requests.fd = relay_take_inherited(*uri, fd);
    m->requests.uri = g_steal_pointer(uri);
    return TRUE;
}

/* A URI on which a broken session can be taken up again. */
static TransportUri *check_session_uri(SnprelayRelay *relay, const char *text, int *fd,
                                       GError **error)
{
    g_autoptr(TransportUri) uri = relay_check_uri(relay, text, error);

    if (!uri) {
        return NULL;
    }
    if (uri->kind == TRANSPORT_FILE) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "%s: a file answers nothing, a paused migration cannot go on there", text);
        return NULL;
    }
    return relay_take_descriptor(relay, uri, fd, error) ? g_steal_pointer(&uri) : NULL;
}

gboolean snprelay_resume(SnprelayRelay *relay, const char *text, GError **error)
{
    Migration *m = relay->migration;
    g_autoptr(TransportUri) uri = NULL;
    gboolean requested;
    int fd = -1;

    if (!check_status(m, is_paused(m) && !m->incoming,
                      "there is no paused outgoing migration to resume", error)) {
        return FALSE;
    }
    if (text && !(uri = check_session_uri(relay, text, &fd, error))) {
        return FALSE;
    }
    g_mutex_lock(&m->lock);
    requested = request_uri(m, &uri, fd, error);
    if (requested) {
        /* Before anybody can see the request: an attempt for it must not be interrupted. */
        g_cancellable_cancel(m->cancellable);
        m->requests.resume = TRUE;
        /* At once: a script that asks next must not take the old pause for the outcome. */
        relay_migration_event_locked(m, RELAY_EVENT_RECONNECT, NULL);
    }
    g_mutex_unlock(&m->lock);
    if (!requested && fd >= 0) {
        close(fd);
    }
    relay_migration_wake(m, FALSE);
    return requested;
}

static gboolean recover(SnprelayRelay *relay, const char *text, SnprelayReadyFunc ready,
                        gpointer opaque, GError **error)
{
    Migration *m = relay->migration;
    g_autoptr(TransportUri) uri = NULL;
    gboolean requested = FALSE;
    int fd = -1;

    if (!check_status(m, is_paused(m) && m->incoming,
                      "there is no paused incoming migration to recover", error)) {
        return FALSE;
    }
    uri = check_session_uri(relay, text, &fd, error);
    if (!uri) {
        return FALSE;
    }
    g_mutex_lock(&m->lock);
    if (m->requests.uri) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_STATE,
                    "another recover is being carried out");
    } else if (request_uri(m, &uri, fd, error)) {
        m->requests.ready = ready;
        m->requests.ready_opaque = opaque;
        requested = TRUE;
    }
    g_mutex_unlock(&m->lock);
    if (!requested && fd >= 0) {
        close(fd);
    }
    relay_migration_wake(m, FALSE);
    return requested;
}

void snprelay_recover(SnprelayRelay *relay, const char *uri, SnprelayReadyFunc ready,
                      gpointer opaque)
{
    g_autoptr(GError) error = NULL;

    if (!recover(relay, uri, ready, opaque, &error) && ready) {
        ready(relay, error, opaque);
    }
}

gboolean snprelay_pause(SnprelayRelay *relay, GError **error)
{
    Migration *m = relay->migration;
    g_autoptr(SnprelayInfo) info = snprelay_query(relay);
    gboolean active;

    if (!check_status(m, info->status == SNPRELAY_STATUS_ACTIVE,
                      "there is no active migration to pause", error)) {
        return FALSE;
    }
    if (!relay_migration_is_resumable(m)) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_STATE,
                    "the %s cannot be resumed, so it cannot be paused; cancel ends the migration",
                    g_strcmp0(info->wire, "poc") == 0 ? "poc wire" : "stream of a file");
        return FALSE;
    }
    g_mutex_lock(&m->lock);
    /* It may have broken by itself meanwhile. */
    active = m->requests.pause = m->status == SNPRELAY_STATUS_ACTIVE;
    g_mutex_unlock(&m->lock);
    relay_migration_wake(m, FALSE);
    return check_status(m, active, "there is no active migration to pause", error);
}

/* Gives up what runs; ERROR (taken over) fails it, NULL cancels it. */
static void give_up(SnprelayRelay *relay, GError *error)
{
    Migration *m = relay->starting ? relay->starting : relay_running(relay);

    if (relay->mapping) {
        relay_map_request_cancel(relay->mapping, error);
    }
    if (!m) {
        g_clear_error(&error);
        return;
    }
    if (error) {
        relay_migration_fail(m, error);
        return;
    }
    g_mutex_lock(&m->lock);
    m->requests.cancel = TRUE;
    g_mutex_unlock(&m->lock);
    relay_migration_event(m, RELAY_EVENT_CANCEL, NULL);
    relay_migration_wake(m, TRUE);
}

void snprelay_cancel(SnprelayRelay *relay)
{
    give_up(relay, NULL);
}

void snprelay_guest_gone(SnprelayRelay *relay, const char *reason)
{
    give_up(relay, g_error_new_literal(SNPRELAY_ERROR, SNPRELAY_ERROR_GUEST, reason));
}

/* ---- Parameters ------------------------------------------------------------------------------------ */

gboolean snprelay_set_parameters(SnprelayRelay *relay, const SnprelayParameterValue *values,
                                 size_t count, GError **error)
{
    Migration *running = relay_running(relay);
    gboolean busy = running || relay->starting || relay->mapping;

    if (!relay_parameters_set(relay->parameters, values, count, busy, error)) {
        return FALSE;
    }
    if (!running) {
        running = relay->starting;
    }
    if (running) {
        atomic_store(&running->max_bandwidth, relay->parameters->max_bandwidth);
        relay_migration_wake(running, FALSE);
    }
    return TRUE;
}

SnprelayParameterValue *snprelay_get_parameters(SnprelayRelay *relay)
{
    return relay_parameters_get(relay->parameters);
}

/* ---- Descriptors ----------------------------------------------------------------------------------- */

gboolean snprelay_add_fd(SnprelayRelay *relay, const char *name, int fd, GError **error)
{
    if (!*name || g_ascii_isdigit(*name)) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "the name of a file descriptor must not begin with a digit or be empty: '%s'",
                    name);
        close(fd);
        return FALSE;
    }
    g_hash_table_replace(relay->descriptors, g_strdup(name), GINT_TO_POINTER(fd));
    return TRUE;
}

gboolean snprelay_remove_fd(SnprelayRelay *relay, const char *name, GError **error)
{
    if (g_hash_table_remove(relay->descriptors, name)) {
        return TRUE;
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                "no file descriptor was handed over as '%s'", name);
    return FALSE;
}
