/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A directory for a test's sockets, with certificates in it in the layout of QEMU's tls-creds-x509. */
#ifndef CUTTING_FILES_H
#define CUTTING_FILES_H

#include <glib.h>

/* Makes the directory and, with the openssl program, the certificates. Free the path with g_free(). */
char *cutting_files_make(GError **error);

/* Removes it with all that is in it. NULL is allowed. */
void cutting_files_remove(const char *directory);

#endif
