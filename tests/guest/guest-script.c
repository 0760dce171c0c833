/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the simulated guest does around each block. */
#include "guest-script.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "migpage/layout.h"

#define GUEST_NAP_US 10000u /* how often a guest that does nothing looks whether it is to end */
#define GUEST_LATE_US 1000000u
#define GUEST_BAD_STATUS 0x77u
#define GUEST_BAD_DATA 0x99u

struct GuestScript {
    const GuestOptions *options;
    const GuestAgent *agent;
    GuestHooks hooks;
    GuestStream stream;
    gboolean misbehaved; /* it happens once in the life of a guest */
    gint64 next_us;      /* when the next block is due (--interval) */
    GArray *delays;      /* of guint64, nanoseconds (--latency) */
    gboolean is_wrong;
    guint64 wrong_block;
    gboolean is_rewriting;
    guint64 scribble;
};

static guint64 guest_script_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (guint64)now.tv_sec * G_GUINT64_CONSTANT(1000000000) + (guint64)now.tv_nsec;
}

static GuestOutcome guest_script_sleep(const GuestScript *script, gint64 microseconds)
{
    gint64 end = g_get_monotonic_time() + microseconds;
    gint64 left;

    while ((left = end - g_get_monotonic_time()) > 0) {
        if (*script->agent->interrupt) {
            return GUEST_INTERRUPTED;
        }
        g_usleep((gulong)MIN(left, (gint64)GUEST_NAP_US));
    }
    return GUEST_CONTINUE;
}

static GuestOutcome guest_script_idle(const GuestScript *script)
{
    return guest_script_sleep(script, G_MAXINT64 / 2);
}

/* The time since the last block was given or taken does not count: a guest is only ever late, never in a hurry. */
static GuestOutcome guest_script_wait_interval(GuestScript *script)
{
    gint64 left = script->next_us - g_get_monotonic_time();
    GuestOutcome outcome = left > 0 ? guest_script_sleep(script, left) : GUEST_CONTINUE;

    script->next_us = g_get_monotonic_time() + (gint64)script->options->interval_us;
    return outcome;
}

/* Scribbles over the buffer for as long as it is the host's to read or to write. */
static void guest_script_rewrite(GuestScript *script)
{
    const GuestAgent *agent = script->agent;
    volatile guint64 *words = (volatile guint64 *)(agent->page + MIGPAGE_BUFFER_OFFSET);
    guint8 hosts = script->options->is_source ? MIGPAGE_DATA_READY : MIGPAGE_DATA_READ;
    guint8 status = guest_agent_get_register(agent, MIGPAGE_STATUS_OFFSET);

    do {
        for (unsigned i = 0; i < GUEST_BLOCK_WORDS; i++) {
            words[i] = script->scribble;
        }
        script->scribble++;
    } while (guest_agent_get_register(agent, MIGPAGE_DATA_OFFSET) == hosts &&
             guest_agent_get_register(agent, MIGPAGE_STATUS_OFFSET) == status &&
             !*agent->interrupt);
}

static GuestOutcome guest_script_misbehave(GuestScript *script, guint64 number)
{
    const GuestAgent *agent = script->agent;

    script->misbehaved = TRUE;
    if (script->options->is_source) {
        /* "At block N" means that the host has had all blocks before it. */
        GuestOutcome outcome = guest_agent_wait_read(agent);

        if (outcome != GUEST_CONTINUE) {
            return outcome;
        }
    }
    switch (script->options->misbehaviour) {
    case GUEST_MISBEHAVE_STOP:
        printf("stopped at block %" G_GUINT64_FORMAT "\n", number);
        return guest_script_idle(script);
    case GUEST_MISBEHAVE_EXIT:
        printf("exit at block %" G_GUINT64_FORMAT "\n", number);
        fflush(stdout);
        _exit(1);
    case GUEST_MISBEHAVE_REWRITE:
        script->is_rewriting = TRUE;
        printf("rewriting from block %" G_GUINT64_FORMAT "\n", number);
        return GUEST_CONTINUE;
    case GUEST_MISBEHAVE_REGISTERS:
        guest_agent_set_register(agent, MIGPAGE_STATUS_OFFSET, GUEST_BAD_STATUS);
        guest_agent_set_register(agent, MIGPAGE_DATA_OFFSET, GUEST_BAD_DATA);
        printf("impossible registers at block %" G_GUINT64_FORMAT "\n", number);
        return guest_script_idle(script);
    case GUEST_MISBEHAVE_RESET:
        guest_agent_clear_page(agent);
        printf("reset\n");
        return GUEST_RESET;
    default: /* the others do not happen at a block */
        return GUEST_CONTINUE;
    }
}

static GuestOutcome guest_script_before(void *user, uint64_t number, uint8_t *block)
{
    GuestScript *script = user;
    const GuestOptions *options = script->options;
    GuestOutcome outcome = *script->agent->interrupt ? GUEST_INTERRUPTED : GUEST_CONTINUE;

    if (options->misbehaviour && !script->misbehaved && number >= options->misbehave_at) {
        outcome = guest_script_misbehave(script, number);
    }
    if (outcome == GUEST_CONTINUE && options->interval_us) {
        outcome = guest_script_wait_interval(script);
    }
    if (outcome != GUEST_CONTINUE || !options->is_source) {
        return outcome;
    }
    guest_stream_fill(&script->stream, number, block);
    if (options->latency) {
        /* The time counts from when the block can be given: the wait is over before the stamp is made. */
        outcome = guest_agent_wait_read(script->agent);
        guint64 now = guest_script_now_ns();
        memcpy(block, &now, sizeof(now));
    }
    return outcome;
}

/* A destination has taken a block. */
static void guest_script_examine(GuestScript *script, guint64 number, const guint8 *block)
{
    if (script->options->latency) {
        guint64 delay = guest_script_now_ns();
        guint64 stamp;

        memcpy(&stamp, block, sizeof(stamp));
        delay = delay > stamp ? delay - stamp : 0;
        g_array_append_val(script->delays, delay);
    }
    if (script->options->verify && !script->is_wrong) {
        _Alignas(64) guint8 expected[MIGPAGE_BLOCK_SIZE];
        unsigned stamped = script->options->latency ? sizeof(guint64) : 0;

        guest_stream_fill(&script->stream, number, expected);
        if (memcmp(expected + stamped, block + stamped, sizeof(expected) - stamped) != 0) {
            script->is_wrong = TRUE;
            script->wrong_block = number;
        }
    }
}

static GuestOutcome guest_script_after(void *user, uint64_t number, const uint8_t *block)
{
    GuestScript *script = user;

    if (!script->options->is_source) {
        guest_script_examine(script, number, block);
    }
    if (script->is_rewriting) {
        guest_script_rewrite(script);
    }
    return GUEST_CONTINUE;
}

static GuestOutcome guest_script_finish(void *user)
{
    GuestScript *script = user;

    if (script->options->misbehaviour == GUEST_MISBEHAVE_LATE_COMPLETE) {
        return guest_script_sleep(script, GUEST_LATE_US);
    }
    return GUEST_CONTINUE;
}

GuestScript *guest_script_new(const GuestOptions *options, const GuestAgent *agent)
{
    GuestScript *script = g_new0(GuestScript, 1);

    script->options = options;
    script->agent = agent;
    script->delays = g_array_new(FALSE, FALSE, sizeof(guint64));
    script->hooks = (GuestHooks){
        .before = guest_script_before,
        .after = guest_script_after,
        .finish = guest_script_finish,
        .user = script,
    };
    return script;
}

void guest_script_boot(GuestScript *script)
{
    if (script->options->misbehaviour == GUEST_MISBEHAVE_EARLY_READY) {
        memset(script->agent->page + MIGPAGE_BUFFER_OFFSET, 0xee, MIGPAGE_BLOCK_SIZE);
        guest_agent_set_register(script->agent, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READY);
    }
}

const GuestHooks *guest_script_start_run(GuestScript *script, guint64 run)
{
    guest_stream_init(&script->stream, script->options->seed + run);
    g_array_set_size(script->delays, 0);
    script->is_wrong = FALSE;
    script->next_us = 0;
    return &script->hooks;
}

static gint guest_script_compare_delays(gconstpointer a, gconstpointer b)
{
    guint64 left = *(const guint64 *)a;
    guint64 right = *(const guint64 *)b;

    return left < right ? -1 : left > right;
}

static void guest_script_print_delays(GArray *delays)
{
    g_array_sort(delays, guest_script_compare_delays);
    printf("latency median %.1f us p99 %.1f us blocks %u\n",
           (double)g_array_index(delays, guint64, delays->len / 2) / 1000.0,
           (double)g_array_index(delays, guint64, (guint64)delays->len * 99 / 100) / 1000.0,
           delays->len);
}

gboolean guest_script_end_run(GuestScript *script, GuestOutcome outcome, guint64 blocks)
{
    const GuestOptions *options = script->options;
    gboolean ok = !script->is_wrong;

    if (script->delays->len > 0) {
        guest_script_print_delays(script->delays);
    }
    if (script->is_wrong) {
        printf("wrong block %" G_GUINT64_FORMAT "\n", script->wrong_block);
    }
    if (outcome == GUEST_COMPLETED && options->has_blocks && blocks != options->blocks) {
        printf("expected %" G_GUINT64_FORMAT " blocks\n", options->blocks);
        ok = FALSE;
    }
    return ok;
}

void guest_script_free(GuestScript *script)
{
    if (script) {
        g_array_unref(script->delays);
        g_free(script);
    }
}
