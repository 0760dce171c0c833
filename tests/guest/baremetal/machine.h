/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The few devices of the virtual machine that the bare-metal guest uses, and how it is started. */
#ifndef BAREMETAL_MACHINE_H
#define BAREMETAL_MACHINE_H

#include <stdint.h>

/* Everything below this address is mapped, each address to itself. */
#define MACHINE_MAPPED_END (16ull << 30)

/* Exit values, as `-device isa-debug-exit` gets them: QEMU's own exit status is twice the value plus one. */
#define MACHINE_EXIT_DONE 0
#define MACHINE_EXIT_FAILED 1

/* What a PVH start hands over. */
typedef struct {
    uint32_t magic; /* MACHINE_START_MAGIC */
    uint32_t version;
    uint32_t flags;
    uint32_t module_count;
    uint64_t module_list;
    uint64_t command_line; /* address of a zero-terminated text, or 0 */
} MachineStartInfo;

#define MACHINE_START_MAGIC 0x336ec578u

/* Where the image lies: made by the linker script. */
extern const uint8_t image_start[];
extern const uint8_t image_end[];

/* Writes text, or a number, to the serial port. */
void machine_print(const char *text);
void machine_print_decimal(uint64_t number);

/* Writes hexadecimal digits, at least DIGITS of them. */
void machine_print_hex(uint64_t number, unsigned digits);

/* Ends the machine through isa-debug-exit (port 0xf4); without that device, halts it for ever. */
_Noreturn void machine_exit(uint8_t value);

/* Called by start.S in ring 3. */
void baremetal_main(const MachineStartInfo *info);

#endif
