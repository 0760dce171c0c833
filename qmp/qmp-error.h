/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors as QMP classifies them. An error of another domain is a GenericError to a client. */
#ifndef QMP_QMP_ERROR_H
#define QMP_QMP_ERROR_H

#include <json-glib/json-glib.h>

#define QMP_ERROR (qmp_error_quark())
GQuark qmp_error_quark(void);

typedef enum QmpErrorClass {
    QMP_ERROR_GENERIC,
    QMP_ERROR_COMMAND_NOT_FOUND,
    QMP_ERROR_DEVICE_NOT_ACTIVE,
    QMP_ERROR_DEVICE_NOT_FOUND,
    QMP_ERROR_KVM_MISSING_CAP,
} QmpErrorClass;

/* "GenericError", ...: the class that a client sees for ERROR. Static. */
const char *qmp_error_class_name(const GError *error);

/* The other way: a name that is not known is QMP_ERROR_GENERIC. */
QmpErrorClass qmp_error_class_from_name(const char *name);

#endif
