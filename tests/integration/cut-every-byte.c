/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A short migration whose connection is cut in front of every single byte, once each, alternately by an orderly close and
 * by a reset: natively it must complete as if nothing had happened, on the poc wire it must fail and never look whole.
 *
 * Source, destination, their guests and the proxy between them are threads of this process. The guests go in step with the
 * stream, so that what is sent is the same bytes every time and "every byte" can be counted. Most of the time everything
 * sleeps, so several such migrations go on side by side.
 */
#include <glib/gstdio.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cutting-files.h"
#include "cutting-proxy.h"
#include "guest-agent.h"
#include "include/snprelay/snprelay.h"
#include "migpage/layout.h"
#include "relay/wire-native.h"
#include "relay/wire-poc.h"

#define BLOCKS 3
#define LANES 6
#define PATIENCE_S 60 /* only to end what hangs */
#define HELLO_BYTES (NATIVE_MAGIC_SIZE + NATIVE_HEADER_SIZE + NATIVE_HELLO_SIZE)
#define END_BYTES (NATIVE_HEADER_SIZE + NATIVE_END_SIZE)
#define DATA_BYTES (NATIVE_HEADER_SIZE + NATIVE_DATA_HEADER_SIZE + MIGPAGE_BLOCK_SIZE)
/* Hello, each block in a frame of its own, the end and the echo; hello, acknowledgements and the end. */
#define SOURCE_BYTES (HELLO_BYTES + BLOCKS * DATA_BYTES + 2 * END_BYTES)
#define DESTINATION_BYTES                                                                          \
    (HELLO_BYTES + BLOCKS * (NATIVE_HEADER_SIZE + NATIVE_ACK_SIZE) + END_BYTES)
#define POC_BYTES (BLOCKS * (POC_HEADER_SIZE + MIGPAGE_BLOCK_SIZE) + POC_HEADER_SIZE)

static char *directory; /* sockets and certificates */
static GuestStream stream;

/* ---- One migration ---------------------------------------------------------------------------------- */

typedef struct Side {
    struct Run *run;
    gboolean incoming;
    SnprelayRelay *relay;
    GuestAgent agent;
    GThread *guest;
    GuestTally tally;
    GuestOutcome outcome;
    SnprelayInfo last; /* numbers of the last change; strings are not kept, but error */
    char *error;
} Side;

typedef struct Run {
    GMainContext *context;
    const char *wire, *directory; /* the lane's */
    Cut cut;
    Side source, destination;
    CutProxy *proxy;
    GString *complaints;
    gboolean listening, refused, gave_up;
    atomic_uint read;       /* blocks that the destination's guest has taken */
    atomic_bool wrong;      /* it got a block that was not its turn, or not whole */
    volatile int interrupt; /* the guests are to end */
} Run;

static void complain(Run *run, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void complain(Run *run, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_string_append(run->complaints, "; ");
    g_string_append_vprintf(run->complaints, format, args);
    va_end(args);
}

/* ---- Guests ---------------------------------------------------------------------------------------- */

static void nap(void)
{
    g_usleep(20);
}

/* Whether block NUMBER may be given: the destination's guest has read all before it, and (for every acknowledgement to
 * be a frame of its own) the source knows. After a cut only the poc wire's guest keeps step: it must not be at its end. */
static gboolean in_step(Run *run, uint64_t number)
{
    gboolean poc = g_str_equal(run->wire, "poc");
    g_autoptr(SnprelayInfo) info = NULL;

    if (run->interrupt || (!poc && atomic_load(&run->proxy->cut_done))) {
        return TRUE;
    }
    if (poc || run->cut.direction == FROM_SOURCE) {
        return atomic_load(&run->read) >= number;
    }
    info = snprelay_query(run->source.relay); /* any thread may */
    return info->acked_bytes >= number * MIGPAGE_BLOCK_SIZE;
}

static GuestOutcome before_giving(void *user, uint64_t number, uint8_t *block)
{
    Run *run = user;

    guest_stream_fill(&stream, number, block);
    while (!in_step(run, number)) {
        nap();
    }
    return GUEST_CONTINUE;
}

static GuestOutcome before_taking(void *user G_GNUC_UNUSED, uint64_t number G_GNUC_UNUSED,
                                  uint8_t *block G_GNUC_UNUSED)
{
    return GUEST_CONTINUE;
}

static GuestOutcome after_taking(void *user, uint64_t number, const uint8_t *block)
{
    _Alignas(64) uint8_t expected[MIGPAGE_BLOCK_SIZE];
    Run *run = user;

    guest_stream_fill(&stream, number, expected);
    if (number >= BLOCKS || memcmp(block, expected, sizeof(expected)) != 0) {
        atomic_store(&run->wrong, true);
    }
    atomic_store(&run->read, (unsigned)number + 1);
    return GUEST_CONTINUE;
}

static gpointer play(gpointer data)
{
    Side *side = data;
    const GuestHooks giving = {.before = before_giving, .user = side->run};
    const GuestHooks taking = {.before = before_taking, .after = after_taking, .user = side->run};

    guest_tally_start(&side->tally, true);
    side->outcome = guest_agent_wait_start(&side->agent, side->incoming ? MIGPAGE_STATUS_INCOMING
                                                                        : MIGPAGE_STATUS_RUNNING);
    if (side->outcome == GUEST_CONTINUE) {
        side->outcome = side->incoming
                            ? guest_agent_play_destination(&side->agent, &taking, &side->tally)
                            : guest_agent_play_source(&side->agent, BLOCKS, &giving, &side->tally);
    }
    return NULL;
}

/* ---- Relays ---------------------------------------------------------------------------------------- */

static void map_page(SnprelayMapRequest *request, uint64_t address G_GNUC_UNUSED, gpointer opaque)
{
    Side *side = opaque;

    snprelay_map_done(request, side->agent.page, NULL, NULL);
}

static void on_status(SnprelayRelay *relay G_GNUC_UNUSED, const SnprelayInfo *info, gpointer opaque)
{
    Side *side = opaque;

    side->last = *info;
    g_free(side->error);
    side->error = g_strdup(info->error_desc);
}

static void on_ready(SnprelayRelay *relay, const GError *error, gpointer opaque)
{
    Run *run = opaque;

    if (error) {
        complain(run, "%s refused: %s", relay == run->source.relay ? "source" : "destination",
                 error->message);
        run->refused = TRUE;
    }
    run->listening = TRUE;
}

static void set_parameter(Run *run, Side *side, const char *name, const char *text)
{
    g_autoptr(GError) error = NULL;
    SnprelayParameterValue value;

    if (!snprelay_parameter_parse(name, text, &value, &error) ||
        !snprelay_set_parameters(side->relay, &value, 1, &error)) {
        complain(run, "parameter %s: %s", name, error->message);
        run->refused = TRUE;
        return;
    }
    snprelay_parameter_clear(&value);
}

static void start_side(Run *run, Side *side, gboolean incoming)
{
    const SnprelayCallbacks callbacks = {.map_page = map_page, .status_changed = on_status};

    side->run = run;
    side->incoming = incoming;
    side->agent = (GuestAgent){.page = aligned_alloc(MIGPAGE_SIZE, MIGPAGE_SIZE),
                               .relax = nap,
                               .interrupt = &run->interrupt};
    guest_agent_clear_page(&side->agent);
    side->relay = snprelay_new(run->context, &callbacks, SNPRELAY_POLICY_DEFAULT, side);
    set_parameter(run, side, "wire", run->wire);
    set_parameter(run, side, "window", "64k");
    if (run->cut.tls) {
        set_parameter(run, side, "tls-creds", directory);
        set_parameter(run, side, "tls-hostname", incoming ? "" : "localhost");
    }
}

static void start(Run *run)
{
    g_autofree char *uri = run->cut.reset ? g_strdup("tcp:127.0.0.1:0")
                                          : g_strdup_printf("unix:%s/destination", run->directory);
    g_autoptr(SnprelayInfo) info = NULL;

    start_side(run, &run->source, FALSE);
    start_side(run, &run->destination, TRUE);
    snprelay_migrate_incoming(run->destination.relay, uri, 0, SNPRELAY_FLAG_NONE, on_ready, run);
    while (!run->listening) {
        g_main_context_iteration(run->context, TRUE);
    }
    info = snprelay_query(run->destination.relay);
    if (run->refused || !info->listening) {
        return;
    }
    run->proxy = cut_proxy_start(run->directory, info->listening[0], &run->cut);
    run->source.guest = g_thread_new("source-guest", play, &run->source);
    run->destination.guest = g_thread_new("dest-guest", play, &run->destination);
    snprelay_migrate(run->source.relay, run->proxy->uri, 0, SNPRELAY_FLAG_NONE, on_ready, run);
}

static gboolean is_over(Run *run)
{
    SnprelayStatus source = run->source.last.status, destination = run->destination.last.status;

    if (run->refused || run->gave_up) {
        return TRUE;
    }
    if (source == SNPRELAY_STATUS_NONE || !snprelay_status_is_final(source)) {
        return FALSE;
    }
    /* A destination that has not heard a word stays as it was and waits for somebody else. */
    return snprelay_status_is_final(destination) ||
           (source != SNPRELAY_STATUS_COMPLETED && destination == SNPRELAY_STATUS_SETUP &&
            (run->cut.tls || run->cut.position == 0));
}

static gboolean give_up(gpointer data)
{
    Run *run = data;

    complain(run, "it took more than %d s", PATIENCE_S);
    run->gave_up = TRUE;
    return G_SOURCE_REMOVE;
}

static void stop_side(Side *side)
{
    snprelay_free(side->relay);
    free(side->agent.page);
    g_free(side->error);
}

/* ---- What must be true afterwards ------------------------------------------------------------------- */

static void check_end(Run *run, Side *side, SnprelayStatus expected)
{
    const char *name = side->incoming ? "destination" : "source";

    if (side->last.status != expected) {
        complain(run, "the %s is %s (%s)", name, snprelay_status_name(side->last.status),
                 side->error ? side->error : "no text");
    } else if (expected == SNPRELAY_STATUS_FAILED && !side->error) {
        complain(run, "the %s does not say why it failed", name);
    }
}

static void check_native(Run *run)
{
    uint64_t given = guest_tally_checksum(&run->source.tally);

    check_end(run, &run->source, SNPRELAY_STATUS_COMPLETED);
    check_end(run, &run->destination, SNPRELAY_STATUS_COMPLETED);
    if (run->destination.outcome != GUEST_COMPLETED || run->destination.tally.blocks != BLOCKS ||
        run->source.tally.blocks != BLOCKS) {
        complain(run, "the guest got %" PRIu64 " of %" PRIu64 " blocks",
                 run->destination.tally.blocks, run->source.tally.blocks);
    }
    if (guest_tally_checksum(&run->destination.tally) != given ||
        run->source.last.checksum != given || run->destination.last.checksum != given) {
        complain(run, "the checksums differ");
    }
}

/* A first connection that never stood leaves everything as it was, and may be made again. */
static void check_not_begun(Run *run)
{
    const guint8 *pages[] = {run->source.agent.page, run->destination.agent.page};

    check_end(run, &run->source, SNPRELAY_STATUS_FAILED);
    if (run->destination.last.status != SNPRELAY_STATUS_SETUP) {
        check_end(run, &run->destination, SNPRELAY_STATUS_FAILED);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(pages); i++) {
        if (pages[i][MIGPAGE_STATUS_OFFSET] != 0 || pages[i][MIGPAGE_DATA_OFFSET] != 0) {
            complain(run, "the page was touched");
        }
    }
}

static void check_poc(Run *run)
{
    gboolean heard = run->cut.position > 0;
    /* An orderly close after everything was sent is all that this wire has for a confirmation. */
    gboolean can_know = run->cut.reset || run->cut.position < POC_BYTES - DATA_BYTES;

    check_end(run, &run->destination, heard ? SNPRELAY_STATUS_FAILED : SNPRELAY_STATUS_SETUP);
    if (can_know) {
        check_end(run, &run->source, SNPRELAY_STATUS_FAILED);
    }
    if (run->destination.outcome == GUEST_COMPLETED || run->destination.tally.blocks > BLOCKS) {
        complain(run, "the destination's guest was told that the stream is whole");
    }
}

/* The last bytes go when both sides are through with it already. */
static gboolean was_cut(Run *run)
{
    for (int i = 0; i < 10000 && !atomic_load(&run->proxy->cut_done); i++) {
        g_usleep(1000);
    }
    return atomic_load(&run->proxy->cut_done);
}

static void check(Run *run)
{
    gboolean is_cut = run->cut.position != CUT_NOWHERE;

    if (atomic_load(&run->wrong)) {
        complain(run, "the guest got a wrong block");
    }
    if (run->proxy && is_cut && !was_cut(run)) {
        complain(run, "the place of the cut was not reached (source: %s; destination: %s)",
                 run->source.error, run->destination.error);
    }
    if (is_cut && g_str_equal(run->wire, "poc")) {
        check_poc(run);
    } else if (run->cut.in_handshake && run->source.last.status != SNPRELAY_STATUS_COMPLETED) {
        check_not_begun(run);
    } else {
        check_native(run);
    }
}

/* Runs one migration. Returns what was wrong, or NULL. The PROXY, if asked for, tells what was sent. */
static char *migrate(GMainContext *context, const char *wire, const char *lane, const Cut *cut,
                     CutProxy **proxy)
{
    Run run = {.context = context, .wire = wire, .directory = lane, .cut = *cut};
    GSource *patience = g_timeout_source_new_seconds(PATIENCE_S);

    run.complaints = g_string_new(NULL);
    g_source_set_callback(patience, give_up, &run, NULL);
    g_source_attach(patience, context);
    start(&run);
    while (!is_over(&run)) {
        g_main_context_iteration(context, TRUE);
    }
    if (run.destination.last.status != SNPRELAY_STATUS_COMPLETED) {
        run.interrupt = 1;
    }
    if (run.source.guest) {
        g_thread_join(g_steal_pointer(&run.source.guest));
        g_thread_join(g_steal_pointer(&run.destination.guest));
    }
    check(&run);
    stop_side(&run.source);
    stop_side(&run.destination);
    if (run.proxy) {
        cut_proxy_stop(run.proxy);
    }
    if (proxy) {
        *proxy = run.proxy;
    } else if (run.proxy) {
        cut_proxy_free(run.proxy);
    }
    g_source_destroy(patience);
    g_source_unref(patience);
    return g_string_free(run.complaints, run.complaints->len == 0);
}

/* ---- All of them ------------------------------------------------------------------------------------ */

typedef struct Batch {
    const char *wire;
    GArray *cuts; /* Cut */
    atomic_uint next;
    atomic_uint failures;
} Batch;

static void print_failure(Batch *batch, const Cut *cut, const char *complaints)
{
    g_autofree char *place = cut->tls ? g_strdup_printf("TLS record %u, step %u of %u", cut->record,
                                                        cut->step, cut->steps)
                                      : g_strdup_printf("byte %" PRIu64, cut->position);

    if (atomic_fetch_add(&batch->failures, 1) < 60) {
        print_error("%s, %s before %s of the %s%s\n", batch->wire,
                    cut->reset ? "reset" : "orderly close", place,
                    cut->direction == FROM_SOURCE ? "source" : "destination", complaints);
    }
}

static gpointer run_lane(gpointer data)
{
    Batch *batch = data;
    g_autofree char *lane = g_build_filename(directory, "lane-XXXXXX", NULL);
    GMainContext *context = g_main_context_new();
    unsigned index;

    assert_non_null(g_mkdtemp(lane));
    while ((index = atomic_fetch_add(&batch->next, 1)) < batch->cuts->len) {
        const Cut *cut = &g_array_index(batch->cuts, Cut, index);
        g_autofree char *complaints = migrate(context, batch->wire, lane, cut, NULL);

        if (complaints) {
            print_failure(batch, cut, complaints);
        }
    }
    while (g_main_context_iteration(context, FALSE)) {
    }
    g_main_context_unref(context);
    return NULL;
}

static void run_batch(const char *wire, GArray *cuts)
{
    Batch batch = {.wire = wire, .cuts = cuts};
    GThread *lanes[LANES];

    for (int i = 0; i < LANES; i++) {
        lanes[i] = g_thread_new("lane", run_lane, &batch);
    }
    for (int i = 0; i < LANES; i++) {
        g_thread_join(lanes[i]);
    }
    print_message("%s: %u cuts, %u of them went wrong\n", wire, cuts->len, batch.failures);
    assert_int_equal(batch.failures, 0);
}

static void add_cuts(GArray *cuts, int direction, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++) {
        Cut cut = {.direction = direction, .position = i, .reset = i % 2};

        g_array_append_val(cuts, cut);
    }
}

/* A migration without a cut; the proxy has counted. */
static CutProxy *measure(const char *wire, Cut cut)
{
    g_autoptr(GMainContext) context = g_main_context_new();
    CutProxy *proxy = NULL;
    g_autofree char *complaints = NULL;

    cut.position = CUT_NOWHERE;
    complaints = migrate(context, wire, directory, &cut, &proxy);
    if (complaints) {
        fail_msg("%s without a cut%s", wire, complaints);
    }
    return proxy;
}

/* ---- The tests ------------------------------------------------------------------------------------- */

static void test_native(void **state)
{
    g_autoptr(GArray) cuts = g_array_new(FALSE, FALSE, sizeof(Cut));
    CutProxy *proxy = measure("native", (Cut){.direction = FROM_DESTINATION});

    (void)state;
    assert_int_equal(proxy->flows[FROM_SOURCE].bytes, SOURCE_BYTES);
    assert_int_equal(proxy->flows[FROM_DESTINATION].bytes, DESTINATION_BYTES);
    cut_proxy_free(proxy);
    add_cuts(cuts, FROM_SOURCE, SOURCE_BYTES);
    add_cuts(cuts, FROM_DESTINATION, DESTINATION_BYTES);
    run_batch("native", cuts);
}

static void test_poc(void **state)
{
    g_autoptr(GArray) cuts = g_array_new(FALSE, FALSE, sizeof(Cut));
    CutProxy *proxy = measure("poc", (Cut){.direction = FROM_SOURCE});

    (void)state;
    assert_int_equal(proxy->flows[FROM_SOURCE].bytes, POC_BYTES);
    assert_int_equal(proxy->flows[FROM_DESTINATION].bytes, 0);
    cut_proxy_free(proxy);
    add_cuts(cuts, FROM_SOURCE, POC_BYTES);
    run_batch("poc", cuts);
}

/* The record that carries the hello, of which TLS 1.3 makes 17 bytes more. */
static unsigned find_hello(const CutFlow *flow)
{
    for (unsigned record = 0; record < flow->lengths->len; record++) {
        if (g_array_index(flow->lengths, unsigned, record) == HELLO_BYTES + 17) {
            return record;
        }
    }
    fail_msg("no TLS record of %u has the length of a hello", flow->lengths->len);
    return 0;
}

/* Every record's boundary, the bytes around it, and a few places inside. The last record of a side is the one that says
 * goodbye. */
static void add_tls_cuts(GArray *cuts, const CutFlow *flow, int direction)
{
    unsigned hello = find_hello(flow);

    for (unsigned record = 0; record + 1 < flow->lengths->len; record++) {
        unsigned steps = 5 + MAX(g_array_index(flow->lengths, unsigned, record) / 256, 1);

        for (unsigned step = 0; step < steps; step++) {
            Cut cut = {.direction = direction,
                       .tls = TRUE,
                       .record = record,
                       .step = step,
                       .steps = steps,
                       .in_handshake = record < hello,
                       .reset = (record + step) % 2};

            g_array_append_val(cuts, cut);
        }
    }
}

static void test_tls(void **state)
{
    g_autoptr(GArray) cuts = g_array_new(FALSE, FALSE, sizeof(Cut));
    CutProxy *proxy = measure("native", (Cut){.direction = FROM_DESTINATION, .tls = TRUE});

    (void)state;
    for (int i = 0; i < 2; i++) {
        add_tls_cuts(cuts, &proxy->flows[i], i);
    }
    cut_proxy_free(proxy);
    run_batch("native", cuts); /* under TLS */
}

/* ---- The program ---------------------------------------------------------------------------------- */

/* LeakSanitizer crashes on the thread-local storage of libraries that were loaded later, as GIO's TLS module is. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

static int set_up(void **state)
{
    g_autoptr(GError) error = NULL;

    (void)state;
    guest_stream_init(&stream, 1);
    directory = cutting_files_make(&error);
    if (!directory) {
        print_error("making certificates: %s\n", error->message);
        return -1;
    }
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    cutting_files_remove(directory);
    g_clear_pointer(&directory, g_free);
    return 0;
}

/* With an argument: only the tests whose name fits that pattern. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_native),
        cmocka_unit_test(test_poc),
        cmocka_unit_test(test_tls),
    };
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    return cmocka_run_group_tests_name("cut-every-byte", tests, set_up, clean_up);
}
