/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The serial port, the exit device, and what the compiler expects of a C library. */
#include "machine.h"

#include <stddef.h>
#include <string.h>

#define SERIAL_DATA 0x3f8
#define SERIAL_STATUS 0x3fd
#define SERIAL_CAN_SEND 0x20
#define EXIT_PORT 0xf4

/* Keeps the compiler from making a loop of memcpy() into a call of memcpy(). */
#define BARRIER() __asm__ volatile("" : : : "memory")

static inline void machine_out(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t machine_in(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

void machine_print(const char *text)
{
    for (; *text != '\0'; text++) {
        while (!(machine_in(SERIAL_STATUS) & SERIAL_CAN_SEND)) {
            __builtin_ia32_pause();
        }
        machine_out(SERIAL_DATA, (uint8_t)*text);
    }
}

static void machine_print_number(uint64_t number, unsigned base, unsigned digits)
{
    char text[24];
    char *start = text + sizeof(text) - 1;

    *start = '\0';
    do {
        *--start = "0123456789abcdef"[number % base];
        number /= base;
        digits -= digits > 0;
    } while (number > 0 || digits > 0);
    machine_print(start);
}

void machine_print_decimal(uint64_t number)
{
    machine_print_number(number, 10, 1);
}

void machine_print_hex(uint64_t number, unsigned digits)
{
    machine_print_number(number, 16, digits);
}

_Noreturn void machine_exit(uint8_t value)
{
    machine_out(EXIT_PORT, value);
    __builtin_trap(); /* ud2: ring 0 halts */
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    typedef long long Vector __attribute__((vector_size(16), aligned(1), may_alias));
    uint8_t *target = to;
    const uint8_t *source = from;

    for (; size >= 64; size -= 64, target += 64, source += 64) {
        for (unsigned i = 0; i < 4; i++) {
            ((Vector *)target)[i] = ((const Vector *)source)[i];
        }
        BARRIER();
    }
    for (; size > 0; size--) {
        *target++ = *source++;
        BARRIER();
    }
    return to;
}

void *memset(void *to, int value, size_t size)
{
    for (uint8_t *target = to; size > 0; size--) {
        *target++ = (uint8_t)value;
        BARRIER();
    }
    return to;
}
