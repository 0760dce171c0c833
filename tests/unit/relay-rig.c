/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rig: relays and their callbacks, guests, and waiting for them. */
#include "relay-rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <glib/gstdio.h>

/* ---- Guests ---------------------------------------------------------------------------------------- */

static guint8 get_register(RigGuest *guest, size_t offset)
{
    return __atomic_load_n(guest->page + offset, __ATOMIC_ACQUIRE);
}

static void set_register(RigGuest *guest, size_t offset, guint8 value)
{
    __atomic_store_n(guest->page + offset, value, __ATOMIC_RELEASE);
}

/* Waits until the register holds VALUE. FALSE: the test wants the guest to end. */
static gboolean wait_register(RigGuest *guest, size_t offset, guint8 value)
{
    while (get_register(guest, offset) != value) {
        if (__atomic_load_n(&guest->quit, __ATOMIC_ACQUIRE)) {
            return FALSE;
        }
        g_thread_yield();
    }
    return TRUE;
}

static void fill_block(guint8 *block, uint64_t number)
{
    uint64_t words[MIGPAGE_BLOCK_SIZE / sizeof(uint64_t)];

    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        words[i] = (number + 1) * UINT64_C(0x9e3779b97f4a7c15) + i;
    }
    memcpy(block, words, sizeof(words));
}

static gpointer play_source(gpointer data)
{
    RigGuest *guest = data;

    if (!wait_register(guest, MIGPAGE_STATUS_OFFSET, MIGPAGE_STATUS_RUNNING)) {
        return NULL;
    }
    for (uint64_t number = 0; number < guest->blocks; number++) {
        while (number == guest->stop_at && !__atomic_load_n(&guest->go, __ATOMIC_ACQUIRE) &&
               !__atomic_load_n(&guest->quit, __ATOMIC_ACQUIRE)) {
            g_usleep(200);
        }
        if (__atomic_load_n(&guest->quit, __ATOMIC_ACQUIRE) ||
            !wait_register(guest, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READ)) {
            return NULL;
        }
        fill_block(guest->page + MIGPAGE_BUFFER_OFFSET, number);
        set_register(guest, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READY);
        __atomic_store_n(&guest->done, number + 1, __ATOMIC_RELEASE);
    }
    set_register(guest, MIGPAGE_STATUS_OFFSET, MIGPAGE_STATUS_COMPLETED);
    return NULL;
}

/* FALSE: the test wants it to end, or an empty migration was over before this guest looked. */
static gboolean wait_incoming(RigGuest *guest)
{
    guint8 status;

    while ((status = get_register(guest, MIGPAGE_STATUS_OFFSET)) != MIGPAGE_STATUS_INCOMING) {
        if (__atomic_load_n(&guest->quit, __ATOMIC_ACQUIRE) ||
            (status == MIGPAGE_STATUS_COMPLETED && guest->before != MIGPAGE_STATUS_COMPLETED)) {
            return FALSE;
        }
        g_thread_yield();
    }
    return TRUE;
}

static gpointer play_destination(gpointer data)
{
    RigGuest *guest = data;
    guint8 block[MIGPAGE_BLOCK_SIZE], expected[MIGPAGE_BLOCK_SIZE];

    if (!wait_incoming(guest)) {
        return NULL;
    }
    while (!__atomic_load_n(&guest->quit, __ATOMIC_ACQUIRE)) {
        guint8 status = get_register(guest, MIGPAGE_STATUS_OFFSET);

        if (get_register(guest, MIGPAGE_DATA_OFFSET) == MIGPAGE_DATA_READY) {
            memcpy(block, guest->page + MIGPAGE_BUFFER_OFFSET, sizeof(block));
            fill_block(expected, guest->done);
            guest->wrong = guest->wrong || memcmp(block, expected, sizeof(block)) != 0;
            set_register(guest, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READ);
            __atomic_store_n(&guest->done, guest->done + 1, __ATOMIC_RELEASE);
        } else if (status == MIGPAGE_STATUS_COMPLETED) {
            return NULL;
        } else {
            g_thread_yield();
        }
    }
    return NULL;
}

void rig_guest_start(Rig *rig, RigSide *side, uint64_t blocks, uint64_t stop_at)
{
    side->guest = (RigGuest){.page = side->page,
                             .source = side == &rig->source,
                             .blocks = blocks,
                             .stop_at = stop_at,
                             .before = side->page[MIGPAGE_STATUS_OFFSET]};
    side->guest.thread =
        g_thread_new("guest", side->guest.source ? play_source : play_destination, &side->guest);
}

void rig_guest_go(RigSide *side)
{
    __atomic_store_n(&side->guest.go, 1, __ATOMIC_RELEASE);
}

void rig_guest_join(RigSide *side)
{
    if (side->guest.thread) {
        g_thread_join(g_steal_pointer(&side->guest.thread));
    }
}

void rig_guest_stop(RigSide *side)
{
    __atomic_store_n(&side->guest.quit, 1, __ATOMIC_RELEASE);
    rig_guest_join(side);
}

uint64_t rig_guest_done(RigSide *side)
{
    return __atomic_load_n(&side->guest.done, __ATOMIC_ACQUIRE);
}

/* ---- Callbacks ------------------------------------------------------------------------------------- */

static gboolean access_read(gpointer opaque, size_t offset, void *buffer, size_t length,
                            GError **error)
{
    RigSide *side = opaque;

    (void)error;
    if (length == 1) {
        *(guint8 *)buffer = __atomic_load_n(side->page + offset, __ATOMIC_ACQUIRE);
    } else {
        memcpy(buffer, side->page + offset, length);
    }
    return TRUE;
}

static gboolean access_write(gpointer opaque, size_t offset, const void *buffer, size_t length,
                             GError **error)
{
    RigSide *side = opaque;

    (void)error;
    if (length == 1) {
        __atomic_store_n(side->page + offset, *(const guint8 *)buffer, __ATOMIC_RELEASE);
    } else {
        memcpy(side->page + offset, buffer, length);
    }
    return TRUE;
}

static void on_release(gpointer data)
{
    RigSide *side = data;

    __atomic_add_fetch(&side->released, 1, __ATOMIC_ACQ_REL);
}

static void on_map(SnprelayMapRequest *request, uint64_t address, gpointer opaque)
{
    static const SnprelayAccess access = {access_read, access_write};
    RigSide *side = opaque;

    assert_true(address == RIG_ADDRESS);
    switch (side->map) {
    case RIG_MAP_DIRECT:
        snprelay_map_done(request, side->page, on_release, side);
        break;
    case RIG_MAP_ACCESS:
        snprelay_map_access(request, &access, side, on_release);
        break;
    case RIG_MAP_FAIL:
        snprelay_map_failed(request, g_error_new_literal(SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
                                                         "there is no such page"));
        break;
    case RIG_MAP_HOLD:
        side->held = request;
        break;
    }
}

static void on_status(SnprelayRelay *relay, const SnprelayInfo *info, gpointer opaque)
{
    RigSide *side = opaque;

    assert_ptr_equal(relay, side->relay);
    g_string_append_printf(side->history, "%s%s", side->history->len ? " " : "",
                           snprelay_status_name(info->status));
}

static void on_stalled(SnprelayRelay *relay, uint64_t idle_ms, gpointer opaque)
{
    (void)relay;
    (void)idle_ms;
    ((RigSide *)opaque)->stalled++;
}

static void on_settled(SnprelayRelay *relay, gpointer opaque)
{
    (void)relay;
    ((RigSide *)opaque)->settled++;
}

static void on_warning(SnprelayRelay *relay, const char *message, gpointer opaque)
{
    (void)relay;
    g_string_append_printf(((RigSide *)opaque)->warnings, "%s\n", message);
}

void rig_ready(SnprelayRelay *relay, const GError *error, gpointer opaque)
{
    RigSide *side = opaque;

    (void)relay;
    side->ready++;
    g_clear_error(&side->ready_error);
    side->ready_error = error ? g_error_copy(error) : NULL;
}

/* ---- The rig --------------------------------------------------------------------------------------- */

const char *rig_poll = "adaptive";

static void side_init(RigSide *side, GMainContext *context)
{
    const SnprelayCallbacks callbacks = {.map_page = on_map,
                                         .status_changed = on_status,
                                         .stalled = on_stalled,
                                         .settled = on_settled,
                                         .warning = on_warning};

    memset(side, 0, sizeof(*side));
    side->history = g_string_new(NULL);
    side->warnings = g_string_new(NULL);
    side->relay = snprelay_new(context, &callbacks, SNPRELAY_POLICY_DEFAULT, side);
    rig_set(side, "poll", rig_poll);
}

static void side_clear(RigSide *side)
{
    rig_guest_stop(side);
    g_clear_pointer(&side->relay, snprelay_free);
    if (side->held) {
        snprelay_map_done(g_steal_pointer(&side->held), side->page, on_release, side);
    }
    g_string_free(side->history, TRUE);
    g_string_free(side->warnings, TRUE);
    g_clear_error(&side->ready_error);
}

int rig_set_up(void **state)
{
    static Rig rig; /* its pages are aligned, and outlive whatever still looks at them */
    g_autoptr(GError) error = NULL;

    rig.context = g_main_context_new();
    side_init(&rig.source, rig.context);
    side_init(&rig.destination, rig.context);
    rig.directory = g_dir_make_tmp("relay-XXXXXX", &error);
    rig.uri = g_strdup_printf("unix:%s/socket", rig.directory);
    *state = &rig;
    return 0;
}

int rig_tear_down(void **state)
{
    Rig *rig = *state;
    g_autofree char *socket = g_build_filename(rig->directory, "socket", NULL);

    side_clear(&rig->source);
    side_clear(&rig->destination);
    while (g_main_context_iteration(rig->context, FALSE)) {
        /* what is still on its way must not be called back any more, and is freed */
    }
    g_main_context_unref(rig->context);
    g_unlink(socket);
    g_rmdir(rig->directory);
    g_free(rig->directory);
    g_free(rig->uri);
    return 0;
}

static gboolean wake_up(gpointer data)
{
    (void)data;
    return G_SOURCE_CONTINUE;
}

void rig_run_until(Rig *rig, gboolean (*condition)(gpointer user), gpointer user)
{
    gint64 deadline = g_get_monotonic_time() + RIG_PATIENCE_MS * G_TIME_SPAN_MILLISECOND;
    GSource *tick = g_timeout_source_new(2);

    g_source_set_callback(tick, wake_up, NULL, NULL);
    g_source_attach(tick, rig->context);
    while (!condition(user)) {
        if (g_get_monotonic_time() > deadline) {
            fail_msg("it did not happen; source: %s (%s) destination: %s (%s)",
                     rig->source.history->str, rig->source.warnings->str,
                     rig->destination.history->str, rig->destination.warnings->str);
        }
        g_main_context_iteration(rig->context, TRUE);
    }
    g_source_destroy(tick);
    g_source_unref(tick);
}

static gboolean has_answer(gpointer user)
{
    return ((RigSide *)user)->ready > 0;
}

static GError *wait_answer(Rig *rig, RigSide *side)
{
    rig_run_until(rig, has_answer, side);
    assert_int_equal(side->ready, 1);
    return g_steal_pointer(&side->ready_error);
}

GError *rig_listen(Rig *rig, const char *uri, SnprelayFlags flags)
{
    rig->destination.ready = 0;
    snprelay_migrate_incoming(rig->destination.relay, uri, RIG_ADDRESS, flags, rig_ready,
                              &rig->destination);
    return wait_answer(rig, &rig->destination);
}

GError *rig_send(Rig *rig, const char *uri, SnprelayFlags flags)
{
    rig->source.ready = 0;
    snprelay_migrate(rig->source.relay, uri, RIG_ADDRESS, flags, rig_ready, &rig->source);
    return wait_answer(rig, &rig->source);
}

char *rig_must_listen(Rig *rig, const char *uri)
{
    g_autoptr(GError) error = rig_listen(rig, uri ? uri : rig->uri, SNPRELAY_FLAG_NONE);
    g_autoptr(SnprelayInfo) info = NULL;

    if (error) {
        fail_msg("%s", error->message);
    }
    info = snprelay_query(rig->destination.relay);
    assert_non_null(info->listening);
    return g_strdup(info->listening[0]);
}

void rig_must_send(Rig *rig, const char *uri)
{
    g_autoptr(GError) error = rig_send(rig, uri ? uri : rig->uri, SNPRELAY_FLAG_NONE);

    if (error) {
        fail_msg("%s", error->message);
    }
}

typedef struct StatusWait {
    const RigSide *side;
    const char *last; /* NULL: any end */
} StatusWait;

static gboolean has_status(gpointer user)
{
    StatusWait *wait = user;
    const char *history = wait->side->history->str;

    if (wait->last) {
        return g_str_has_suffix(history, wait->last);
    }
    return g_str_has_suffix(history, "completed") || g_str_has_suffix(history, "cancelled") ||
           g_str_has_suffix(history, "failed");
}

void rig_wait_status(Rig *rig, RigSide *side, SnprelayStatus status)
{
    StatusWait wait = {side, snprelay_status_name(status)};

    rig_run_until(rig, has_status, &wait);
}

void rig_wait_end(Rig *rig, RigSide *side)
{
    StatusWait wait = {side, NULL};

    rig_run_until(rig, has_status, &wait);
}

typedef struct BlocksWait {
    RigSide *side;
    uint64_t blocks;
} BlocksWait;

static gboolean has_blocks(gpointer user)
{
    BlocksWait *wait = user;

    return rig_guest_done(wait->side) >= wait->blocks;
}

void rig_wait_blocks(Rig *rig, RigSide *side, uint64_t blocks)
{
    BlocksWait wait = {side, blocks};

    rig_run_until(rig, has_blocks, &wait);
}

void rig_assert_history(const RigSide *side, const char *history)
{
    assert_string_equal(side->history->str, history);
}

void rig_assert_error(RigSide *side, const char *words)
{
    g_autoptr(SnprelayInfo) info = snprelay_query(side->relay);

    assert_non_null(info->error_desc);
    if (!strstr(info->error_desc, words)) {
        fail_msg("'%s' is not in: %s", words, info->error_desc);
    }
}

void rig_assert_registers(const RigSide *side, guint8 status, guint8 data)
{
    assert_int_equal(__atomic_load_n(side->page + MIGPAGE_STATUS_OFFSET, __ATOMIC_ACQUIRE), status);
    assert_int_equal(__atomic_load_n(side->page + MIGPAGE_DATA_OFFSET, __ATOMIC_ACQUIRE), data);
}

void rig_set(RigSide *side, const char *name, const char *text)
{
    g_autoptr(GError) error = NULL;
    SnprelayParameterValue value;

    if (!snprelay_parameter_parse(name, text, &value, &error) ||
        !snprelay_set_parameters(side->relay, &value, 1, &error)) {
        fail_msg("%s", error->message);
    }
    snprelay_parameter_clear(&value);
}
