/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The error domain of the whole library; here because this is the lowest folder that reports in it. */
#include "snprelay/snprelay.h"

G_DEFINE_QUARK(snprelay - error - quark, snprelay_error)
