/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest's side of the migration page. */
#include "guest-agent.h"

#include <string.h>

uint8_t guest_agent_get_register(const GuestAgent *agent, unsigned offset)
{
    return __atomic_load_n(&agent->page[offset], __ATOMIC_ACQUIRE);
}

void guest_agent_set_register(const GuestAgent *agent, unsigned offset, uint8_t value)
{
    __atomic_store_n(&agent->page[offset], value, __ATOMIC_RELEASE);
}

void guest_agent_clear_page(const GuestAgent *agent)
{
    memset(agent->page, 0, MIGPAGE_SIZE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* One turn of a waiting loop. Returns false when the guest is to end. */
static inline bool guest_agent_relax(const GuestAgent *agent)
{
    if (agent->relax) {
        agent->relax();
    } else {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
    }
    return *agent->interrupt == 0;
}

static inline bool guest_agent_is_cancelled(const GuestAgent *agent, uint8_t status)
{
    return agent->cancellable && status == MIGPAGE_STATUS_NOT_STARTED;
}

static GuestOutcome guest_agent_give_up(const GuestAgent *agent)
{
    guest_agent_set_register(agent, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_NONE);
    return GUEST_CANCELLED;
}

GuestOutcome guest_agent_wait_start(const GuestAgent *agent, uint8_t status)
{
    while (guest_agent_get_register(agent, MIGPAGE_STATUS_OFFSET) != status) {
        if (!guest_agent_relax(agent)) {
            return GUEST_INTERRUPTED;
        }
    }
    return GUEST_CONTINUE;
}

GuestOutcome guest_agent_wait_read(const GuestAgent *agent)
{
    for (;;) {
        if (guest_agent_is_cancelled(agent,
                                     guest_agent_get_register(agent, MIGPAGE_STATUS_OFFSET))) {
            return guest_agent_give_up(agent);
        }
        if (guest_agent_get_register(agent, MIGPAGE_DATA_OFFSET) == MIGPAGE_DATA_READ) {
            return GUEST_CONTINUE;
        }
        if (!guest_agent_relax(agent)) {
            return GUEST_INTERRUPTED;
        }
    }
}

/* Waits for a block or for the end. CONTINUE means that there is a block. */
static GuestOutcome guest_agent_wait_ready(const GuestAgent *agent)
{
    for (;;) {
        /* The status first: a host that stores "ready" and then "completed" must not lose that block. */
        uint8_t status = guest_agent_get_register(agent, MIGPAGE_STATUS_OFFSET);
        uint8_t data = guest_agent_get_register(agent, MIGPAGE_DATA_OFFSET);

        if (guest_agent_is_cancelled(agent, status)) {
            return guest_agent_give_up(agent);
        }
        if (data == MIGPAGE_DATA_READY) {
            return GUEST_CONTINUE;
        }
        if (status == MIGPAGE_STATUS_COMPLETED && data == MIGPAGE_DATA_READ) {
            return GUEST_COMPLETED;
        }
        if (!guest_agent_relax(agent)) {
            return GUEST_INTERRUPTED;
        }
    }
}

/* Stores "completed". A cancellable guest must not store it over a cancel that came in between. */
static GuestOutcome guest_agent_complete(const GuestAgent *agent)
{
    uint8_t expected = MIGPAGE_STATUS_RUNNING;

    if (!agent->cancellable) {
        guest_agent_set_register(agent, MIGPAGE_STATUS_OFFSET, MIGPAGE_STATUS_COMPLETED);
        return GUEST_COMPLETED;
    }
    if (__atomic_compare_exchange_n(&agent->page[MIGPAGE_STATUS_OFFSET], &expected,
                                    MIGPAGE_STATUS_COMPLETED, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
        return GUEST_COMPLETED;
    }
    return guest_agent_give_up(agent);
}

GuestOutcome guest_agent_play_source(const GuestAgent *agent, uint64_t blocks,
                                     const GuestHooks *hooks, GuestTally *tally)
{
    _Alignas(64) uint8_t block[MIGPAGE_BLOCK_SIZE];
    GuestOutcome outcome = GUEST_CONTINUE;

    for (uint64_t number = 0; number < blocks && outcome == GUEST_CONTINUE; number++) {
        outcome = hooks->before(hooks->user, number, block);
        if (outcome == GUEST_CONTINUE) {
            outcome = guest_agent_wait_read(agent);
        }
        if (outcome != GUEST_CONTINUE) {
            break;
        }
        memcpy(agent->page + MIGPAGE_BUFFER_OFFSET, block, MIGPAGE_BLOCK_SIZE);
        guest_agent_set_register(agent, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READY);
        guest_tally_add(tally, block); /* while the host reads */
        if (hooks->after) {
            outcome = hooks->after(hooks->user, number, block);
        }
    }
    if (outcome == GUEST_CONTINUE && hooks->finish) {
        outcome = hooks->finish(hooks->user);
    }
    return outcome == GUEST_CONTINUE ? guest_agent_complete(agent) : outcome;
}

GuestOutcome guest_agent_play_destination(const GuestAgent *agent, const GuestHooks *hooks,
                                          GuestTally *tally)
{
    _Alignas(64) uint8_t block[MIGPAGE_BLOCK_SIZE];
    GuestOutcome outcome = GUEST_CONTINUE;

    for (uint64_t number = 0; outcome == GUEST_CONTINUE; number++) {
        outcome = hooks->before(hooks->user, number, block);
        if (outcome == GUEST_CONTINUE) {
            outcome = guest_agent_wait_ready(agent);
        }
        if (outcome != GUEST_CONTINUE) {
            break;
        }
        memcpy(block, agent->page + MIGPAGE_BUFFER_OFFSET, MIGPAGE_BLOCK_SIZE);
        guest_agent_set_register(agent, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READ);
        guest_tally_add(tally, block); /* while the host brings the next one */
        if (hooks->after) {
            outcome = hooks->after(hooks->user, number, block);
        }
    }
    return outcome;
}
