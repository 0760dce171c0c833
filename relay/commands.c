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

/* Puts a URI (taken over) and what belongs to it into the requests, in place of one that was not carried out yet. */
static void request_uri(Migration *m, TransportUri *uri, int fd)
{
    g_clear_pointer(&m->requests.uri, transport_uri_free);
    if (m->requests.fd >= 0) {
        close(m->requests.fd);
    }
    m->requests.uri = uri;
    m->requests.fd = fd;
}

gboolean snprelay_resume(SnprelayRelay *relay, const char *text, GError **error)
{
    Migration *m = relay->migration;
    g_autoptr(TransportUri) uri = NULL;
    int fd = -1;

    if (!check_status(m, is_paused(m) && !m->incoming,
                      "there is no paused outgoing migration to resume", error)) {
        return FALSE;
    }
    if (text) {
        uri = relay_check_uri(relay, text, error);
        if (!uri || !relay_take_descriptor(relay, uri, &fd, error)) {
            return FALSE;
        }
    }
    g_mutex_lock(&m->lock);
    m->requests.resume = TRUE;
    if (uri) {
        request_uri(m, g_steal_pointer(&uri), fd);
    }
    g_mutex_unlock(&m->lock);
    relay_migration_wake(m, TRUE);
    return TRUE;
}

static gboolean recover(SnprelayRelay *relay, const char *text, SnprelayReadyFunc ready,
                        gpointer opaque, GError **error)
{
    Migration *m = relay->migration;
    g_autoptr(TransportUri) uri = NULL;
    gboolean busy;
    int fd;

    if (!check_status(m, is_paused(m) && m->incoming,
                      "there is no paused incoming migration to recover", error)) {
        return FALSE;
    }
    g_mutex_lock(&m->lock);
    busy = m->requests.uri != NULL;
    g_mutex_unlock(&m->lock);
    if (busy) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_STATE,
                    "another recover is being carried out");
        return FALSE;
    }
    uri = relay_check_uri(relay, text, error);
    if (!uri || !relay_take_descriptor(relay, uri, &fd, error)) {
        return FALSE;
    }
    g_mutex_lock(&m->lock);
    request_uri(m, g_steal_pointer(&uri), fd);
    m->requests.ready = ready;
    m->requests.ready_opaque = opaque;
    g_mutex_unlock(&m->lock);
    relay_migration_wake(m, FALSE);
    return TRUE;
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
    m->requests.pause = TRUE;
    g_mutex_unlock(&m->lock);
    relay_migration_wake(m, FALSE);
    return TRUE;
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
