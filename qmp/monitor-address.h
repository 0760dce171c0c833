/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Addresses of monitors, as --hmp and --qmp take them. */
#ifndef QMP_MONITOR_ADDRESS_H
#define QMP_MONITOR_ADDRESS_H

#include <glib.h>

typedef enum QmpAddressKind {
    QMP_ADDRESS_STDIO,
    QMP_ADDRESS_UNIX,
    QMP_ADDRESS_TCP,
    QMP_ADDRESS_FD,
} QmpAddressKind;

typedef struct QmpAddress {
    QmpAddressKind kind;
    char *text; /* without options */
    char *path; /* UNIX */
    char *host; /* TCP */
    guint16 port;
    int fd;
} QmpAddress;

/*
 * Parses TEXT: stdio, unix:PATH, tcp:HOST:PORT ([V6]:PORT), fd:N; each with QEMU's
 * ",server=on,wait=off" (or ",server,nowait"), which changes nothing. Returns NULL with a
 * QMP_ERROR_GENERIC that says what would be right.
 */
QmpAddress *qmp_address_parse(const char *text, GError **error);
void qmp_address_free(QmpAddress *address);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QmpAddress, qmp_address_free)

#endif
