/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Puts the backend in, and hands events on. */
#include "qmp/qemu-extension.h"

#include <string.h>

#include "qmp/qemu-backend.h"

struct QmpExtension {
    Monitors *monitors;
    QmpQemuBackend backend;
    gulong watch;
    gboolean shut_down;
};

static void on_event(QmpQemu *qemu G_GNUC_UNUSED, JsonObject *event, gpointer opaque)
{
    QmpExtension *extension = opaque;
    g_autoptr(JsonNode) node = json_node_init_object(json_node_alloc(), event);
    const char *name = json_node_get_string(json_object_get_member(event, "event"));

    extension->shut_down |= g_strcmp0(name, "SHUTDOWN") == 0;
    qmp_monitors_forward_event(extension->monitors, node);
}

QmpExtension *qmp_extension_new(Monitors *monitors, QmpQemu *qemu)
{
    static const QmpQemuWatcher watcher = {.event = on_event};
    QmpExtension *extension = g_new0(QmpExtension, 1);
    QmpContext *context = qmp_monitors_get_context(monitors);

    extension->monitors = monitors;
    extension->backend.qemu = qmp_qemu_ref(qemu);
    extension->backend.queue = qmp_qemu_queue_new(qemu);
    extension->backend.context = qmp_context_ref(context);
    extension->watch = qmp_qemu_watch(qemu, &watcher, extension);
    context->backend = &qmp_qemu_backend;
    context->backend_opaque = &extension->backend;
    context->oob = qmp_qemu_has_oob(qemu);
    return extension;
}

void qmp_extension_free(QmpExtension *extension)
{
    QmpQemuBackend *backend = &extension->backend;

    qmp_qemu_unwatch(backend->qemu, extension->watch);
    qmp_qemu_queue_free(backend->queue);
    qmp_context_unref(backend->context);
    qmp_qemu_unref(backend->qemu);
    g_free(extension);
}

void qmp_extension_status_changed(QmpExtension *extension, const SnprelayInfo *info)
{
    JsonObject *arguments;

    if ((info->status != SNPRELAY_STATUS_SETUP && info->status != SNPRELAY_STATUS_RECOVERING) ||
        !info->uri || !g_str_has_prefix(info->uri, "fd:") ||
        g_ascii_isdigit(info->uri[strlen("fd:")])) {
        return;
    }
    /* Otherwise its other end would not see that the relay has closed it. */
    arguments = json_object_new();
    json_object_set_string_member(arguments, "fdname", info->uri + strlen("fd:"));
    qmp_qemu_backend_ask(&extension->backend, "closefd", arguments, NULL, NULL);
}

gboolean qmp_extension_has_shut_down(const QmpExtension *extension)
{
    return extension->shut_down;
}
