/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The page's rules, each of them on a mapped page and on one that is reached through functions, which must behave alike.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "migpage/page.h"

#define PATTERN 0xa5
#define NEVER (-1)

/* A page whose every transfer is written down: "w1=5 w0=2". */
typedef struct FakePage {
    _Alignas(4096) guint8 bytes[MIGPAGE_SIZE];
    GString *log;
    int transfers_left; /* until they fail; NEVER: they do not */
    unsigned released;
} FakePage;

static gboolean fake_fails(FakePage *fake, GError **error)
{
    if (fake->transfers_left == 0) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE, "the page is gone");
        return TRUE;
    }
    fake->transfers_left -= fake->transfers_left > 0;
    return FALSE;
}

static gboolean fake_read(gpointer opaque, size_t offset, void *buffer, size_t length,
                          GError **error)
{
    FakePage *fake = opaque;

    if (fake_fails(fake, error)) {
        return FALSE;
    }
    assert_true(offset + length <= MIGPAGE_SIZE);
    memcpy(buffer, fake->bytes + offset, length);
    g_string_append_printf(fake->log, "r%zx ", offset);
    return TRUE;
}

static gboolean fake_write(gpointer opaque, size_t offset, const void *buffer, size_t length,
                           GError **error)
{
    FakePage *fake = opaque;

    if (fake_fails(fake, error)) {
        return FALSE;
    }
    assert_true(offset + length <= MIGPAGE_SIZE);
    memcpy(fake->bytes + offset, buffer, length);
    if (length == 1) {
        g_string_append_printf(fake->log, "w%zx=%x ", offset, fake->bytes[offset]);
    } else {
        g_string_append_printf(fake->log, "w%zx+%zx ", offset, length);
    }
    return TRUE;
}

static const SnprelayAccess fake_access = {fake_read, fake_write};

static void fake_release(gpointer opaque)
{
    ((FakePage *)opaque)->released++;
}

static void fake_set(FakePage *fake, guint8 status, guint8 data)
{
    fake->bytes[MIGPAGE_STATUS_OFFSET] = status;
    fake->bytes[MIGPAGE_DATA_OFFSET] = data;
}

static void assert_registers(const FakePage *fake, guint8 status, guint8 data)
{
    assert_int_equal(fake->bytes[MIGPAGE_STATUS_OFFSET], status);
    assert_int_equal(fake->bytes[MIGPAGE_DATA_OFFSET], data);
}

/* Everything from offset FIRST up to END still holds the pattern. */
static void assert_untouched(const FakePage *fake, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        assert_int_equal(fake->bytes[i], PATTERN);
    }
}

static MigPage *fake_open(FakePage *fake, gboolean mapped, guint8 status, guint8 data)
{
    memset(fake->bytes, PATTERN, sizeof(fake->bytes));
    fake_set(fake, status, data);
    g_string_truncate(fake->log, 0);
    fake->transfers_left = NEVER;
    return mapped ? migpage_new_mapped(fake->bytes, fake_release, fake)
                  : migpage_new_access(&fake_access, fake, fake_release);
}

static int set_up(void **state)
{
    static FakePage page;
    FakePage *fake = &page;

    fake->released = 0;
    fake->log = g_string_new(NULL);
    *state = fake;
    return 0;
}

static int tear_down(void **state)
{
    FakePage *fake = *state;

    g_string_free(fake->log, TRUE);
    return 0;
}

/* ---- Starting -------------------------------------------------------------------------------------- */

static void test_begin_order(void **state)
{
    FakePage *fake = *state;
    g_autoptr(GError) error = NULL;

    for (int role = MIGPAGE_SOURCE; role <= MIGPAGE_DESTINATION; role++) {
        MigPage *page = fake_open(fake, FALSE, 0, 0);

        assert_true(migpage_begin(page, (MigPageRole)role, FALSE, &error));
        assert_string_equal(fake->log->str,
                            role == MIGPAGE_SOURCE ? "r0 r1 w1=5 w0=2 " : "r0 r1 w1=5 w0=1 ");
        migpage_free(page);
    }
    assert_int_equal(fake->released, 2);
}

static void check_start(FakePage *fake, gboolean mapped, guint8 status, guint8 data)
{
    gboolean fine = (status == 0 && data == 0) || (status == 3 && data != 4);
    g_autoptr(MigPage) page = fake_open(fake, mapped, status, data);
    g_autoptr(GError) error = NULL;
    g_autofree char *found = g_strdup_printf("status %u", status);

    assert_int_equal(migpage_check_startable(page, FALSE, fine ? &error : NULL), fine);
    assert_registers(fake, status, data);
    assert_int_equal(migpage_begin(page, MIGPAGE_SOURCE, FALSE, &error), fine);
    if (!fine) {
        assert_true(g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE));
        assert_non_null(strstr(error->message, "broken off"));
        assert_non_null(strstr(error->message, "force"));
        assert_non_null(strstr(error->message, found));
        assert_registers(fake, status, data);
        g_clear_error(&error);
        migpage_abandon(page); /* was not begun: nothing to give up */
        assert_registers(fake, status, data);
        assert_true(migpage_check_startable(page, TRUE, &error));
        assert_true(migpage_begin(page, MIGPAGE_SOURCE, TRUE, &error));
    }
    assert_registers(fake, 2, 5);
    assert_untouched(fake, 2, MIGPAGE_SIZE);
}

static void test_startable_table(void **state)
{
    for (int mapped = 0; mapped <= 1; mapped++) {
        for (int status = 0; status < 256; status++) {
            for (int data = 0; data < 256; data += data < 8 ? 1 : 31) {
                check_start(*state, mapped, (guint8)status, (guint8)data);
            }
        }
    }
}

/* ---- Source ---------------------------------------------------------------------------------------- */

static void fill_buffer(FakePage *fake, int value)
{
    memset(fake->bytes + MIGPAGE_BUFFER_OFFSET, value, MIGPAGE_BLOCK_SIZE);
}

static void assert_block(const guint8 *block, int value)
{
    for (size_t i = 0; i < MIGPAGE_BLOCK_SIZE; i++) {
        assert_int_equal(block[i], value);
    }
}

static void check_take(FakePage *fake, gboolean mapped)
{
    g_autoptr(MigPage) page = fake_open(fake, mapped, 0, 0);
    g_autoptr(GError) error = NULL;
    guint8 block[MIGPAGE_BLOCK_SIZE];

    assert_true(migpage_begin(page, MIGPAGE_SOURCE, FALSE, &error));
    for (int i = 1; i < 4; i++) {
        assert_int_equal(migpage_take(page, block, &error), MIGPAGE_NOTHING);
        fill_buffer(fake, i);
        fake_set(fake, 2, 4);
        assert_int_equal(migpage_take(page, block, &error), MIGPAGE_BLOCK);
        assert_block(block, i);
        assert_registers(fake, 2, 5);
    }
    /* The guest completes without waiting for its last block to be read. */
    fill_buffer(fake, 9);
    fake_set(fake, 3, 4);
    assert_int_equal(migpage_take(page, block, &error), MIGPAGE_BLOCK);
    assert_block(block, 9);
    assert_registers(fake, 3, 5);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(migpage_take(page, block, &error), MIGPAGE_END);
    }
    assert_null(error);
    assert_untouched(fake, 2, MIGPAGE_BUFFER_OFFSET);
    assert_block(fake->bytes + MIGPAGE_BUFFER_OFFSET, 9);
}

static void test_take(void **state)
{
    check_take(*state, TRUE);
    check_take(*state, FALSE);
}

/* The status before the data, the block before its answer. */
static void test_take_order(void **state)
{
    FakePage *fake = *state;
    g_autoptr(MigPage) page = fake_open(fake, FALSE, 2, 4);
    guint8 block[MIGPAGE_BLOCK_SIZE];

    assert_int_equal(migpage_take(page, block, NULL), MIGPAGE_BLOCK);
    assert_string_equal(fake->log->str, "r0 r1 r800 w1=5 ");
}

typedef MigPageTurn (*TurnFunc)(MigPage *page, void *block, GError **error);

static MigPageTurn turn_take(MigPage *page, void *block, GError **error)
{
    return migpage_take(page, block, error);
}

static MigPageTurn turn_poll(MigPage *page, void *block, GError **error)
{
    (void)block;
    return migpage_poll_read(page, error);
}

static void check_turn(FakePage *fake, gboolean mapped, TurnFunc turn, const guint8 *registers,
                       MigPageTurn expected)
{
    g_autoptr(MigPage) page = fake_open(fake, mapped, registers[0], registers[1]);
    g_autoptr(GError) error = NULL;
    guint8 block[MIGPAGE_BLOCK_SIZE];

    assert_int_equal(turn(page, block, &error), expected);
    assert_int_equal(error != NULL, expected == MIGPAGE_ERROR);
    if (error) {
        gboolean reset = registers[0] == 0 || registers[1] == 0;

        assert_true(g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_GUEST));
        assert_non_null(strstr(error->message, reset ? "rebooted" : "impossible"));
        assert_registers(fake, registers[0], registers[1]);
        assert_untouched(fake, 2, MIGPAGE_SIZE);
    }
}

/* Every pair of registers, of which only a few are anything but an error. */
static void test_turn_tables(void **state)
{
    for (int status = 0; status < 256; status++) {
        for (int data = 0; data < 256; data++) {
            const guint8 registers[2] = {(guint8)status, (guint8)data};
            MigPageTurn take = MIGPAGE_ERROR, give = MIGPAGE_ERROR;

            if (data == 4 && (status == 2 || status == 3)) {
                take = MIGPAGE_BLOCK;
            } else if (data == 5 && (status == 2 || status == 3)) {
                take = status == 2 ? MIGPAGE_NOTHING : MIGPAGE_END;
            }
            if (status == 1 && (data == 4 || data == 5)) {
                give = data == 5 ? MIGPAGE_BLOCK : MIGPAGE_NOTHING;
            }
            check_turn(*state, data & 1, turn_take, registers, take);
            check_turn(*state, !(data & 1), turn_poll, registers, give);
        }
    }
}

/* ---- Destination ----------------------------------------------------------------------------------- */

static void check_give(FakePage *fake, gboolean mapped)
{
    g_autoptr(MigPage) page = fake_open(fake, mapped, 3, 5);
    g_autoptr(GError) error = NULL;
    guint8 block[MIGPAGE_BLOCK_SIZE];

    assert_true(migpage_begin(page, MIGPAGE_DESTINATION, FALSE, &error));
    for (int i = 1; i < 4; i++) {
        assert_int_equal(migpage_poll_read(page, &error), MIGPAGE_BLOCK);
        memset(block, i, sizeof(block));
        assert_true(migpage_give(page, block, &error));
        assert_registers(fake, 1, 4);
        assert_block(fake->bytes + MIGPAGE_BUFFER_OFFSET, i);
        assert_int_equal(migpage_poll_read(page, &error), MIGPAGE_NOTHING);
        fake_set(fake, 1, 5);
    }
    assert_true(migpage_complete(page, &error));
    assert_registers(fake, 3, 5);
    migpage_abandon(page); /* it is over: nothing to give up */
    assert_registers(fake, 3, 5);
    assert_untouched(fake, 2, MIGPAGE_BUFFER_OFFSET);
}

static void test_give(void **state)
{
    check_give(*state, TRUE);
    check_give(*state, FALSE);
}

/* The buffer before *ready*, and nothing else. */
static void test_give_order(void **state)
{
    static const guint8 block[MIGPAGE_BLOCK_SIZE];
    FakePage *fake = *state;
    g_autoptr(MigPage) page = fake_open(fake, FALSE, 1, 5);

    assert_true(migpage_give(page, block, NULL));
    assert_string_equal(fake->log->str, "w800+800 w1=4 ");
}

/* A guest that looks after each single store never sees *incoming* beside a *ready* that was left over. */
static void test_no_phantom(void **state)
{
    FakePage *fake = *state;

    for (int transfers = 0; transfers < 8; transfers++) {
        g_autoptr(MigPage) page = fake_open(fake, FALSE, 2, 4);

        fake->transfers_left = transfers;
        migpage_begin(page, MIGPAGE_DESTINATION, TRUE, NULL);
        assert_false(fake->bytes[0] == 1 && fake->bytes[1] == 4);
        fake->transfers_left = NEVER;
        migpage_begin(page, MIGPAGE_DESTINATION, TRUE, NULL);
        g_string_truncate(fake->log, 0);
        migpage_abandon(page); /* back to the state before, in which a *ready* stands */
        assert_non_null(strstr(fake->log->str, "w0="));
        assert_true(strstr(fake->log->str, "w1=") == NULL ||
                    strstr(fake->log->str, "w0=") < strstr(fake->log->str, "w1="));
    }
}

/* ---- Giving up ------------------------------------------------------------------------------------- */

typedef struct AbandonCase {
    MigPageRole role;
    guint8 before[2]; /* when the migration began */
    gboolean given;   /* a block was given */
    guint8 now[2];    /* when it is given up */
    guint8 after[2];
} AbandonCase;

static const AbandonCase abandon_cases[] = {
    {MIGPAGE_DESTINATION, {0, 0}, FALSE, {1, 5}, {0, 0}}, /* no block yet: as it was */
    {MIGPAGE_DESTINATION, {3, 5}, FALSE, {1, 5}, {3, 5}},
    {MIGPAGE_DESTINATION, {3, 0}, FALSE, {1, 5}, {3, 0}},
    {MIGPAGE_DESTINATION, {2, 4}, FALSE, {1, 5}, {2, 4}}, /* forced */
    {MIGPAGE_DESTINATION, {0, 0}, FALSE, {1, 7}, {0, 7}}, /* the guest meddled: not as we left it */
    {MIGPAGE_DESTINATION, {0, 0}, TRUE, {1, 5}, {0, 5}},
    {MIGPAGE_DESTINATION, {0, 0}, TRUE, {1, 4}, {0, 4}},
    {MIGPAGE_DESTINATION, {0, 0}, TRUE, {0, 0}, {0, 0}}, /* the guest was reset */
    {MIGPAGE_SOURCE, {0, 0}, FALSE, {2, 5}, {0, 5}},     /* the guest may have seen it: given up */
    {MIGPAGE_SOURCE, {3, 5}, FALSE, {2, 5}, {0, 5}},
    {MIGPAGE_SOURCE, {0, 0}, FALSE, {2, 4}, {0, 4}},
    {MIGPAGE_SOURCE,
     {0, 0},
     FALSE,
     {3, 5},
     {0, 0}}, /* the guest has completed: it can start over */
    {MIGPAGE_SOURCE, {0, 0}, FALSE, {3, 4}, {0, 0}},
    {MIGPAGE_SOURCE, {0, 0}, FALSE, {0, 0}, {0, 0}}, /* the guest was reset */
    {MIGPAGE_SOURCE, {0, 0}, FALSE, {9, 9}, {0, 9}},
};

static void test_abandon(void **state)
{
    static const guint8 block[MIGPAGE_BLOCK_SIZE];
    FakePage *fake = *state;

    for (size_t i = 0; i < 2 * G_N_ELEMENTS(abandon_cases); i++) {
        const AbandonCase *c = &abandon_cases[i / 2];
        g_autoptr(MigPage) page = fake_open(fake, i % 2, c->before[0], c->before[1]);

        migpage_abandon(page);
        assert_registers(fake, c->before[0], c->before[1]);
        assert_true(migpage_begin(page, c->role, TRUE, NULL));
        if (c->given) {
            assert_true(migpage_give(page, block, NULL));
        }
        fake_set(fake, c->now[0], c->now[1]);
        migpage_abandon(page);
        assert_registers(fake, c->after[0], c->after[1]);
        fake_set(fake, 2, 5);
        migpage_abandon(page); /* only once */
        assert_registers(fake, 2, 5);
        assert_untouched(fake, 2, MIGPAGE_BUFFER_OFFSET);
    }
}

/* A page that was used before is not taken for one that was given a block in this migration. */
static void test_abandon_second_run(void **state)
{
    static const guint8 block[MIGPAGE_BLOCK_SIZE];
    FakePage *fake = *state;
    g_autoptr(MigPage) page = fake_open(fake, TRUE, 0, 0);

    assert_true(migpage_begin(page, MIGPAGE_DESTINATION, FALSE, NULL));
    assert_true(migpage_give(page, block, NULL));
    fake_set(fake, 1, 5);
    assert_true(migpage_complete(page, NULL));
    assert_true(migpage_begin(page, MIGPAGE_DESTINATION, FALSE, NULL));
    migpage_abandon(page);
    assert_registers(fake, 3, 5);
}

/* ---- A page that goes away ------------------------------------------------------------------------- */

typedef gboolean (*StepFunc)(MigPage *page, GError **error);

static gboolean step_begin(MigPage *page, GError **error)
{
    return migpage_begin(page, MIGPAGE_SOURCE, TRUE, error);
}

static gboolean step_check(MigPage *page, GError **error)
{
    return migpage_check_startable(page, TRUE, error);
}

static gboolean step_take(MigPage *page, GError **error)
{
    guint8 block[MIGPAGE_BLOCK_SIZE];

    return migpage_take(page, block, error) != MIGPAGE_ERROR;
}

static gboolean step_poll(MigPage *page, GError **error)
{
    return migpage_poll_read(page, error) != MIGPAGE_ERROR;
}

static gboolean step_give(MigPage *page, GError **error)
{
    static const guint8 block[MIGPAGE_BLOCK_SIZE];

    return migpage_give(page, block, error);
}

static gboolean step_complete(MigPage *page, GError **error)
{
    return migpage_complete(page, error);
}

/* Every step with a page that goes away at each of its transfers. */
static void test_page_gone(void **state)
{
    static const struct {
        StepFunc step;
        guint8 status, data;
        int transfers; /* that the step makes */
    } steps[] = {{step_begin, 0, 0, 4}, {step_check, 0, 0, 2}, {step_take, 2, 4, 4},
                 {step_poll, 1, 5, 2},  {step_give, 1, 5, 2},  {step_complete, 1, 5, 1}};
    FakePage *fake = *state;

    for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
        for (int left = 0; left <= steps[i].transfers; left++) {
            g_autoptr(MigPage) page = fake_open(fake, FALSE, steps[i].status, steps[i].data);
            g_autoptr(GError) error = NULL;

            fake->transfers_left = left;
            assert_int_equal(steps[i].step(page, &error), left == steps[i].transfers);
            assert_int_equal(error != NULL, left < steps[i].transfers);
            if (error) {
                assert_string_equal(error->message, "the page is gone");
                fake->transfers_left = 0;
            }
            migpage_abandon(page);
        }
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(migpage_status_name(0), "not started");
    assert_string_equal(migpage_status_name(1), "incoming");
    assert_string_equal(migpage_status_name(2), "running");
    assert_string_equal(migpage_status_name(3), "completed");
    assert_string_equal(migpage_data_name(0), "none");
    assert_string_equal(migpage_data_name(4), "data ready");
    assert_string_equal(migpage_data_name(5), "data read");
    for (int value = 4; value < 256; value++) {
        assert_string_equal(migpage_status_name((guint8)value), "impossible");
    }
    for (int value = 1; value < 256; value++) {
        if (value != 4 && value != 5) {
            assert_string_equal(migpage_data_name((guint8)value), "impossible");
        }
    }
    migpage_free(NULL);
}

#define PAGE_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PAGE_TEST(test_begin_order), PAGE_TEST(test_startable_table),
        PAGE_TEST(test_take),        PAGE_TEST(test_take_order),
        PAGE_TEST(test_turn_tables), PAGE_TEST(test_give),
        PAGE_TEST(test_give_order),  PAGE_TEST(test_no_phantom),
        PAGE_TEST(test_abandon),     PAGE_TEST(test_abandon_second_run),
        PAGE_TEST(test_page_gone),   cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests_name("page", tests, NULL, NULL);
}
