/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is common to both directions: life and death, requests, states, the page thread's start and end. */
#include "relay/migration.h"

#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "migpage/layout.h"
#include "relay/page-thread.h"

static void make_session(guint8 *session)
{
    while (getrandom(session, NATIVE_SESSION_SIZE, 0) != NATIVE_SESSION_SIZE) {
        /* interrupted before the kernel's pool was ready, right after boot */
    }
}

Migration *relay_migration_new(gboolean incoming, TransportUri *uri, uint64_t address,
                               RelayParameters *parameters, TransportTls *tls, int fd,
                               const MigrationNotify *notify)
{
    Migration *m =
        aligned_alloc(_Alignof(Migration), sizeof(Migration)); /* g_new0() knows no cache lines */

    if (!m) {
        g_error("out of memory");
    }
    memset(m, 0, sizeof(*m));
    m->incoming = incoming;
    m->uri = uri;
    m->address = address;
    m->parameters = parameters;
    m->tls = tls;
    m->fd = fd;
    m->notify = *notify;
    m->status = SNPRELAY_STATUS_NONE;
    m->requests.fd = -1;
    m->stream_wakeup.fd = m->page_wakeup.fd = -1;
    m->cancellable = g_cancellable_new();
    relay_checksum_init(&m->sum);
    g_mutex_init(&m->lock);
    atomic_init(&m->guest_waiting, -1);
    atomic_init(&m->max_bandwidth, parameters->max_bandwidth);
    if (!incoming) {
        make_session(m->session);
        m->wire = strcmp(parameters->wire, "poc") == 0 ? "poc" : "native";
    }
    m->started = g_get_monotonic_time();
    return m;
}

void relay_requests_drop_uri(MigrationRequests *requests)
{
    g_clear_pointer(&requests->uri, transport_uri_free);
    if (requests->fd >= 0) {
        g_close(requests->fd, NULL);
        requests->fd = -1;
    }
}

void relay_migration_free(Migration *m)
{
    relay_window_clear(&m->window);
    relay_checksum_clear(&m->sum);
    relay_wakeup_clear(&m->stream_wakeup);
    relay_wakeup_clear(&m->page_wakeup);
    g_clear_error(&m->requests.fail);
    relay_requests_drop_uri(&m->requests);
    g_clear_error(&m->error);
    g_clear_pointer(&m->page, migpage_free);
    g_clear_pointer(&m->tls, transport_tls_unref);
    transport_uri_free(m->uri);
    relay_parameters_free(m->parameters);
    g_strfreev(m->listening);
    if (m->fd >= 0) {
        g_close(m->fd, NULL);
    }
    g_object_unref(m->cancellable);
    g_mutex_clear(&m->lock);
    free(m);
}

gboolean relay_migration_start(Migration *m, GError **error)
{
    g_autoptr(GError) reason = NULL;

    m->stream_thread = g_thread_try_new(
        "snprelay-stream", m->incoming ? relay_incoming_thread : relay_outgoing_thread, m, &reason);
    if (!m->stream_thread) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_STATE, "no thread to migrate with: %s",
                    reason->message);
    }
    return m->stream_thread != NULL;
}

/* ---- Asking ---------------------------------------------------------------------------------------- */

static double megabits_per_second(uint64_t bytes, gint64 us)
{
    return us > 0 ? (double)bytes * 8 / (double)us : 0;
}

static gint64 guest_idle_ms(Migration *m, gint64 now)
{
    gint64 since = atomic_load(&m->guest_waiting);

    return since > 0 ? (now - since) / 1000 : since;
}

/* A resume shows at once, before the stream thread takes it up. */
static gboolean resumes_elsewhere(const Migration *m)
{
    return m->requests.resume && m->requests.uri;
}

/* With the lock held. */
static SnprelayInfo *make_info(Migration *m)
{
    SnprelayInfo *info = g_new0(SnprelayInfo, 1);
    gint64 now = g_get_monotonic_time();
    gint64 end = m->ended ? m->ended : now;

    info->status = m->status;
    info->incoming = m->incoming;
    info->uri = g_strdup(resumes_elsewhere(m) ? m->requests.uri->text : m->uri->text);
    info->address = m->address;
    info->listening = g_strdupv(m->listening);
    info->wire = m->wire;
    info->blocks = atomic_load(&m->blocks);
    info->bytes = info->blocks * MIGPAGE_BLOCK_SIZE;
    info->has_acked = m->incoming || m->resumable; /* nobody acknowledges the poc wire, or a file */
    info->acked_bytes = (m->incoming ? info->blocks : atomic_load(&m->acked)) * MIGPAGE_BLOCK_SIZE;
    info->reconnects = m->reconnects;
    info->setup_time = m->activated ? (m->activated - m->started) / 1000 : -1;
    info->total_time = (end - m->started) / 1000;
    info->mbps = m->activated ? megabits_per_second(info->bytes, end - m->activated) : 0;
    info->guest_idle_time = m->status == SNPRELAY_STATUS_ACTIVE ? guest_idle_ms(m, now) : -1;
    info->has_checksum = m->has_checksum;
    info->checksum = m->checksum;
    info->error_desc = m->error ? g_strdup(m->error->message) : NULL;
    return info;
}

SnprelayInfo *relay_migration_info(Migration *m)
{
    SnprelayInfo *info;

    g_mutex_lock(&m->lock);
    info = make_info(m);
    g_mutex_unlock(&m->lock);
    return info;
}

void snprelay_info_free(SnprelayInfo *info)
{
    if (info) {
        g_free(info->uri);
        g_strfreev(info->listening);
        g_free(info->error_desc);
        g_free(info);
    }
}

/* ---- States ---------------------------------------------------------------------------------------- */

/* With the lock held. */
static void note_times(Migration *m, SnprelayStatus status)
{
    gint64 now = g_get_monotonic_time();

    if (status == SNPRELAY_STATUS_ACTIVE) {
        if (m->activated) {
            m->reconnects++;
        } else {
            m->activated = now;
        }
    }
    if (snprelay_status_is_final(status)) {
        m->ended = now;
        g_clear_pointer(&m->listening, g_strfreev);
    }
}

gboolean relay_migration_event_locked(Migration *m, RelayEvent event, const GError *error)
{
    SnprelayStatus next;

    if (event == RELAY_EVENT_LOST && m->requests.resume) {
        return FALSE; /* the next attempt was asked for already: whoever did must not read "paused" again */
    }
    if (!relay_next_status(m->status, event, &next)) {
        return FALSE;
    }
    m->status = next;
    note_times(m, next);
    if (error || next == SNPRELAY_STATUS_ACTIVE || next == SNPRELAY_STATUS_COMPLETED) {
        g_clear_error(&m->error);
        m->error = error ? g_error_copy(error) : NULL;
    }
    /* Under the lock, so that changes are told in the order in which they happen. */
    m->notify.status(m->notify.opaque, make_info(m));
    return TRUE;
}

gboolean relay_migration_event(Migration *m, RelayEvent event, const GError *error)
{
    gboolean known;

    g_mutex_lock(&m->lock);
    known = relay_migration_event_locked(m, event, error);
    g_mutex_unlock(&m->lock);
    return known;
}

void relay_migration_wake(Migration *m, gboolean interrupt)
{
    if (interrupt) {
        g_cancellable_cancel(m->cancellable);
    }
    relay_wakeup_signal(&m->stream_wakeup);
}

void relay_migration_fail(Migration *m, GError *error)
{
    g_mutex_lock(&m->lock);
    if (m->requests.fail) {
        g_error_free(error); /* the first reason is the one that explains */
    } else {
        m->requests.fail = error;
    }
    g_mutex_unlock(&m->lock);
    relay_migration_wake(m, TRUE);
}

Outcome relay_migration_requested(Migration *m, GError **error)
{
    Outcome outcome = OUTCOME_GOING_ON;

    g_mutex_lock(&m->lock);
    if (m->requests.cancel) {
        outcome = OUTCOME_CANCELLED;
    } else if (m->requests.fail) {
        g_propagate_error(error, g_error_copy(m->requests.fail));
        outcome = OUTCOME_FAILED;
    } else if (m->requests.pause) {
        m->requests.pause = FALSE;
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_NETWORK, "paused by command");
        outcome = OUTCOME_PAUSED;
    }
    g_mutex_unlock(&m->lock);
    return outcome;
}

gboolean relay_migration_has_request(Migration *m)
{
    gboolean has;

    g_mutex_lock(&m->lock);
    has = m->requests.cancel || m->requests.fail || m->requests.pause;
    g_mutex_unlock(&m->lock);
    return has;
}

void relay_migration_set_resumable(Migration *m, gboolean resumable)
{
    g_mutex_lock(&m->lock);
    m->resumable = resumable;
    g_mutex_unlock(&m->lock);
}

gboolean relay_migration_is_resumable(Migration *m)
{
    gboolean resumable;

    g_mutex_lock(&m->lock);
    resumable = m->resumable;
    g_mutex_unlock(&m->lock);
    return resumable;
}

void relay_replace_error(GError **error, GError *reason)
{
    if (error) {
        g_clear_error(error);
    }
    if (reason) {
        g_propagate_error(error, reason);
    }
}

void relay_migration_set_wire(Migration *m, const char *wire)
{
    g_mutex_lock(&m->lock);
    m->wire = wire;
    g_mutex_unlock(&m->lock);
}

void relay_migration_set_checksum(Migration *m, uint64_t checksum)
{
    g_mutex_lock(&m->lock);
    m->has_checksum = TRUE;
    m->checksum = checksum;
    g_mutex_unlock(&m->lock);
}

void relay_migration_warn(Migration *m, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    m->notify.warning(m->notify.opaque, g_strdup_vprintf(format, args));
    va_end(args);
}

/* ---- The end -------------------------------------------------------------------------------------- */

void relay_migration_finish(Migration *m, Outcome outcome, const GError *error)
{
    g_autoptr(GError) by_person = NULL;

    relay_page_stop(m);
    if (outcome != OUTCOME_COMPLETED) {
        migpage_abandon(m->page);
    }
    /* The mapping goes before the last event: whoever hears of the end may take the memory away. */
    g_clear_pointer(&m->page, migpage_free);
    switch (outcome) {
    case OUTCOME_COMPLETED:
        relay_migration_event(m, RELAY_EVENT_COMPLETED, NULL);
        break;
    case OUTCOME_CANCELLED:
        if (!error) {
            g_set_error(&by_person, SNPRELAY_ERROR, SNPRELAY_ERROR_CANCELLED,
                        "cancelled by command");
            error = by_person;
        }
        relay_migration_event(m, RELAY_EVENT_CANCEL, error);
        relay_migration_event(m, RELAY_EVENT_CANCELLED, error);
        break;
    default:
        relay_migration_event(m, RELAY_EVENT_FAILED, error);
    }
}
