/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The incoming channel's listening socket: opened, opened anew by a recover, and who knocks at it. */
#include "relay/incoming.h"

#include "relay/page-thread.h"

#define ACCEPT_AGAIN_MS 1000

static TransportListener *open_listener(Migration *m, const TransportUri *uri, int fd,
                                        GError **error)
{
    gint64 patience = (gint64)m->parameters->connect_timeout * G_TIME_SPAN_SECOND;
    TransportOptions options = {.cancellable = m->cancellable,
                                .deadline = g_get_monotonic_time() + patience,
                                .tls = m->tls,
                                .fd = fd,
                                .allow_exec = m->allow_exec};

    if (uri->kind == TRANSPORT_FD && fd < 0) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_NETWORK, "%s was used up", uri->text);
        return NULL;
    }
    return transport_listen(uri, &options, error);
}

gboolean relay_incoming_listen(Incoming *in, const TransportUri *uri, int fd, GError **error)
{
    TransportListener *listener = open_listener(in->m, uri, fd, error);

    if (!listener) {
        return FALSE;
    }
    g_clear_pointer(&in->listener, transport_listener_free);
    in->listener = listener;
    g_mutex_lock(&in->m->lock);
    g_strfreev(in->m->listening);
    in->m->listening = g_strdupv(transport_listener_uris(listener));
    g_mutex_unlock(&in->m->lock);
    return TRUE;
}

void relay_incoming_stop_listening(Incoming *in)
{
    g_clear_pointer(&in->listener, transport_listener_free);
    g_mutex_lock(&in->m->lock);
    g_clear_pointer(&in->m->listening, g_strfreev);
    g_mutex_unlock(&in->m->lock);
}

/* Whoever comes to where we listen already needs no new socket, and could not have one. */
static gboolean listens_there(Incoming *in, const TransportUri *uri)
{
    gboolean any_port = uri->kind == TRANSPORT_TCP && uri->port == 0;

    if (!in->listener || !transport_listener_is_repeatable(in->listener) ||
        uri->kind == TRANSPORT_FD) {
        return FALSE;
    }
    return (!any_port && g_str_equal(uri->text, in->m->uri->text)) ||
           g_strv_contains((const char *const *)transport_listener_uris(in->listener), uri->text);
}

void relay_incoming_take_recover_request(Incoming *in)
{
    g_autoptr(TransportUri) uri = NULL;
    g_autoptr(GError) error = NULL;
    MigrationRequests *requests = &in->m->requests;
    gboolean listening;
    SnprelayReadyFunc ready;
    gpointer ready_opaque;
    int fd;

    g_mutex_lock(&in->m->lock);
    uri = g_steal_pointer(&requests->uri);
    ready = requests->ready;
    ready_opaque = requests->ready_opaque;
    fd = requests->fd;
    requests->fd = -1;
    g_mutex_unlock(&in->m->lock);
    if (!uri) {
        return;
    }
    relay_page_hand_over(in->m, NULL); /* name servers take their time */
    listening = listens_there(in, uri) || relay_incoming_listen(in, uri, fd, &error);
    relay_page_take_over(in->m);
    if (listening) {
        in->untold = FALSE; /* whoever comes here was told where */
        g_mutex_lock(&in->m->lock);
        transport_uri_free(in->m->uri);
        in->m->uri = g_steal_pointer(&uri);
        g_mutex_unlock(&in->m->lock);
    }
    in->m->notify.answer(in->m->notify.opaque, ready, ready_opaque, g_steal_pointer(&error));
}

void relay_incoming_refuse_recover_request(Incoming *in)
{
    MigrationRequests *requests = &in->m->requests;
    TransportUri *uri;
    GError *error = NULL;

    g_mutex_lock(&in->m->lock);
    uri = g_steal_pointer(&requests->uri);
    g_mutex_unlock(&in->m->lock);
    if (uri) {
        g_set_error(&error, SNPRELAY_ERROR, SNPRELAY_ERROR_STATE,
                    "the migration ended before it could be recovered");
        in->m->notify.answer(in->m->notify.opaque, requests->ready, requests->ready_opaque, error);
        transport_uri_free(uri);
        g_mutex_lock(&in->m->lock);
        relay_requests_drop_uri(requests); /* its descriptor */
        g_mutex_unlock(&in->m->lock);
    }
}

/* The next one; NULL with ERROR when there is none. */
static TransportStream *accept_one(Incoming *in, GError **error)
{
    return in->listener ? transport_listener_accept(in->listener, error) : NULL;
}

void relay_incoming_accept_connections(Incoming *in)
{
    g_autoptr(GError) error = NULL;
    TransportStream *stream;

    if (!in->knocked || g_get_monotonic_time() < in->accept_again) {
        return;
    }
    in->knocked = FALSE;
    /* Not all: they may come faster than they can be taken. The rest knocks again. */
    for (int i = 0; i < CANDIDATES_MAX && (stream = accept_one(in, &error)) != NULL; i++) {
        if (in->candidates->len == CANDIDATES_MAX) {
            relay_candidate_refuse(in, in->candidates->pdata[0], "too many connections");
            g_ptr_array_remove_index(in->candidates, 0);
        }
        in->served = TRUE;
        g_ptr_array_add(in->candidates, relay_candidate_new(in, stream));
    }
    if (error && !g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        relay_migration_warn(in->m, "a connection could not be accepted: %s", error->message);
        /* Out of descriptors, say: the connection still waits, and would wake us at once again. */
        in->accept_again = g_get_monotonic_time() + ACCEPT_AGAIN_MS * G_TIME_SPAN_MILLISECOND;
    }
}
