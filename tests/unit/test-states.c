/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The state machine, against a list of what may happen that was written down on its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/states.h"

/* Every change that there is, as "state event state". */
static const char *const changes[] = {
    "none start setup",
    "setup accepted active",
    "setup cancel cancelling",
    "setup failed failed",
    "active lost paused",
    "active cancel cancelling",
    "active completed completed",
    "active failed failed",
    "paused reconnect recovering",
    "paused cancel cancelling",
    "paused completed completed",
    "paused failed failed",
    "recovering accepted active",
    "recovering lost paused",
    "recovering cancel cancelling",
    "recovering failed failed",
    "cancelling cancelled cancelled",
    "cancelling completed completed",
    "cancelling failed cancelled",
    "cancelled start setup",
    "completed start setup",
    "failed start setup",
};

static gboolean is_listed(const char *change)
{
    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        if (strcmp(changes[i], change) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

static void test_table(void **state)
{
    size_t found = 0;

    (void)state;
    for (int status = 0; status < SNPRELAY_N_STATUS; status++) {
        for (int event = 0; event < RELAY_N_EVENTS; event++) {
            const SnprelayStatus untouched = (SnprelayStatus)SNPRELAY_N_STATUS;
            SnprelayStatus next = untouched;
            gboolean known = relay_next_status((SnprelayStatus)status, (RelayEvent)event, &next);
            g_autofree char *change = NULL;

            if (!known) {
                assert_int_equal(next, untouched);
                continue;
            }
            change =
                g_strjoin(" ", snprelay_status_name((SnprelayStatus)status),
                          relay_event_name((RelayEvent)event), snprelay_status_name(next), NULL);
            if (!is_listed(change)) {
                fail_msg("there is no '%s'", change);
            }
            found++;
        }
    }
    assert_int_equal(found, G_N_ELEMENTS(changes));
}

static void test_final_states(void **state)
{
    SnprelayStatus next;

    (void)state;
    for (int status = 0; status < SNPRELAY_N_STATUS; status++) {
        gboolean final = status == SNPRELAY_STATUS_NONE || status == SNPRELAY_STATUS_CANCELLED ||
                         status == SNPRELAY_STATUS_COMPLETED || status == SNPRELAY_STATUS_FAILED;

        assert_int_equal(snprelay_status_is_final((SnprelayStatus)status), final);
        for (int event = 0; final && event < RELAY_N_EVENTS; event++) {
            assert_int_equal(relay_next_status((SnprelayStatus)status, (RelayEvent)event, &next),
                             event == RELAY_EVENT_START);
        }
        if (!final) { /* each that is not final can end by failing and by a person's word */
            assert_true(relay_next_status((SnprelayStatus)status, RELAY_EVENT_FAILED, &next));
            assert_true(snprelay_status_is_final(next));
            assert_false(relay_next_status((SnprelayStatus)status, RELAY_EVENT_START, &next));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_final_states),
    };

    return cmocka_run_group_tests_name("states", tests, NULL, NULL);
}
