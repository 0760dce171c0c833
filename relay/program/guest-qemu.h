/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A guest in a running QEMU, `--guest-memory qemu:SOCKET`: its page, and what happens to it. */
#ifndef RELAY_PROGRAM_GUEST_QEMU_H
#define RELAY_PROGRAM_GUEST_QEMU_H

#include "qmp/qemu-client.h"
#include "relay/program/program.h"

typedef struct GuestQemu GuestQemu;

/*
 * Begins to connect to the QEMU of SPEC, "qemu:SOCKET[,access=map|ptrace]" (a comma in SOCKET is
 * written twice). An ERROR is a wrong SPEC; that QEMU cannot be reached is told later, to whoever
 * asks for a page, and to relay_guest_watch()'s.
 */
GuestQemu *guest_qemu_new(const char *spec, GError **error);
/* Requests that wait for QEMU are answered with an error first. */
void guest_qemu_free(GuestQemu *guest);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GuestQemu, guest_qemu_free)

/* See relay_guest_watch(). */
void guest_qemu_watch(GuestQemu *guest, SnprelayRelay *relay, RelayGuestEndedFunc ended,
                      gpointer opaque);

QmpQemu *guest_qemu_get_client(GuestQemu *guest);

/* Answers REQUEST, later. */
void guest_qemu_map(GuestQemu *guest, SnprelayMapRequest *request, uint64_t address);

/* See relay_guest_describe_page(). */
void guest_qemu_describe_page(GuestQemu *guest, uint64_t address, RelayGuestTextFunc done,
                              gpointer opaque);

#endif
