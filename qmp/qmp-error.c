/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The classes' names. */
#include "qmp/qmp-error.h"

static const char *const names[] = {
    [QMP_ERROR_GENERIC] = "GenericError",
    [QMP_ERROR_COMMAND_NOT_FOUND] = "CommandNotFound",
    [QMP_ERROR_DEVICE_NOT_ACTIVE] = "DeviceNotActive",
    [QMP_ERROR_DEVICE_NOT_FOUND] = "DeviceNotFound",
    [QMP_ERROR_KVM_MISSING_CAP] = "KVMMissingCap",
};

G_DEFINE_QUARK(qmp - error, qmp_error)

const char *qmp_error_class_name(const GError *error)
{
    return names[error->domain == QMP_ERROR ? (QmpErrorClass)error->code : QMP_ERROR_GENERIC];
}

QmpErrorClass qmp_error_class_from_name(const char *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        if (g_strcmp0(names[i], name) == 0) {
            return i;
        }
    }
    return QMP_ERROR_GENERIC;
}
