/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Closing so that the peer cannot take it for an orderly end. */
#include "transports/transport.h"

#include <sys/socket.h>

void transport_stream_abort(TransportStream *stream)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    /* Fails on what is no socket, and does nothing on unix sockets: there the missing end mark has to do. */
    setsockopt(transport_stream_write_fd(stream), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}
