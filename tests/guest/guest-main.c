/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * snprelay-guest: a simulated SVSM. It maps the migration page from a file that stands for a guest's RAM, and plays the
 * source or the destination of a migration on it as the proof of concept's guest does, or misbehaves as one might.
 *
 * Standard output is for programs: "page at 0x...", then for each run "blocks N bytes N checksum HEX". Exit status: 0 done,
 * 1 something was wrong, 2 usage, 128 and the signal's number when a signal ended it.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "guest-memory.h"
#include "guest-script.h"

typedef struct {
    _Alignas(64) GuestTally tally; /* of the run that began last */
    const GuestAgent *agent;
    const GuestOptions *options;
    GuestScript *script;
    gboolean is_printed; /* the tally was printed already */
    gboolean ok;
} GuestLife;

/* Set by a signal: its number. The agent looks at it in every turn of its waiting loops. */
static volatile int interrupted;

static void guest_handle_signal(int number)
{
    interrupted = number;
}

static void guest_install_signals(guint timeout_s)
{
    struct sigaction action = {.sa_handler = guest_handle_signal};

    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    alarm(timeout_s);
}

static void guest_yield(void)
{
    sched_yield();
}

static void guest_print_tally(const GuestTally *tally)
{
    printf("blocks %" G_GUINT64_FORMAT " bytes %" G_GUINT64_FORMAT, (guint64)tally->blocks,
           (guint64)tally->blocks * MIGPAGE_BLOCK_SIZE);
    if (tally->hashing) {
        printf(" checksum %016" G_GINT64_MODIFIER "x", (guint64)guest_tally_checksum(tally));
    }
    printf("\n");
}

/* Plays one migration from its start on. The tally is new from the moment that the host starts it. */
static GuestOutcome guest_play(GuestLife *life, guint64 run)
{
    const GuestHooks *hooks = guest_script_start_run(life->script, run);
    gboolean is_source = life->options->is_source;
    GuestOutcome outcome = guest_agent_wait_start(life->agent, is_source ? MIGPAGE_STATUS_RUNNING
                                                                         : MIGPAGE_STATUS_INCOMING);

    if (outcome != GUEST_CONTINUE) {
        return outcome;
    }
    guest_tally_start(&life->tally, !life->options->no_checksum);
    life->is_printed = FALSE;
    if (is_source) {
        outcome = guest_agent_play_source(life->agent, life->options->blocks, hooks, &life->tally);
    } else {
        outcome = guest_agent_play_destination(life->agent, hooks, &life->tally);
    }
    if (!guest_script_end_run(life->script, outcome, life->tally.blocks)) {
        life->ok = FALSE;
    }
    return outcome;
}

static int guest_end_interrupted(const GuestLife *life)
{
    if (!life->is_printed) {
        guest_print_tally(&life->tally);
    }
    if (interrupted != SIGALRM) {
        return 128 + interrupted;
    }
    fprintf(stderr, "snprelay-guest: not done after %u seconds (see --timeout)\n",
            life->options->timeout_s);
    return EXIT_FAILURE;
}

static int guest_live(GuestLife *life)
{
    guint64 runs = life->options->runs;

    guest_tally_start(&life->tally, !life->options->no_checksum);
    for (guint64 run = 0; runs == 0 || run < runs;) {
        switch (guest_play(life, run)) {
        case GUEST_COMPLETED:
            guest_print_tally(&life->tally);
            life->is_printed = TRUE;
            run++;
            break;
        case GUEST_CANCELLED:
            printf("cancelled at block %" G_GUINT64_FORMAT "\n", (guint64)life->tally.blocks);
            break;
        case GUEST_RESET:
            guest_tally_start(&life->tally, !life->options->no_checksum);
            break;
        default:
            return guest_end_interrupted(life);
        }
    }
    return life->ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GuestOptions) options = guest_options_parse(argc, argv, &error);
    GuestAgent agent = {.interrupt = &interrupted};

    if (!options) {
        fprintf(stderr, "snprelay-guest: %s\n", error->message);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    guest_install_signals(options->timeout_s);
    agent.cancellable = options->cancellable;
    agent.relax = options->polite ? guest_yield : NULL;
    agent.page = guest_memory_map(options, &error);
    if (!agent.page) {
        fprintf(stderr, "snprelay-guest: %s\n", error->message);
        return EXIT_FAILURE;
    }
    if (!options->keep_page) {
        guest_agent_clear_page(&agent);
    }

    g_autoptr(GuestScript) script = guest_script_new(options, &agent);

    guest_script_boot(script);
    printf("page at 0x%" G_GINT64_MODIFIER "x\n", options->address);

    GuestLife life = {.agent = &agent, .options = options, .script = script, .ok = TRUE};

    return guest_live(&life);
}
