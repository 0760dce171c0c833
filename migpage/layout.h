/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The migration page, byte by byte: one 4096-byte page that the guest's SVSM shares with the host.
 *
 * Source of these facts: the proof of concept in coconut-svsm/qemu pull request 23 and
 * coconut-svsm/svsm pull request 745. Nothing outside migpage/ and the simulated guests may know an offset.
 *
 *   offset  size   what
 *   0x000   1      status register
 *   0x001   1      data register
 *   0x002   0x7fe  reserved, zero at start, left alone
 *   0x800   0x800  data buffer: one block
 */
#ifndef MIGPAGE_LAYOUT_H
#define MIGPAGE_LAYOUT_H

#define MIGPAGE_SIZE 4096u
#define MIGPAGE_STATUS_OFFSET 0x000u
#define MIGPAGE_DATA_OFFSET 0x001u
#define MIGPAGE_BUFFER_OFFSET 0x800u
#define MIGPAGE_BLOCK_SIZE 0x800u
#define MIGPAGE_LAYOUT_VERSION 1u

/* Values of the status register. */
#define MIGPAGE_STATUS_NOT_STARTED 0
#define MIGPAGE_STATUS_INCOMING 1
#define MIGPAGE_STATUS_RUNNING 2
#define MIGPAGE_STATUS_COMPLETED 3

/* Values of the data register. A fresh page holds MIGPAGE_DATA_NONE. */
#define MIGPAGE_DATA_NONE 0
#define MIGPAGE_DATA_READY 4
#define MIGPAGE_DATA_READ 5

#endif
