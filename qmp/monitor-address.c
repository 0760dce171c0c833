/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Only syntax; nothing is opened here. */
#include "qmp/monitor-address.h"

#include <string.h>

#include "qmp/qmp-error.h"

static gboolean wrong(const char *text, const char *why, GError **error)
{
    g_set_error(error, QMP_ERROR, QMP_ERROR_GENERIC,
                "monitor address '%s': %s; give stdio, unix:PATH, tcp:HOST:PORT or fd:N", text,
                why);
    return FALSE;
}

/* The options mean what we do anyway: listen, and do not wait for the first client. */
static gboolean check_options(const char *text, char **options, GError **error)
{
    static const char *const accepted[] = {"server=on", "server", "wait=off", "nowait", NULL};

    for (; *options; options++) {
        if (!g_strv_contains(accepted, *options)) {
            g_autofree char *why = g_strdup_printf(
                "option '%s' is not known (only server=on and wait=off are)", *options);

            return wrong(text, why, error);
        }
    }
    return TRUE;
}

static gboolean parse_tcp(QmpAddress *address, const char *text, GError **error)
{
    const char *rest = address->text + strlen("tcp:"), *colon = strrchr(rest, ':');
    size_t length = colon ? (size_t)(colon - rest) : 0;
    guint64 port;

    if (!colon || !g_ascii_string_to_unsigned(colon + 1, 10, 0, 65535, &port, NULL)) {
        return wrong(text, "the port is missing, or is not a number from 0 to 65535", error);
    }
    if (length >= 2 && rest[0] == '[' && rest[length - 1] == ']') {
        rest++;
        length -= 2;
    } else if (memchr(rest, ':', length)) {
        return wrong(text, "an IPv6 address needs brackets, as in tcp:[::1]:4444", error);
    }
    if (length == 0) {
        return wrong(text, "the host is missing (127.0.0.1 for this machine only)", error);
    }
    address->host = g_strndup(rest, length);
    address->port = port;
    return TRUE;
}

static gboolean parse_address(QmpAddress *address, const char *text, GError **error)
{
    guint64 number;

    if (strcmp(address->text, "stdio") == 0) {
        address->kind = QMP_ADDRESS_STDIO;
        return TRUE;
    }
    if (g_str_has_prefix(address->text, "unix:")) {
        address->kind = QMP_ADDRESS_UNIX;
        address->path = g_strdup(address->text + strlen("unix:"));
        return *address->path || wrong(text, "the path is missing", error);
    }
    if (g_str_has_prefix(address->text, "tcp:")) {
        address->kind = QMP_ADDRESS_TCP;
        return parse_tcp(address, text, error);
    }
    if (g_str_has_prefix(address->text, "fd:")) {
        address->kind = QMP_ADDRESS_FD;
        if (!g_ascii_string_to_unsigned(address->text + strlen("fd:"), 10, 0, G_MAXINT, &number,
                                        NULL)) {
            return wrong(text, "the descriptor is not a number", error);
        }
        address->fd = number;
        return TRUE;
    }
    return wrong(text, "this kind is not known", error);
}

QmpAddress *qmp_address_parse(const char *text, GError **error)
{
    g_autoptr(QmpAddress) address = g_new0(QmpAddress, 1);
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);

    address->text = g_strdup(parts[0] ? parts[0] : "");
    if (!parse_address(address, text, error) ||
        (parts[0] && !check_options(text, parts + 1, error))) {
        return NULL;
    }
    return g_steal_pointer(&address);
}

void qmp_address_free(QmpAddress *address)
{
    g_free(address->text);
    g_free(address->path);
    g_free(address->host);
    g_free(address);
}
