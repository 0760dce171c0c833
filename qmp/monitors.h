/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The monitors of a program: any number of QMP and HMP servers for one relay. All functions are for
 * the thread of the default main context, which must be the relay's, too. The program must ignore
 * SIGPIPE.
 *
 * The monitors are told what the program hears from the relay: it forwards status_changed and
 * stalled.
 */
#ifndef QMP_MONITORS_H
#define QMP_MONITORS_H

#include "qmp/qmp-context.h"
#include "snprelay/snprelay.h"

typedef struct Monitors Monitors;

typedef enum QmpMonitorKind {
    QMP_MONITOR_QMP,
    QMP_MONITOR_HMP,
} QmpMonitorKind;

/* HOOKS is copied. RELAY must live longer than the monitors. */
Monitors *qmp_monitors_new(SnprelayRelay *relay, const QmpHooks *hooks);

/* Lets --insecure-monitor take effect for addresses that are added later. */
void qmp_monitors_set_insecure(Monitors *monitors, gboolean insecure);

/*
 * Opens a monitor of KIND at ADDRESS ("unix:PATH", ..., see monitor-address.h). *LISTENING (may be
 * NULL) is set to the address that clients can use, with the port if 0 was given; to free with
 * g_free(). ERROR says what is wrong with ADDRESS.
 */
gboolean qmp_monitors_add(Monitors *monitors, QmpMonitorKind kind, const char *address,
                          char **listening, GError **error);

/* To be called from the relay's callbacks of these names. */
void qmp_monitors_status_changed(Monitors *monitors, const SnprelayInfo *info);
void qmp_monitors_stalled(Monitors *monitors, guint64 idle_ms);

/* Sends an event of NAME with DATA (taken over, may be NULL) to all QMP clients. */
void qmp_monitors_send_event(Monitors *monitors, const char *name, JsonObject *data);

/* Sends EVENT, an object with "event" and "timestamp", as it is to all QMP clients. */
void qmp_monitors_forward_event(Monitors *monitors, JsonNode *event);

/*
 * To be called on SIGINT. If there is a monitor on the terminal that is in use, it takes the Ctrl-C: the line that
 * was typed is thrown away, or a line that waits for a migration stops waiting, and TRUE is
 * returned. FALSE: the program should end.
 */
gboolean qmp_monitors_interrupt(Monitors *monitors);

/* What the monitors share; owned by them. For a program that puts a backend of its own in. */
QmpContext *qmp_monitors_get_context(Monitors *monitors);

/* Sends what can be sent at once, closes all, removes sockets, and puts the terminal back. */
void qmp_monitors_free(Monitors *monitors);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Monitors, qmp_monitors_free)

#endif
