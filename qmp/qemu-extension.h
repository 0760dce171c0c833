/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Our monitors in front of a running QEMU's own: their clients see that QEMU's greeting, commands, schema and events, and
 * ours besides. For the thread of the default main context.
 */
#ifndef QMP_QEMU_EXTENSION_H
#define QMP_QEMU_EXTENSION_H

#include "qmp/monitors.h"
#include "qmp/qemu-client.h"

typedef struct QmpExtension QmpExtension;

/*
 * From now on what MONITORS' clients say and is not ours goes to QEMU, which must be ready, and its events go to them.
 * To be called before there are clients.
 */
QmpExtension *qmp_extension_new(Monitors *monitors, QmpQemu *qemu);

/*
 * To be called after the monitors were freed; before the main loop runs again QEMU's client must be closed
 * (qmp_qemu_close()), which ends what is under way.
 */
void qmp_extension_free(QmpExtension *extension);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QmpExtension, qmp_extension_free)

/*
 * To be called from the relay's callback of this name: QEMU must not keep open a descriptor that a migration has begun to
 * use.
 */
void qmp_extension_status_changed(QmpExtension *extension, const SnprelayInfo *info);

/* Whether QEMU said that it shuts down: when it goes away then, nothing is wrong. */
gboolean qmp_extension_has_shut_down(const QmpExtension *extension);

#endif
