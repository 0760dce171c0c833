/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What commands that name a URI have in common. */
#ifndef RELAY_START_H
#define RELAY_START_H

#include "relay/relay.h"

/* Parses TEXT and refuses what the relay's policy forbids; warns of plain text. */
TransportUri *relay_check_uri(SnprelayRelay *relay, const char *text, GError **error);

/* The descriptor that an fd:NAME URI means, taken from those that were handed over; -1 for other URIs. An fd:NUMBER is only
 * checked, see relay_take_inherited(). */
gboolean relay_take_descriptor(SnprelayRelay *relay, const TransportUri *uri, int *fd,
                               GError **error);

/* FD, or for "fd:NUMBER" that descriptor, which is ours from now on. */
int relay_take_inherited(const TransportUri *uri, int fd);

/* A start that waits for its page: gives it up when the page comes, with a copy of REASON (NULL: cancelled by command). */
void relay_map_request_cancel(SnprelayMapRequest *request, const GError *reason);
void relay_map_request_free(SnprelayMapRequest *request);

#endif
