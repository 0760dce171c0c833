/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A client of a monitor: a channel, and the session that it carries. */
#ifndef QMP_MONITOR_CLIENT_H
#define QMP_MONITOR_CLIENT_H

#include <gio/gio.h>

#include "qmp/monitors.h"
#include "qmp/qmp-context.h"

typedef struct QmpClient QmpClient;

/* The client is gone; frees it. */
typedef void (*QmpClientFunc)(QmpClient *client, gpointer opaque);

/*
 * Begins a session of KIND on IN and OUT; see qmp_channel_new() for NAME and OWNER. On a terminal
 * an HMP client gets line editing.
 */
QmpClient *qmp_client_new(QmpContext *context, QmpMonitorKind kind, const char *name, int in,
                          int out, GObject *owner, QmpClientFunc closed, gpointer opaque);
void qmp_client_free(QmpClient *client);

/* Sends EVENT to a QMP client that has negotiated; does nothing to others. */
void qmp_client_send_event(QmpClient *client, JsonNode *event);

#endif
