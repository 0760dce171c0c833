/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The migration parameters: one table of names, types, bounds and defaults, and the values as a struct. */
#ifndef RELAY_PARAMETERS_H
#define RELAY_PARAMETERS_H

#include "snprelay/snprelay.h"

/* Values in force. A migration takes a copy when it starts; strings are owned, never NULL, "" when unset. */
typedef struct RelayParameters {
    char *wire;                 /* "native" or "poc" */
    uint64_t max_bandwidth;     /* bytes a second, 0: no limit */
    uint64_t window;            /* bytes */
    uint64_t connect_timeout;   /* s */
    uint64_t reconnect_timeout; /* s */
    uint64_t peer_timeout;      /* s */
    uint64_t stall_warning;     /* ms, 0: never */
    char *poll;                 /* "adaptive" or "busy" */
    char *tls_creds;
    char *tls_hostname;
    char *tls_authz;
} RelayParameters;

RelayParameters *relay_parameters_new(void);
RelayParameters *relay_parameters_copy(const RelayParameters *parameters);
void relay_parameters_free(RelayParameters *parameters);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RelayParameters, relay_parameters_free)

/* Sets all of VALUES or none. RUNNING: only those that may change during a migration are accepted. */
gboolean relay_parameters_set(RelayParameters *parameters, const SnprelayParameterValue *values,
                              size_t count, gboolean running, GError **error);

/* All values, in the table's order; free with snprelay_parameters_free(). */
SnprelayParameterValue *relay_parameters_get(const RelayParameters *parameters);

#endif
