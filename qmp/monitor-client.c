/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Glue between the channel's handlers and the two kinds of sessions. */
#include "qmp/monitor-client.h"

#include <unistd.h>

#include "qmp/hmp-session.h"
#include "qmp/monitor-channel.h"
#include "qmp/qmp-session.h"

struct QmpClient {
    QmpChannel *channel; /* NULL while it is being made */
    QmpSession *qmp;     /* one of these two */
    HmpSession *hmp;
    GString *greeting; /* written before the channel was there */
    QmpClientFunc closed;
    gpointer opaque;
};

static void write_text(const char *text, size_t length, gpointer opaque)
{
    QmpClient *client = opaque;

    if (client->channel) {
        qmp_channel_write(client->channel, text, length);
    } else {
        g_string_append_len(client->greeting, text, length);
    }
}

static void on_input(const void *data, size_t length, GArray *fds, gpointer opaque)
{
    QmpClient *client = opaque;

    if (client->qmp) {
        if (fds) {
            qmp_session_feed_fds(client->qmp, fds);
        }
        qmp_session_feed(client->qmp, data, length);
        return;
    }
    g_clear_pointer(&fds, g_array_unref);
    hmp_session_feed(client->hmp, data, length);
}

static void on_input_end(gpointer opaque)
{
    QmpClient *client = opaque;

    if (client->hmp) {
        hmp_session_feed_end(client->hmp);
    }
}

static gboolean is_full(gpointer opaque)
{
    QmpClient *client = opaque;

    return client->qmp ? qmp_session_is_full(client->qmp) : hmp_session_is_full(client->hmp);
}

static gboolean is_idle(gpointer opaque)
{
    QmpClient *client = opaque;

    return client->qmp ? qmp_session_is_idle(client->qmp) : hmp_session_is_idle(client->hmp);
}

static void on_closed(gpointer opaque)
{
    QmpClient *client = opaque;

    client->closed(client, client->opaque);
}

static const QmpChannelHandlers handlers = {
    .input = on_input,
    .input_end = on_input_end,
    .is_full = is_full,
    .is_idle = is_idle,
    .closed = on_closed,
};

QmpClient *qmp_client_new(QmpContext *context, QmpMonitorKind kind, const char *name, int in,
                          int out, GObject *owner, QmpClientFunc closed, gpointer opaque)
{
    QmpClient *client = g_new0(QmpClient, 1);

    client->closed = closed;
    client->opaque = opaque;
    client->greeting = g_string_new(NULL);
    if (kind == QMP_MONITOR_QMP) {
        client->qmp = qmp_session_new(context, write_text, client);
    } else {
        /* Sockets get QEMU's line ends; a pipe what a script expects. */
        client->hmp = hmp_session_new(context, in == out ? "\r\n" : "\n", write_text, client);
    }
    client->channel = qmp_channel_new(name, in, out, owner, &handlers, client);
    qmp_channel_write(client->channel, client->greeting->str, client->greeting->len);
    return client;
}

void qmp_client_free(QmpClient *client)
{
    /* The sessions first: what they still say then has nowhere to go. */
    g_clear_pointer(&client->qmp, qmp_session_free);
    g_clear_pointer(&client->hmp, hmp_session_free);
    qmp_channel_free(client->channel);
    g_string_free(client->greeting, TRUE);
    g_free(client);
}

void qmp_client_send_event(QmpClient *client, JsonNode *event)
{
    if (client->qmp) {
        qmp_session_send_event(client->qmp, event);
    }
}
