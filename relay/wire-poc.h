/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The proof of concept's stream, byte by byte. Bytes flow from source to destination only.
 *
 *   offset  size   what
 *   0       8      big-endian: 5 a block follows, 6 the end
 *   8       0x800  the block (only after a 5)
 *
 * Source of these facts: coconut-svsm/qemu pull request 23.
 */
#ifndef RELAY_WIRE_POC_H
#define RELAY_WIRE_POC_H

#include <glib.h>
#include <stdint.h>

#define POC_HEADER_SIZE 8
#define POC_BLOCK UINT64_C(5)
#define POC_END UINT64_C(6)

#endif
