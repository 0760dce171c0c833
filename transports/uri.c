/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * URIs, in QEMU's syntax. Parsing touches nothing but the text: no name is looked up and no file is
 * opened.
 */
#include "transports/transport.h"

#include <errno.h>
#include <linux/vm_sockets.h>
#include <string.h>
#include <sys/un.h>

#define URI_SUPPORTED                                                                              \
    "tcp:HOST:PORT, unix:PATH, vsock:CID:PORT, fd:NUMBER-OR-NAME, exec:COMMAND, file:PATH"
#define TCP_OPTIONS "ipv4, ipv6, keep-alive, to"

/* The longest path or abstract name: sun_path less the zero at its end or at its beginning. */
#define UNIX_PATH_MAX_LENGTH (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

typedef gboolean (*UriParser)(TransportUri *uri, const char *rest, GError **error);

static gboolean fail_invalid(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static gboolean fail_invalid(GError **error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    if (error) {
        *error = g_error_new_valist(G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, format, arguments);
    }
    va_end(arguments);
    return FALSE;
}

/* ---- tcp ------------------------------------------------------------------------------------- */

/* "on", "off", or nothing at all (VALUE is NULL), which means on. */
static gboolean parse_flag(const char *name, const char *value, TransportTristate *flag,
                           GError **error)
{
    if (!value || g_str_equal(value, "on")) {
        *flag = TRANSPORT_ON;
    } else if (g_str_equal(value, "off")) {
        *flag = TRANSPORT_OFF;
    } else {
        return fail_invalid(error, "option '%s' is 'on' or 'off', not '%s'", name, value);
    }
    return TRUE;
}

static gboolean parse_port(const char *what, const char *text, guint16 *port, GError **error)
{
    guint64 number;

    if (!g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT16, &number, NULL)) {
        return fail_invalid(error, "%s '%s' is not a number from 0 to 65535", what, text);
    }
    *port = (guint16)number;
    return TRUE;
}

static gboolean parse_tcp_option(TransportUri *uri, const char *name, const char *value,
                                 GError **error)
{
    TransportTristate keep_alive;

    if (g_str_equal(name, "ipv4")) {
        return parse_flag(name, value, &uri->ipv4, error);
    }
    if (g_str_equal(name, "ipv6")) {
        return parse_flag(name, value, &uri->ipv6, error);
    }
    if (g_str_equal(name, "keep-alive")) {
        if (!parse_flag(name, value, &keep_alive, error)) {
            return FALSE;
        }
        uri->keep_alive = keep_alive == TRANSPORT_ON;
        return TRUE;
    }
    if (g_str_equal(name, "to")) {
        if (!value) {
            return fail_invalid(error, "option 'to' needs the last port to try: to=PORT");
        }
        if (!parse_port("port to=", value, &uri->port_to, error)) {
            return FALSE;
        }
        if (uri->port == 0 || uri->port_to < uri->port) {
            return fail_invalid(error, "to=%u must not be below the first port, %u, which is not 0",
                                uri->port_to, uri->port);
        }
        return TRUE;
    }
    return fail_invalid(error, "unknown option '%s'; known are " TCP_OPTIONS, name);
}

static gboolean parse_tcp_options(TransportUri *uri, char **options, GError **error)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (; *options; options++) {
        char *value = strchr(*options, '=');

        if (value) {
            *value++ = '\0';
        }
        if (!parse_tcp_option(uri, *options, value, error)) {
            return FALSE;
        }
        if (!g_hash_table_add(seen, *options)) {
            return fail_invalid(error, "option '%s' is given twice", *options);
        }
    }
    if (uri->ipv4 == TRANSPORT_OFF && uri->ipv6 == TRANSPORT_OFF) {
        return fail_invalid(error, "IPv4 and IPv6 cannot both be off");
    }
    return TRUE;
}

/*
 * Reads HOST, with brackets taken off; returns the text after the colon behind it, or NULL with
 * ERROR.
 */
static const char *parse_tcp_host(TransportUri *uri, const char *rest, GError **error)
{
    const char *end;

    if (*rest == '[') {
        g_autofree char *literal = NULL;

        end = strchr(rest, ']');
        if (!end || end[1] != ':') {
            fail_invalid(error, "expected tcp:[IPV6-ADDRESS]:PORT");
            return NULL;
        }
        uri->host = g_strndup(rest + 1, (gsize)(end - rest - 1));
        literal = g_strndup(uri->host, strcspn(uri->host, "%"));
        if (!strchr(literal, ':') || !g_hostname_is_ip_address(literal)) {
            fail_invalid(error, "'%s' in brackets is not an IPv6 address", uri->host);
            return NULL;
        }
        return end + 2;
    }
    end = strchr(rest, ':');
    if (!end) {
        fail_invalid(error, "expected tcp:HOST:PORT");
        return NULL;
    }
    uri->host = g_strndup(rest, (gsize)(end - rest));
    if (strpbrk(uri->host, ",[]/@ \t\r\n")) {
        fail_invalid(error, "'%s' is not a host name", uri->host);
        return NULL;
    }
    return end + 1;
}

static gboolean parse_tcp(TransportUri *uri, const char *rest, GError **error)
{
    g_auto(GStrv) parts = NULL;

    rest = parse_tcp_host(uri, rest, error);
    if (!rest) {
        return FALSE;
    }
    parts = g_strsplit(rest, ",", -1);
    if (parts[0] && strchr(parts[0], ':')) {
        return fail_invalid(error, "an IPv6 address must be in brackets: tcp:[::1]:4444");
    }
    return parse_port("port", parts[0] ? parts[0] : "", &uri->port, error) &&
           parse_tcp_options(uri, parts[0] ? parts + 1 : parts, error);
}

/* ---- unix ------------------------------------------------------------------------------------ */

/*
 * Takes ",NAME", ",NAME=on" or ",NAME=off" off the end of PATH. Other commas belong to the path, as
 * in QEMU, which knows no escape for them here.
 */
static gboolean take_unix_option(char *path, const char *name, TransportTristate *flag)
{
    static const struct {
        const char *suffix;
        TransportTristate value;
    } forms[] = {{"", TRANSPORT_ON}, {"=on", TRANSPORT_ON}, {"=off", TRANSPORT_OFF}};

    for (size_t i = 0; i < G_N_ELEMENTS(forms); i++) {
        g_autofree char *form = g_strdup_printf(",%s%s", name, forms[i].suffix);

        if (g_str_has_suffix(path, form)) {
            path[strlen(path) - strlen(form)] = '\0';
            *flag = forms[i].value;
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean parse_unix(TransportUri *uri, const char *rest, GError **error)
{
    g_autofree char *path = g_strdup(rest);
    TransportTristate abstract = TRANSPORT_AUTO, tight = TRANSPORT_AUTO;

    while (take_unix_option(path, "abstract", &abstract) ||
           take_unix_option(path, "tight", &tight)) {
    }
    /* "unix:@NAME" is short for abstract; a file of that name is "unix:./@NAME". */
    if (abstract == TRANSPORT_AUTO && path[0] == '@') {
        memmove(path, path + 1, strlen(path));
        abstract = TRANSPORT_ON;
    }
    uri->abstract = abstract == TRANSPORT_ON;
    uri->tight = tight != TRANSPORT_OFF;
    if (!uri->abstract && tight != TRANSPORT_AUTO) {
        return fail_invalid(error, "option 'tight' is only for abstract sockets");
    }
    if (!path[0]) {
        return fail_invalid(error, "expected unix:PATH, unix:NAME,abstract=on or unix:@NAME");
    }
    if (strlen(path) > UNIX_PATH_MAX_LENGTH) {
        return fail_invalid(error, "%s of %zu bytes is too long: the limit is %zu",
                            uri->abstract ? "an abstract name" : "a path", strlen(path),
                            UNIX_PATH_MAX_LENGTH);
    }
    uri->path = g_steal_pointer(&path);
    return TRUE;
}

/* ---- vsock, fd, exec, file ------------------------------------------------------------------- */

static gboolean parse_vsock_number(const char *what, const char *text, guint32 *number,
                                   GError **error)
{
    guint64 value;

    if (g_str_equal(text, "any")) {
        *number = VMADDR_CID_ANY; /* VMADDR_PORT_ANY is the same */
        return TRUE;
    }
    if (!g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT32, &value, NULL)) {
        return fail_invalid(error, "%s '%s' is neither a number from 0 to 4294967295 nor 'any'",
                            what, text);
    }
    *number = (guint32)value;
    return TRUE;
}

static gboolean parse_vsock(TransportUri *uri, const char *rest, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(rest, ":", -1);

    if (g_strv_length(parts) != 2) {
        return fail_invalid(error, "expected vsock:CID:PORT");
    }
    return parse_vsock_number("CID", parts[0], &uri->cid, error) &&
           parse_vsock_number("port", parts[1], &uri->vsock_port, error);
}

static gboolean parse_fd(TransportUri *uri, const char *rest, GError **error)
{
    guint64 number;

    if (!*rest) {
        return fail_invalid(error, "expected fd:NUMBER or fd:NAME");
    }
    uri->fd_name = g_strdup(rest);
    if (!g_ascii_isdigit(*rest)) {
        return TRUE;
    }
    if (!g_ascii_string_to_unsigned(rest, 10, 0, G_MAXINT, &number, NULL)) {
        return fail_invalid(error,
                            "'%s' is neither the number of a descriptor nor a name, which "
                            "does not begin with a digit",
                            rest);
    }
    uri->fd_number = (int)number;
    return TRUE;
}

static gboolean parse_exec(TransportUri *uri, const char *rest, GError **error)
{
    if (!rest[strspn(rest, " \t\r\n")]) {
        return fail_invalid(error, "expected exec:COMMAND");
    }
    uri->command = g_strdup(rest);
    return TRUE;
}

/* Decimal or 0x..., with k, M, G or T as QEMU's sizes have them. */
static gboolean parse_offset(const char *text, guint64 *offset, GError **error)
{
    static const char suffixes[] = "kMGT";
    gboolean hexadecimal = g_str_has_prefix(text, "0x") && g_ascii_isxdigit(text[2]);
    char *end = NULL;
    const char *suffix;
    unsigned shift = 0;

    errno = 0;
    *offset = g_ascii_strtoull(text, &end, hexadecimal ? 16 : 10);
    if (!g_ascii_isdigit(text[0]) || errno) {
        end = NULL;
    } else if (*end && !end[1]) {
        suffix = strchr(suffixes, *end == 'K' ? 'k' : *end);
        shift = suffix ? 10 * (unsigned)(suffix - suffixes + 1) : 0;
        end = suffix ? end + 1 : NULL;
    }
    if (!end || *end || *offset > (guint64)G_MAXINT64 >> shift) {
        return fail_invalid(error,
                            "offset '%s' is not a number of bytes (decimal or 0x..., with "
                            "k, M, G or T) below 2^63",
                            text);
    }
    *offset <<= shift;
    return TRUE;
}

static gboolean parse_file(TransportUri *uri, const char *rest, GError **error)
{
    static const char key[] = ",offset=";
    const char *option = g_strrstr(rest, key);

    uri->path = option ? g_strndup(rest, (gsize)(option - rest)) : g_strdup(rest);
    if (!uri->path[0]) {
        return fail_invalid(error, "expected file:PATH or file:PATH,offset=N");
    }
    return !option || parse_offset(option + strlen(key), &uri->file_offset, error);
}

/* ---- All of them ----------------------------------------------------------------------------- */

static const struct {
    const char *prefix;
    TransportKind kind;
    UriParser parse;
} uri_schemes[] = {
    {"tcp:", TRANSPORT_TCP, parse_tcp},       {"unix:", TRANSPORT_UNIX, parse_unix},
    {"vsock:", TRANSPORT_VSOCK, parse_vsock}, {"fd:", TRANSPORT_FD, parse_fd},
    {"exec:", TRANSPORT_EXEC, parse_exec},    {"file:", TRANSPORT_FILE, parse_file},
};

static gboolean fail_unsupported(const char *text, GError **error)
{
    const char *colon = strchr(text, ':');

    if (!colon) {
        return fail_invalid(error, "URI '%s' names no transport; supported are " URI_SUPPORTED,
                            text);
    }
    return fail_invalid(error,
                        "URI '%s': transport '%.*s' is not supported; supported are " URI_SUPPORTED,
                        text, (int)(colon - text), text);
}

TransportUri *transport_uri_parse(const char *text, GError **error)
{
    g_autoptr(TransportUri) uri = NULL;

    /* Errors and queries show the text, and JSON has no other encoding. */
    if (!g_utf8_validate(text, -1, NULL)) {
        fail_invalid(error, "a URI must be UTF-8 text; supported are " URI_SUPPORTED);
        return NULL;
    }
    uri = g_new0(TransportUri, 1);
    uri->text = g_strdup(text);
    uri->fd_number = -1;
    for (size_t i = 0; i < G_N_ELEMENTS(uri_schemes); i++) {
        if (g_str_has_prefix(text, uri_schemes[i].prefix)) {
            uri->kind = uri_schemes[i].kind;
            if (!uri_schemes[i].parse(uri, text + strlen(uri_schemes[i].prefix), error)) {
                g_prefix_error(error, "URI '%s': ", text);
                return NULL;
            }
            return g_steal_pointer(&uri);
        }
    }
    fail_unsupported(text, error);
    return NULL;
}

void transport_uri_free(TransportUri *uri)
{
    if (!uri) {
        return;
    }
    g_free(uri->text);
    g_free(uri->host);
    g_free(uri->path);
    g_free(uri->fd_name);
    g_free(uri->command);
    g_free(uri);
}

gboolean transport_uri_is_local(const TransportUri *uri)
{
    g_autoptr(GInetAddress) address = NULL;

    if (uri->kind != TRANSPORT_TCP || g_ascii_strcasecmp(uri->host, "localhost") == 0) {
        return TRUE;
    }
    address = g_inet_address_new_from_string(uri->host);
    return address && g_inet_address_get_is_loopback(address);
}
