/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A line that waits for a migration's end, whatever the order in which the news come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "qmp/hmp-waiter.h"

typedef struct Fixture {
    QmpContext *context;
    char *text; /* NULL: the line is not done */
} Fixture;

static void on_done(const char *text, gpointer opaque)
{
    Fixture *f = opaque;

    assert_null(f->text);
    f->text = g_strdup(text);
}

static HmpWaiter *new_waiter(Fixture *f)
{
    return hmp_waiter_new(f->context, hmp_request_new(on_done, f), FALSE);
}

static void tell(Fixture *f, SnprelayStatus status, const char *error_desc)
{
    SnprelayInfo info = {.status = status, .error_desc = (char *)error_desc};

    hmp_waiters_tell(f->context, &info);
}

static int set_up(void **state)
{
    Fixture *f = g_new0(Fixture, 1);

    f->context = qmp_context_new(NULL, NULL);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    Fixture *f = *state;

    assert_int_equal(f->context->waiters->len, 0);
    qmp_context_unref(f->context);
    g_free(f->text);
    g_free(f);
    return 0;
}

static void test_completed(void **state)
{
    Fixture *f = *state;
    HmpWaiter *waiter = new_waiter(f);

    tell(f, SNPRELAY_STATUS_SETUP, NULL);
    hmp_waiter_start(waiter);
    tell(f, SNPRELAY_STATUS_ACTIVE, NULL);
    assert_null(f->text);
    tell(f, SNPRELAY_STATUS_COMPLETED, NULL);
    assert_string_equal(f->text, "");
}

/* The migration is over before the command is told to have taken hold. */
static void test_early_end(void **state)
{
    Fixture *f = *state;
    HmpWaiter *waiter = new_waiter(f);

    tell(f, SNPRELAY_STATUS_SETUP, NULL);
    tell(f, SNPRELAY_STATUS_FAILED, "no");
    assert_null(f->text);
    hmp_waiter_start(waiter);
    assert_string_equal(f->text, "Error: the migration has failed: no\n");
}

static void test_paused(void **state)
{
    Fixture *f = *state;

    hmp_waiter_start(new_waiter(f));
    tell(f, SNPRELAY_STATUS_RECOVERING, NULL);
    tell(f, SNPRELAY_STATUS_PAUSED, "lost");
    assert_string_equal(f->text, "Error: the migration is paused: lost\n");
}

/* A resume takes hold in the state that it is to leave. */
static void test_resumed(void **state)
{
    Fixture *f = *state;

    hmp_waiter_start(new_waiter(f));
    assert_null(f->text);
    tell(f, SNPRELAY_STATUS_RECOVERING, NULL);
    tell(f, SNPRELAY_STATUS_ACTIVE, NULL);
    assert_null(f->text);
    tell(f, SNPRELAY_STATUS_CANCELLED, NULL);
    assert_string_equal(f->text, "Error: the migration is cancelled\n");
}

/* News of the migration before, on their way when the command is given. */
static void test_news_of_before(void **state)
{
    Fixture *f = *state;
    HmpWaiter *waiter = new_waiter(f);

    tell(f, SNPRELAY_STATUS_CANCELLED, "that was another");
    hmp_waiter_start(waiter);
    tell(f, SNPRELAY_STATUS_PAUSED, "so was this");
    assert_null(f->text);
    tell(f, SNPRELAY_STATUS_SETUP, NULL);
    tell(f, SNPRELAY_STATUS_FAILED, "no");
    assert_string_equal(f->text, "Error: the migration has failed: no\n");
}

/* A resume while it tries to connect anyway: no beginning is told any more. */
static void test_under_way(void **state)
{
    Fixture *f = *state;

    hmp_waiter_start(hmp_waiter_new(f->context, hmp_request_new(on_done, f), TRUE));
    tell(f, SNPRELAY_STATUS_PAUSED, "lost");
    assert_string_equal(f->text, "Error: the migration is paused: lost\n");
}

static void test_refused(void **state)
{
    Fixture *f = *state;
    g_autoptr(GError) error = g_error_new(SNPRELAY_ERROR, SNPRELAY_ERROR_STATE, "busy");

    hmp_waiter_refuse(new_waiter(f), error);
    assert_string_equal(f->text, "Error: busy\n");
}

/* At the end of the program, with the relay still having the command. */
static void test_cleared(void **state)
{
    Fixture *f = *state;
    HmpWaiter *waiter = new_waiter(f);

    hmp_waiters_clear(f->context);
    assert_string_equal(f->text, "");
    hmp_waiter_start(waiter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_completed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_early_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_paused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_resumed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_news_of_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_under_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cleared, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
