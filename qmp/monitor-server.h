/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A socket that monitors' clients connect to. */
#ifndef QMP_MONITOR_SERVER_H
#define QMP_MONITOR_SERVER_H

#include <gio/gio.h>

#include "qmp/monitor-address.h"

typedef struct QmpServer QmpServer;

/* A client connected: CONNECTION is valid during the call, take a reference. */
typedef void (*QmpConnectionFunc)(GSocketConnection *connection, gpointer opaque);

/*
 * Listens on ADDRESS, which is no stdio. A unix socket that nobody answers on is replaced; ours can
 * only be opened by its owner. INSECURE allows tcp beyond the loopback. For fd:N with a socket that
 * is connected already, ACCEPTED is called once before this returns. On success, *LISTENING is the
 * address that clients can use, to free with g_free().
 */
QmpServer *qmp_server_new(const QmpAddress *address, gboolean insecure, QmpConnectionFunc accepted,
                          gpointer opaque, char **listening, GError **error);

/* Stops listening and removes a unix socket. */
void qmp_server_free(QmpServer *server);

#endif
