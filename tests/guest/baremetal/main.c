/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bare-metal guest: the SVSM's side of a migration page inside a real virtual machine. It takes its options from the
 * kernel's command line, and speaks on the first serial port as snprelay-guest does on standard output:
 *
 *   source|destination [size=BYTES] [seed=N] [page=ADDRESS] [runs=N] [cancellable] [stay]
 *   probe                      prints "guest alive" and ends: does this machine work at all?
 */
#include <string.h>

#include "../guest-agent.h"
#include "machine.h"

#define DEFAULT_PAGE 0x1000000u

typedef struct {
    bool is_source;
    bool cancellable;
    bool stay;
    uint64_t blocks;
    uint64_t seed;
    uint64_t page;
    uint64_t runs;
} BaremetalOptions;

static const volatile int never_interrupted;
static GuestStream stream;
static GuestTally tally;

static _Noreturn void baremetal_fail(const char *what, const char *which)
{
    machine_print("error: ");
    machine_print(what);
    machine_print(" ");
    machine_print(which);
    machine_print("\n");
    machine_exit(MACHINE_EXIT_FAILED);
}

/* Decimal or 0x hexadecimal, k, M or G may follow. */
static uint64_t baremetal_parse_number(const char *text)
{
    const char *digit = text;
    unsigned base = 10;
    bool is_scaled = false;
    uint64_t number = 0;

    if (digit[0] == '0' && digit[1] == 'x') {
        base = 16;
        digit += 2;
    }
    for (;; digit++) {
        if (*digit >= '0' && *digit <= '9') {
            number = number * base + (uint64_t)(*digit - '0');
        } else if (base == 16 && *digit >= 'a' && *digit <= 'f') {
            number = number * base + (uint64_t)(*digit - 'a' + 10);
        } else {
            break;
        }
    }
    for (const char *unit = "GMk"; *unit != '\0'; unit++) {
        if (is_scaled || *digit == *unit) {
            is_scaled = true;
            number <<= 10;
        }
    }
    digit += is_scaled;
    if (*digit != '\0' || digit == text) {
        baremetal_fail("not a number:", text);
    }
    return number;
}

/* Returns what follows NAME in WORD, or NULL when WORD does not begin with it. */
static const char *baremetal_match(const char *word, const char *name)
{
    while (*name != '\0') {
        if (*word++ != *name++) {
            return NULL;
        }
    }
    return word;
}

static bool baremetal_is(const char *word, const char *name)
{
    const char *rest = baremetal_match(word, name);

    return rest && *rest == '\0';
}

static void baremetal_parse_word(BaremetalOptions *options, const char *word)
{
    const char *value;

    if (baremetal_is(word, "source")) {
        options->is_source = true;
    } else if (baremetal_is(word, "destination")) {
        options->is_source = false;
    } else if (baremetal_is(word, "cancellable")) {
        options->cancellable = true;
    } else if (baremetal_is(word, "stay")) {
        options->stay = true;
    } else if (baremetal_is(word, "probe")) {
        machine_print("guest alive\n");
        machine_exit(MACHINE_EXIT_DONE);
    } else if ((value = baremetal_match(word, "size="))) {
        options->blocks = baremetal_parse_number(value) / MIGPAGE_BLOCK_SIZE;
    } else if ((value = baremetal_match(word, "seed="))) {
        options->seed = baremetal_parse_number(value);
    } else if ((value = baremetal_match(word, "page="))) {
        options->page = baremetal_parse_number(value);
    } else if ((value = baremetal_match(word, "runs="))) {
        options->runs = baremetal_parse_number(value);
    } else {
        baremetal_fail("unknown option:", word);
    }
}

/* Splits the command line in place. */
static void baremetal_parse(BaremetalOptions *options, char *line)
{
    bool has_role = baremetal_match(line, "source") || baremetal_match(line, "destination") ||
                    baremetal_match(line, "probe");

    if (!has_role) {
        baremetal_fail("the command line begins with source or destination, not with", line);
    }
    while (*line != '\0') {
        char *word = line;

        while (*line != '\0' && *line != ' ') {
            line++;
        }
        if (*line != '\0') {
            *line++ = '\0';
        }
        if (*word != '\0') {
            baremetal_parse_word(options, word);
        }
    }
}

static void baremetal_check_page(const BaremetalOptions *options)
{
    uint64_t page = options->page;
    volatile uint8_t *probe = (volatile uint8_t *)(uintptr_t)page;

    if (page % MIGPAGE_SIZE != 0 || page > MACHINE_MAPPED_END - MIGPAGE_SIZE) {
        baremetal_fail("page=: not a multiple of 4096 below 16 GiB", "");
    }
    if (page + MIGPAGE_SIZE > (uintptr_t)image_start && page < (uintptr_t)image_end) {
        baremetal_fail("page=: the guest itself lies there", "");
    }
    *probe = 0xa5;
    if (*probe != 0xa5) {
        baremetal_fail("page=: no RAM there", "");
    }
}

static GuestOutcome baremetal_before(void *user, uint64_t number, uint8_t *block)
{
    const BaremetalOptions *options = user;

    if (options->is_source) {
        guest_stream_fill(&stream, number, block);
    }
    return GUEST_CONTINUE;
}

static GuestOutcome baremetal_play(const GuestAgent *agent, BaremetalOptions *options, uint64_t run)
{
    const GuestHooks hooks = {.before = baremetal_before, .user = options};

    guest_stream_init(&stream, options->seed + run);
    guest_agent_wait_start(agent,
                           options->is_source ? MIGPAGE_STATUS_RUNNING : MIGPAGE_STATUS_INCOMING);
    guest_tally_start(&tally, true);
    if (options->is_source) {
        return guest_agent_play_source(agent, options->blocks, &hooks, &tally);
    }
    return guest_agent_play_destination(agent, &hooks, &tally);
}

static void baremetal_report(GuestOutcome outcome)
{
    if (outcome == GUEST_CANCELLED) {
        machine_print("cancelled at block ");
        machine_print_decimal(tally.blocks);
    } else {
        machine_print("blocks ");
        machine_print_decimal(tally.blocks);
        machine_print(" bytes ");
        machine_print_decimal(tally.blocks * MIGPAGE_BLOCK_SIZE);
        machine_print(" checksum ");
        machine_print_hex(guest_tally_checksum(&tally), 16);
    }
    machine_print("\n");
}

void baremetal_main(const MachineStartInfo *info)
{
    BaremetalOptions options = {.page = DEFAULT_PAGE, .runs = 1, .blocks = 0};
    GuestAgent agent = {.interrupt = &never_interrupted};

    if (info->magic != MACHINE_START_MAGIC || !info->command_line) {
        baremetal_fail("no command line (-append)", "");
    }
    baremetal_parse(&options, (char *)(uintptr_t)info->command_line);
    baremetal_check_page(&options);
    agent.cancellable = options.cancellable;
    agent.page = (uint8_t *)(uintptr_t)options.page;
    guest_agent_clear_page(&agent);
    machine_print("page at 0x");
    machine_print_hex(options.page, 1);
    machine_print("\n");
    for (uint64_t run = 0; options.stay || run < options.runs;) {
        GuestOutcome outcome = baremetal_play(&agent, &options, run);

        baremetal_report(outcome);
        run += outcome == GUEST_COMPLETED;
    }
    /* The last block is lost if the machine, and its RAM, are gone before the host has read it. */
    while (__atomic_load_n(&agent.page[MIGPAGE_DATA_OFFSET], __ATOMIC_ACQUIRE) ==
           MIGPAGE_DATA_READY) {
        __builtin_ia32_pause();
    }
    machine_exit(MACHINE_EXIT_DONE);
}
