/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A relay's life, and the way of its news from a migration's threads to the embedder's context. */
#include "relay/start.h"

#include <unistd.h>

#include "snprelay-version.h"

const char *snprelay_version(void)
{
    return SNPRELAY_VERSION;
}

static void close_descriptor(gpointer value)
{
    close(GPOINTER_TO_INT(value));
}

SnprelayRelay *snprelay_new(GMainContext *context, const SnprelayCallbacks *callbacks,
                            SnprelayPolicy policy, gpointer opaque)
{
    SnprelayRelay *relay = g_new0(SnprelayRelay, 1);

    g_atomic_ref_count_init(&relay->references);
    relay->context = g_main_context_ref(context ? context : g_main_context_default());
    relay->callbacks = *callbacks;
    relay->policy = policy;
    relay->opaque = opaque;
    relay->parameters = relay_parameters_new();
    relay->descriptors = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_descriptor);
    g_mutex_init(&relay->lock);
    return relay;
}

SnprelayRelay *relay_ref(SnprelayRelay *relay)
{
    g_atomic_ref_count_inc(&relay->references);
    return relay;
}

void relay_unref(SnprelayRelay *relay)
{
    if (!g_atomic_ref_count_dec(&relay->references)) {
        return;
    }
    g_main_context_unref(relay->context);
    relay_parameters_free(relay->parameters);
    g_hash_table_unref(relay->descriptors);
    g_mutex_clear(&relay->lock);
    g_free(relay);
}

/* Ends a migration's threads, whatever they do, and frees it. */
static void end_migration(Migration *m)
{
    if (!m) {
        return;
    }
    g_mutex_lock(&m->lock);
    m->requests.cancel = TRUE;
    m->requests.quit = TRUE;
    g_mutex_unlock(&m->lock);
    relay_migration_wake(m, TRUE);
    if (m->stream_thread) {
        g_thread_join(m->stream_thread);
    }
    relay_migration_free(m);
}

void snprelay_free(SnprelayRelay *relay)
{
    relay_progress_stop(relay);
    end_migration(g_steal_pointer(&relay->starting));
    end_migration(g_steal_pointer(&relay->migration));
    relay->closed = TRUE;
    relay_unref(relay);
}

void relay_adopt(SnprelayRelay *relay, Migration *migration)
{
    Migration *before;

    g_mutex_lock(&relay->lock);
    before = relay->migration;
    relay->migration = migration;
    g_mutex_unlock(&relay->lock);
    end_migration(before);
    relay_progress_start(relay);
}

Migration *relay_running(SnprelayRelay *relay)
{
    g_autoptr(SnprelayInfo) info = NULL;

    if (!relay->migration) {
        return NULL;
    }
    info = relay_migration_info(relay->migration);
    return snprelay_status_is_final(info->status) ? NULL : relay->migration;
}

SnprelayInfo *snprelay_query(SnprelayRelay *relay)
{
    SnprelayInfo *info;

    g_mutex_lock(&relay->lock);
    if (relay->migration) {
        info = relay_migration_info(relay->migration);
        info->rate = relay->progress.rate;
    } else {
        info = g_new0(SnprelayInfo, 1);
        info->setup_time = info->guest_idle_time = -1;
    }
    g_mutex_unlock(&relay->lock);
    return info;
}

/* ---- News ------------------------------------------------------------------------------------------ */

static void free_note(gpointer data)
{
    RelayNote *note = data;

    snprelay_info_free(note->info);
    g_free(note->message);
    g_clear_error(&note->error);
    g_clear_pointer(&note->page, migpage_free);
    g_clear_pointer(&note->request, relay_map_request_free);
    relay_unref(note->relay);
    g_free(note);
}

static gboolean deliver_note(gpointer data)
{
    RelayNote *note = data;

    if (!note->relay->closed) {
        note->deliver(note);
    }
    return G_SOURCE_REMOVE;
}

void relay_post(SnprelayRelay *relay, RelayNote *note)
{
    GSource *source = g_idle_source_new();

    note->relay = relay_ref(relay);
    g_source_set_priority(source,
                          G_PRIORITY_DEFAULT); /* one priority for all keeps them in order */
    g_source_set_callback(source, deliver_note, note, free_note);
    g_source_attach(source, relay->context);
    g_source_unref(source);
}

/* An incoming migration becomes the present one with its first news. */
static void adopt_starting(SnprelayRelay *relay)
{
    if (relay->starting) {
        relay_adopt(relay, g_steal_pointer(&relay->starting));
    }
}

static void deliver_status(RelayNote *note)
{
    SnprelayRelay *relay = note->relay;

    adopt_starting(relay);
    if (snprelay_status_is_final(note->info->status)) {
        relay_progress_stop(relay);
    }
    if (relay->callbacks.status_changed) {
        relay->callbacks.status_changed(relay, note->info, relay->opaque);
    }
}

static void deliver_warning(RelayNote *note)
{
    if (note->relay->callbacks.warning) {
        note->relay->callbacks.warning(note->relay, note->message, note->relay->opaque);
    }
}

static void deliver_answer(RelayNote *note)
{
    if (note->ready) {
        note->ready(note->relay, note->error, note->ready_opaque);
    }
}

static void deliver_refusal(RelayNote *note)
{
    end_migration(g_steal_pointer(&note->relay->starting));
    deliver_answer(note);
}

static void on_status(gpointer opaque, SnprelayInfo *info)
{
    RelayNote *note = g_new0(RelayNote, 1);

    note->deliver = deliver_status;
    note->info = info;
    relay_post(opaque, note);
}

static void on_warning(gpointer opaque, char *message)
{
    RelayNote *note = g_new0(RelayNote, 1);

    note->deliver = deliver_warning;
    note->message = message;
    relay_post(opaque, note);
}

static void post_answer(SnprelayRelay *relay, void (*deliver)(RelayNote *note),
                        SnprelayReadyFunc ready, gpointer ready_opaque, GError *error)
{
    RelayNote *note = g_new0(RelayNote, 1);

    note->deliver = deliver;
    note->ready = ready;
    note->ready_opaque = ready_opaque;
    note->error = error;
    relay_post(relay, note);
}

static void on_answer(gpointer opaque, SnprelayReadyFunc ready, gpointer ready_opaque,
                      GError *error)
{
    post_answer(opaque, deliver_answer, ready, ready_opaque, error);
}

static void on_refused(gpointer opaque, SnprelayReadyFunc ready, gpointer ready_opaque,
                       GError *error)
{
    post_answer(opaque, deliver_refusal, ready, ready_opaque, error);
}

static void deliver_settled(RelayNote *note)
{
    if (note->relay->callbacks.settled) {
        note->relay->callbacks.settled(note->relay, note->relay->opaque);
    }
}

static void on_settled(gpointer opaque)
{
    RelayNote *note = g_new0(RelayNote, 1);

    note->deliver = deliver_settled;
    relay_post(opaque, note);
}

MigrationNotify relay_notify(SnprelayRelay *relay)
{
    return (MigrationNotify){.status = on_status,
                             .warning = on_warning,
                             .answer = on_answer,
                             .refused = on_refused,
                             .settled = on_settled,
                             .opaque = relay};
}
