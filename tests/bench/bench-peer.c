/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line of bench-peer. */
#include "bench-peer.h"

#include <stdlib.h>

#define USAGE                                                                                      \
    "usage: bench-peer drain native|poc ADDRESS [CONNECTIONS WARM-UP SECONDS]\n"                   \
    "       bench-peer fill native|poc ADDRESS BLOCKS"

int main(int argc, char **argv)
{
    PeerDrainOptions options = {.connections = 1};
    gboolean native;

    g_set_prgname("bench-peer");
    if (argc < 4 || !(g_str_equal(argv[2], "native") || g_str_equal(argv[2], "poc"))) {
        bench_fail(USAGE);
    }
    native = g_str_equal(argv[2], "native");
    if (g_str_equal(argv[1], "fill") && argc == 5) {
        peer_fill(native, argv[3], (uint64_t)bench_parse_number("blocks", argv[4]));
        return EXIT_SUCCESS;
    }
    if (!g_str_equal(argv[1], "drain") || (argc != 4 && argc != 7)) {
        bench_fail(USAGE);
    }
    if (argc == 7) {
        options.connections = (unsigned)bench_parse_number("connections", argv[4]);
        options.warm_up = bench_parse_number("warm-up", argv[5]);
        options.seconds = bench_parse_number("seconds", argv[6]);
    }
    peer_drain(native, argv[3], &options);
    return EXIT_SUCCESS;
}
