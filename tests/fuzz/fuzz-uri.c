/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as a URI: parsed without a fault, or refused with an error; what is accepted keeps the
 * header's promises.
 */
#include "transports/transport.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(gboolean condition)
{
    if (!condition) {
        abort();
    }
}

static void check_accepted(const TransportUri *uri, const char *text)
{
    require(g_str_equal(uri->text, text));
    switch (uri->kind) {
    case TRANSPORT_TCP:
        require(uri->host != NULL);
        require(uri->port_to == 0 || uri->port_to >= uri->port);
        require(uri->ipv4 != TRANSPORT_OFF || uri->ipv6 != TRANSPORT_OFF);
        break;
    case TRANSPORT_UNIX:
        require(strlen(uri->path) > 0 && strlen(uri->path) < 108);
        break;
    case TRANSPORT_FD:
        require(uri->fd_name[0] != '\0' && uri->fd_number >= -1);
        break;
    case TRANSPORT_EXEC:
        require(uri->command[0] != '\0');
        break;
    case TRANSPORT_FILE:
        require(uri->path[0] != '\0' && uri->file_offset <= G_MAXINT64);
        break;
    case TRANSPORT_VSOCK:
        break;
    }
    (void)transport_uri_is_local(uri);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autoptr(GError) error = NULL;
    g_autoptr(TransportUri) uri = transport_uri_parse(text, &error);

    require((uri == NULL) == (error != NULL));
    if (uri) {
        check_accepted(uri, text);
    } else {
        require(error->domain == G_IO_ERROR && error->code == G_IO_ERROR_INVALID_ARGUMENT);
        require(g_utf8_validate(error->message, -1, NULL));
    }
    return 0;
}
