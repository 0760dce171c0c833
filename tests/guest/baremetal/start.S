/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way from a PVH start to C in ring 3. Where guests run without hardware support (kvm_pvm), ring 0 is emulated,
 * one instruction at a time, and crawls: so everything that can be made at build time is (the page tables), and ring
 * 0 does no more than enter long mode, make ring 3 able to reach the ports, and drop to it. The only ways back are a
 * fault and "ud2", which asks for the machine to be halted.
 */
#define CODE64 0x08
#define DATA 0x10
#define USER_DATA 0x1b
#define USER_CODE64 0x23
#define TSS_SELECTOR 0x28
#define TSS_SIZE (104 + 8192 + 1)

#define CR0_PE (1 << 0)
#define CR0_MP (1 << 1)
#define CR0_EM (1 << 2)
#define CR0_PG (1 << 31)
#define CR4_PAE (1 << 5)
#define CR4_SSE (3 << 9)
#define MSR_EFER 0xc0000080
#define EFER_LME (1 << 8)
#define VECTORS 32
#define VECTOR_INVALID_OPCODE 6
#define INTERRUPT_GATE 0x8e00

#define EXIT_PORT 0xf4
#define EXIT_FAULT 0x07

    /* Xen's note 18, PHYS32_ENTRY: this is a PVH kernel, to be entered there in 32-bit mode without paging. */
    .section .note.Xen, "a", @note
    .balign 4
    .long 4
    .long 8
    .long 18
    .asciz "Xen"
    .quad start32

    .text
    .code32
    .globl start32
start32:
    cli
    cld
    mov %ebx, %ebp                  /* the start info's address */
    mov $ring0_stack_top, %esp

    /* Neither an address in a descriptor nor one in a gate is a form that a linker can fill in. */
    mov $tss, %eax
    mov %ax, gdt_tss + 2
    shr $16, %eax
    mov %al, gdt_tss + 4
    mov %ah, gdt_tss + 7
    mov $idt, %edi
    mov $VECTORS, %ecx
    mov $fault64, %eax
1:  call set_gate
    add $16, %edi
    loop 1b
    mov $idt + 16 * VECTOR_INVALID_OPCODE, %edi
    mov $halt64, %eax
    call set_gate

    lgdt gdt_pointer
    lidt idt_pointer
    mov $pml4, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $(CR4_PAE | CR4_SSE), %eax
    mov %eax, %cr4
    mov $MSR_EFER, %ecx
    rdmsr
    or $EFER_LME, %eax
    wrmsr
    mov %cr0, %eax
    and $~CR0_EM, %eax
    or $(CR0_PE | CR0_MP | CR0_PG), %eax
    mov %eax, %cr0
    ljmp $CODE64, $start64

/* Makes the gate at EDI lead to EAX, which it leaves alone. */
set_gate:
    mov %eax, %edx
    mov %dx, (%edi)
    movw $CODE64, 2(%edi)
    movw $INTERRUPT_GATE, 4(%edi)
    shr $16, %edx
    mov %dx, 6(%edi)
    ret

    .code64
start64:
    mov $DATA, %eax
    mov %eax, %ss
    mov $USER_DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov $TSS_SELECTOR, %eax
    ltr %ax
    pushq $USER_DATA
    pushq $stack_top
    pushq $2                        /* flags: interrupts stay off, nothing will ever send one */
    pushq $USER_CODE64
    pushq $start_user
    iretq

start_user:
    mov %ebp, %edi
    xor %ebp, %ebp
    call baremetal_main
    ud2

/* A fault in ring 3: the machine ends with a status of its own, where it has the device for that. */
fault64:
    mov $EXIT_FAULT, %al
    out %al, $EXIT_PORT
halt64:
    hlt
    jmp halt64

    .data
    .balign 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff        /* ring 0, 64-bit code */
    .quad 0x00cf93000000ffff        /* ring 0, data */
    .quad 0x00cff3000000ffff        /* ring 3, data */
    .quad 0x00affb000000ffff        /* ring 3, 64-bit code */
gdt_tss:
    .quad 0x0000890000000000 + (TSS_SIZE - 1)
    .quad 0
gdt_pointer:
    .word . - gdt - 1
    .long gdt
    .balign 8
idt_pointer:
    .word 16 * VECTORS - 1
    .long idt

    .balign 16
tss:
    .long 0
    .quad ring0_stack_top           /* the stack for what comes back to ring 0 */
    .zero 90
    .word 104                       /* the I/O bitmap follows: all zero, ring 3 may reach every port */
    .zero 8192
    .byte 0xff

    /* 16 GiB, each address mapped to itself in pages of 2 MiB, for ring 3 as well. */
    .balign 4096
pml4:
    .quad pdpt + 7
    .zero 4096 - 8
pdpt:
    .set index, 0
    .rept 16
    .quad directories + index * 4096 + 7
    .set index, index + 1
    .endr
    .zero 4096 - 16 * 8
directories:
    .set index, 0
    .rept 16 * 512
    .quad index * 0x200000 + 0x87
    .set index, index + 1
    .endr

    .bss
    .balign 16
idt:
    .skip 16 * VECTORS
    .skip 4096
ring0_stack_top:
    .skip 32768
stack_top:

    .section .note.GNU-stack, "", @progbits
