/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One table: states down, events across. An empty place is "nothing happens". */
#include "relay/states.h"

#define TO(status) (SNPRELAY_STATUS_##status + 1) /* 0 is the empty place */

static const unsigned char table[SNPRELAY_N_STATUS][RELAY_N_EVENTS] = {
    [SNPRELAY_STATUS_NONE] =
        {
            [RELAY_EVENT_START] = TO(SETUP),
        },
    [SNPRELAY_STATUS_SETUP] =
        {
            [RELAY_EVENT_ACCEPTED] = TO(ACTIVE),
            [RELAY_EVENT_CANCEL] = TO(CANCELLING),
            [RELAY_EVENT_FAILED] = TO(FAILED),
        },
    [SNPRELAY_STATUS_ACTIVE] =
        {
            [RELAY_EVENT_LOST] = TO(PAUSED),
            [RELAY_EVENT_CANCEL] = TO(CANCELLING),
            [RELAY_EVENT_COMPLETED] = TO(COMPLETED),
            [RELAY_EVENT_FAILED] = TO(FAILED),
        },
    [SNPRELAY_STATUS_PAUSED] =
        {
            [RELAY_EVENT_RECONNECT] = TO(RECOVERING),
            [RELAY_EVENT_CANCEL] = TO(CANCELLING),
            [RELAY_EVENT_COMPLETED] =
                TO(COMPLETED), /* the destination's guest read the rest meanwhile */
            [RELAY_EVENT_FAILED] = TO(FAILED),
        },
    [SNPRELAY_STATUS_RECOVERING] =
        {
            [RELAY_EVENT_ACCEPTED] = TO(ACTIVE),
            [RELAY_EVENT_LOST] = TO(PAUSED),
            [RELAY_EVENT_CANCEL] = TO(CANCELLING),
            [RELAY_EVENT_FAILED] = TO(FAILED),
        },
    [SNPRELAY_STATUS_CANCELLING] =
        {
            [RELAY_EVENT_CANCELLED] = TO(CANCELLED),
            [RELAY_EVENT_COMPLETED] = TO(COMPLETED), /* the peer's word came first */
            [RELAY_EVENT_FAILED] = TO(CANCELLED),    /* whatever breaks now, a person gave it up */
        },
    [SNPRELAY_STATUS_CANCELLED] =
        {
            [RELAY_EVENT_START] = TO(SETUP),
        },
    [SNPRELAY_STATUS_COMPLETED] =
        {
            [RELAY_EVENT_START] = TO(SETUP),
        },
    [SNPRELAY_STATUS_FAILED] =
        {
            [RELAY_EVENT_START] = TO(SETUP),
        },
};

gboolean relay_next_status(SnprelayStatus status, RelayEvent event, SnprelayStatus *next)
{
    unsigned char entry = table[status][event];

    if (entry == 0) {
        return FALSE;
    }
    *next = (SnprelayStatus)(entry - 1);
    return TRUE;
}

const char *relay_event_name(RelayEvent event)
{
    static const char *const names[RELAY_N_EVENTS] = {
        [RELAY_EVENT_START] = "start",         [RELAY_EVENT_ACCEPTED] = "accepted",
        [RELAY_EVENT_LOST] = "lost",           [RELAY_EVENT_RECONNECT] = "reconnect",
        [RELAY_EVENT_CANCEL] = "cancel",       [RELAY_EVENT_CANCELLED] = "cancelled",
        [RELAY_EVENT_COMPLETED] = "completed", [RELAY_EVENT_FAILED] = "failed",
    };

    return names[event];
}

const char *snprelay_status_name(SnprelayStatus status)
{
    static const char *const names[SNPRELAY_N_STATUS] = {
        [SNPRELAY_STATUS_NONE] = "none",
        [SNPRELAY_STATUS_SETUP] = "setup",
        [SNPRELAY_STATUS_ACTIVE] = "active",
        [SNPRELAY_STATUS_PAUSED] = "paused",
        [SNPRELAY_STATUS_RECOVERING] = "recovering",
        [SNPRELAY_STATUS_CANCELLING] = "cancelling",
        [SNPRELAY_STATUS_CANCELLED] = "cancelled",
        [SNPRELAY_STATUS_COMPLETED] = "completed",
        [SNPRELAY_STATUS_FAILED] = "failed",
    };

    return names[status];
}

gboolean snprelay_status_is_final(SnprelayStatus status)
{
    return status == SNPRELAY_STATUS_NONE || status == SNPRELAY_STATUS_CANCELLED ||
           status == SNPRELAY_STATUS_COMPLETED || status == SNPRELAY_STATUS_FAILED;
}
