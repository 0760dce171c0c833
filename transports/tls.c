/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TLS credentials: a directory in the layout of QEMU's tls-creds-x509. As QEMU does, our own
 * certificate is judged here already, by the rules that the other side will apply: a mistake shows
 * before anything was connected.
 */
#include "transports/internal.h"

#include <errno.h>
#include <unistd.h>

#define TLS_AUTHORITY_FILE "ca-cert.pem"

static char *find_file(const char *directory, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);

    if (access(path, R_OK)) {
        int number = errno;

        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(number),
                    "%s: %s (needed are ca-cert.pem, server-cert.pem and server-key.pem to listen, "
                    "client-cert.pem and client-key.pem to connect)",
                    path, g_strerror(number));
        return NULL;
    }
    return g_steal_pointer(&path);
}

static GTlsDatabase *load_authorities(const char *directory, GError **error)
{
    g_autofree char *path = find_file(directory, TLS_AUTHORITY_FILE, error);
    GList *certificates;
    GTlsDatabase *database;
    GError *failure = NULL;

    if (!path) {
        return NULL;
    }
    /*
     * A database is made of a file without any certificate as well, and would then refuse
     * everybody.
     */
    certificates = g_tls_certificate_list_new_from_file(path, &failure);
    if (!certificates) {
        g_set_error(error, G_TLS_ERROR, G_TLS_ERROR_BAD_CERTIFICATE, "%s: %s", path,
                    failure ? failure->message : "there is no PEM certificate in it");
        g_clear_error(&failure);
        return NULL;
    }
    g_list_free_full(certificates, g_object_unref);
    database = g_tls_file_database_new(path, error);
    if (!database) {
        g_prefix_error(error, "%s: ", path);
    }
    return database;
}

static gboolean load_certificate(TransportTls *tls, GError **error)
{
    const char *role = tls->server ? "server" : "client";
    g_autofree char *certificate_name = g_strdup_printf("%s-cert.pem", role);
    g_autofree char *key_name = g_strdup_printf("%s-key.pem", role);
    g_autofree char *certificate = find_file(tls->directory, certificate_name, error);
    g_autofree char *key = certificate ? find_file(tls->directory, key_name, error) : NULL;
    g_autofree char *authority = g_build_filename(tls->directory, TLS_AUTHORITY_FILE, NULL);
    g_autofree char *whose = g_strdup_printf("our own certificate %s", certificate);
    TransportTlsRules rules = {
        .authorities = tls->authorities, .authority = authority, .server = tls->server};

    if (!key) {
        return FALSE;
    }
    tls->certificate = g_tls_certificate_new_from_files(certificate, key, error);
    if (!tls->certificate) {
        g_prefix_error(error, "%s with %s: ", certificate, key);
        return FALSE;
    }
    return transport_tls_verify(tls->certificate, &rules, whose, error);
}

TransportTls *transport_tls_load(const char *directory, gboolean server, const char *hostname,
                                 const char *authz, GError **error)
{
    g_autoptr(TransportTls) tls = g_new0(TransportTls, 1);

    g_atomic_ref_count_init(&tls->references);
    tls->server = server;
    tls->directory = g_canonicalize_filename(directory, NULL);
    tls->hostname = hostname && hostname[0] ? g_strdup(hostname) : NULL;
    tls->authz = authz && authz[0] ? g_strdup(authz) : NULL;
    if (!g_tls_backend_supports_tls(g_tls_backend_get_default())) {
        g_set_error_literal(error, G_TLS_ERROR, G_TLS_ERROR_UNAVAILABLE,
                            "TLS: GLib has no TLS module on this system; install glib-networking");
        return NULL;
    }
    tls->authorities = load_authorities(tls->directory, error);
    if (!tls->authorities || !load_certificate(tls, error)) {
        g_prefix_error(error, "TLS credentials: ");
        return NULL;
    }
    return g_steal_pointer(&tls);
}

TransportTls *transport_tls_ref(TransportTls *tls)
{
    g_atomic_ref_count_inc(&tls->references);
    return tls;
}

void transport_tls_unref(TransportTls *tls)
{
    if (!tls || !g_atomic_ref_count_dec(&tls->references)) {
        return;
    }
    g_clear_object(&tls->certificate);
    g_clear_object(&tls->authorities);
    g_free(tls->directory);
    g_free(tls->hostname);
    g_free(tls->authz);
    g_free(tls);
}
