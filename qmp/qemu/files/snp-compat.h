/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What QEMU calls differently from one version to the next, in one place. Include it after qemu/osdep.h. */
#ifndef SNPRELAY_SNP_COMPAT_H
#define SNPRELAY_SNP_COMPAT_H

#if __has_include("qobject/qdict.h")
#include "qobject/qdict.h"
#include "qobject/qnum.h"
#else
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qnum.h"
#endif

#if __has_include("system/memory.h")
#include "system/memory.h"
#else
#include "exec/memory.h"
#endif

#if __has_include("system/address-spaces.h")
#include "system/address-spaces.h"
#else
#include "exec/address-spaces.h"
#endif

#if __has_include("system/runstate.h")
#include "system/reset.h"
#include "system/runstate.h"
#include "system/runstate-action.h"
#include "system/system.h"
#else
#include "sysemu/reset.h"
#include "sysemu/runstate.h"
#include "sysemu/runstate-action.h"
#include "sysemu/sysemu.h"
#endif

/* Sets an optional string of a QAPI object. Before QEMU 8.0 there is a flag for it. */
#if QEMU_VERSION_MAJOR < 8
#define SNP_SET_STRING(object, member, value)                                                      \
    do {                                                                                           \
        (object)->member = (value);                                                                \
        (object)->has_##member = (object)->member != NULL;                                         \
    } while (0)
#define SNP_SET_LIST(object, member, value) SNP_SET_STRING(object, member, value)
#define SNP_OPTIONAL_STRING(value) (value) != NULL, (value)
#else
#define SNP_SET_STRING(object, member, value) ((object)->member = (value))
#define SNP_SET_LIST(object, member, value)                                                        \
    do {                                                                                           \
        (object)->member = (value);                                                                \
        (object)->has_##member = (object)->member != NULL;                                         \
    } while (0)
#define SNP_OPTIONAL_STRING(value) (value)
#endif

/* Sets an optional member that is no pointer. */
#define SNP_SET(object, member, value)                                                             \
    do {                                                                                           \
        (object)->member = (value);                                                                \
        (object)->has_##member = true;                                                             \
    } while (0)

/* The first QEMU whose migrate_del_blocker() frees the reason: 8.2. */
#define SNP_BLOCKER_OWNS_REASON                                                                    \
    (QEMU_VERSION_MAJOR > 8 || (QEMU_VERSION_MAJOR == 8 && QEMU_VERSION_MINOR >= 2))

#endif
