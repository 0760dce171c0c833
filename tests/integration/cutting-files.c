/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Certificates of one authority for both roles, in the name of localhost. */
#include "cutting-files.h"

static const char make_certificates[] =
    "set -e; exec 2>/dev/null; cd \"$1\"\n"
    "key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'\n"
    "openssl req -x509 $key -keyout ca-key.pem -out ca-cert.pem -days 9 -subj '/CN=test CA'\n"
    "for role in server client; do\n"
    "  printf 'subjectAltName=DNS:localhost\nextendedKeyUsage=%sAuth\n' $role >$role.cnf\n"
    "  openssl req $key -keyout $role-key.pem -subj /CN=$role |\n"
    "    openssl x509 -req -CA ca-cert.pem -CAkey ca-key.pem -days 9 -extfile $role.cnf"
    " -out $role-cert.pem\n"
    "done\n";

char *cutting_files_make(GError **error)
{
    g_autofree char *directory = g_dir_make_tmp("cut-XXXXXX", error);
    const char *command[] = {"/bin/sh", "-c", make_certificates, "sh", directory, NULL};
    int status;

    if (!directory ||
        !g_spawn_sync(NULL, (char **)command, NULL, 0, NULL, NULL, NULL, NULL, &status, error)) {
        return NULL;
    }
    if (!g_spawn_check_wait_status(status, error)) {
        cutting_files_remove(directory);
        return NULL;
    }
    return g_steal_pointer(&directory);
}

void cutting_files_remove(const char *directory)
{
    const char *command[] = {"rm", "-rf", directory, NULL};

    if (directory) {
        g_spawn_sync(NULL, (char **)command, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL,
                     NULL, NULL);
    }
}
