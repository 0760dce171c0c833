/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The bytes of blocks, from the connection into the window: counted, and there for the page when they are whole. */
#include "relay/incoming.h"

#include "migpage/layout.h"
#include "relay/page-thread.h"

gboolean relay_incoming_has_room(Incoming *in)
{
    void *start;

    return relay_window_room(&in->m->window, &start) > 0;
}

/* COUNT bytes were written behind what the window holds. */
static void count_received(Incoming *in, size_t count)
{
    uint64_t whole;

    in->data_left -= count;
    in->block_filled += count;
    whole = in->block_filled / MIGPAGE_BLOCK_SIZE;
    in->block_filled %= MIGPAGE_BLOCK_SIZE;
    if (whole > 0) {
        relay_window_produce(&in->m->window, whole);
        if (!relay_page_is_attended(in->m)) {
            relay_checksum_cover(&in->m->sum, &in->m->window,
                                 relay_window_produced(&in->m->window));
        }
        relay_wakeup_signal_block(&in->m->page_wakeup);
    }
}

ConnectionResult relay_incoming_receive(Incoming *in, gboolean from_stream, GError **error)
{
    while (in->data_left > 0) {
        guint8 *start;
        uint64_t room = relay_window_room(&in->m->window, (void **)&start) * MIGPAGE_BLOCK_SIZE;
        ConnectionResult result;
        size_t moved;

        if (room == 0 || (!from_stream && relay_connection_buffered(in->connection) == 0)) {
            return CONNECTION_OK;
        }
        result =
            relay_connection_read_into(in->connection, start + in->block_filled,
                                       MIN(in->data_left, room - in->block_filled), &moved, error);
        if (moved == 0) {
            return result;
        }
        count_received(in, moved);
    }
    return CONNECTION_OK;
}
