/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* XXH3 of the stream, with the widest vectors of the processor that it runs on where the library can choose at run time. */
#ifndef RELAY_CHECKSUM_H
#define RELAY_CHECKSUM_H

#ifdef RELAY_XXH_DISPATCH
#include <xxh_x86dispatch.h> /* declares the same names anew */
#else
#include <xxhash.h>
#endif

#endif
