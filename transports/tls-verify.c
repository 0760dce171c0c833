/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Judging a certificate, and saying in words what is wrong with it. GIO looks at signatures, dates
 * and names, but not at the extended key usage: a server is known by the name in its certificate, a
 * client by its CA and by tls-authz.
 */
#include "transports/internal.h"

/* DATE as a person reads it; it may be unknown. */
static char *format_date(GDateTime *date)
{
    g_autoptr(GDateTime) universal = date ? g_date_time_to_utc(date) : NULL;

    return universal ? g_date_time_format(universal, "%Y-%m-%d %H:%M:%S UTC") : g_strdup("?");
}

/* The names that CERTIFICATE was made for, as "a, b". */
static char *format_names(GTlsCertificate *certificate)
{
    g_autoptr(GPtrArray) names = g_tls_certificate_get_dns_names(certificate);
    g_autoptr(GPtrArray) addresses = g_tls_certificate_get_ip_addresses(certificate);
    g_autoptr(GString) text = g_string_new(NULL);

    for (guint i = 0; names && i < names->len; i++) {
        gsize length;
        const char *name = g_bytes_get_data(names->pdata[i], &length);

        g_string_append_printf(text, "%s%.*s", text->len ? ", " : "", (int)length, name);
    }
    for (guint i = 0; addresses && i < addresses->len; i++) {
        g_autofree char *address = g_inet_address_to_string(addresses->pdata[i]);

        g_string_append_printf(text, "%s%s", text->len ? ", " : "", address);
    }
    return g_utf8_make_valid(text->len ? text->str : "no name", -1);
}

/* A distinguished name as text that may be shown and matched. */
static char *subject_of(GTlsCertificate *certificate)
{
    g_autofree char *subject = g_tls_certificate_get_subject_name(certificate);

    return g_utf8_make_valid(subject ? subject : "", -1);
}

/*
 * An address must be among the addresses of the certificate; its text as a common name does not do.
 */
static gboolean names_address(GTlsCertificate *certificate, GInetAddress *address)
{
    g_autoptr(GPtrArray) addresses = g_tls_certificate_get_ip_addresses(certificate);

    for (guint i = 0; addresses && i < addresses->len; i++) {
        if (g_inet_address_equal(addresses->pdata[i], address)) {
            return TRUE;
        }
    }
    return FALSE;
}

static GTlsCertificateFlags find_faults(GTlsCertificate *certificate,
                                        const TransportTlsRules *rules, GError **error)
{
    g_autoptr(GSocketConnectable) identity = NULL;
    g_autoptr(GInetAddress) address =
        rules->name ? g_inet_address_new_from_string(rules->name) : NULL;
    GError *failure = NULL;
    GTlsCertificateFlags flags;

    if (rules->name && !address) {
        identity = g_network_address_new(rules->name, 0);
    }
    flags = g_tls_database_verify_chain(rules->authorities, certificate,
                                        rules->server ? G_TLS_DATABASE_PURPOSE_AUTHENTICATE_SERVER
                                                      : G_TLS_DATABASE_PURPOSE_AUTHENTICATE_CLIENT,
                                        identity, NULL, G_TLS_DATABASE_VERIFY_NONE, NULL, &failure);
    if (failure) {
        g_propagate_error(error, failure);
        return G_TLS_CERTIFICATE_GENERIC_ERROR;
    }
    if (address && !names_address(certificate, address)) {
        flags |= G_TLS_CERTIFICATE_BAD_IDENTITY;
    }
    return flags;
}

static char *describe_faults(GTlsCertificate *certificate, const TransportTlsRules *rules,
                             GTlsCertificateFlags flags)
{
    g_autoptr(GPtrArray) faults = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDateTime) begin = g_tls_certificate_get_not_valid_before(certificate);
    g_autoptr(GDateTime) end = g_tls_certificate_get_not_valid_after(certificate);
    g_autofree char *begin_text = format_date(begin);
    g_autofree char *end_text = format_date(end);
    g_autofree char *names = format_names(certificate);

    if (flags & G_TLS_CERTIFICATE_UNKNOWN_CA) {
        g_ptr_array_add(faults, g_strdup_printf("is not signed by a CA in %s", rules->authority));
    }
    if (flags & G_TLS_CERTIFICATE_BAD_IDENTITY) {
        g_ptr_array_add(faults, g_strdup_printf("is not for '%s' but for %s", rules->name, names));
    }
    if (flags & G_TLS_CERTIFICATE_NOT_ACTIVATED) {
        g_ptr_array_add(faults, g_strdup_printf("is not valid before %s", begin_text));
    }
    if (flags & G_TLS_CERTIFICATE_EXPIRED) {
        g_ptr_array_add(faults, g_strdup_printf("expired at %s", end_text));
    }
    if (flags & G_TLS_CERTIFICATE_REVOKED) {
        g_ptr_array_add(faults, g_strdup("was revoked"));
    }
    if (flags & G_TLS_CERTIFICATE_INSECURE) {
        g_ptr_array_add(faults, g_strdup("uses an algorithm that is not secure"));
    }
    if (flags & G_TLS_CERTIFICATE_GENERIC_ERROR || faults->len == 0) {
        g_ptr_array_add(faults, g_strdup_printf("is not fit for a TLS %s",
                                                rules->server ? "server" : "client"));
    }
    g_ptr_array_add(faults, NULL);
    return g_strjoinv(" and ", (char **)faults->pdata);
}

gboolean transport_tls_verify(GTlsCertificate *certificate, const TransportTlsRules *rules,
                              const char *whose, GError **error)
{
    g_autofree char *subject = subject_of(certificate);
    g_autofree char *faults = NULL;
    GError *failure = NULL;
    GTlsCertificateFlags flags = find_faults(certificate, rules, &failure);

    if (failure) {
        g_propagate_prefixed_error(error, failure, "%s (%s): ", whose, subject);
        return FALSE;
    }
    if (flags) {
        faults = describe_faults(certificate, rules, flags);
        g_set_error(error, G_TLS_ERROR, G_TLS_ERROR_BAD_CERTIFICATE, "%s (%s) %s", whose, subject,
                    faults);
        return FALSE;
    }
    if (rules->authz && !g_pattern_match_simple(rules->authz, subject)) {
        g_set_error(error, G_TLS_ERROR, G_TLS_ERROR_BAD_CERTIFICATE,
                    "%s is good, but its name '%s' does not match tls-authz '%s'", whose, subject,
                    rules->authz);
        return FALSE;
    }
    return TRUE;
}
