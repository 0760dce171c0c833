/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client's two directions of bytes on the main loop. Nothing here ever blocks: input is read only
 * when it can be used and little output waits; output waits in memory, up to a bound, and a client
 * that lets more pile up is dropped.
 */
#ifndef QMP_MONITOR_CHANNEL_H
#define QMP_MONITOR_CHANNEL_H

#include <gio/gio.h>

typedef struct QmpChannel QmpChannel;

typedef struct QmpChannelHandlers {
    /* LENGTH bytes came, and FDS (of int, taken over; NULL: none) with them. */
    void (*input)(const void *data, size_t length, GArray *fds, gpointer opaque);
    /* The client will send no more. */
    void (*input_end)(gpointer opaque);
    /* Whether input can be used now. */
    gboolean (*is_full)(gpointer opaque);
    /* Whether all input is dealt with. */
    gboolean (*is_idle)(gpointer opaque);
    /* All is done, or the client was dropped: frees the channel. Called from the main loop. */
    void (*closed)(gpointer opaque);
} QmpChannelHandlers;

/*
 * Reads from IN and writes to OUT, which may be the same and stay open; OWNER (may be NULL) is
 * unreferenced at the end. NAME is for messages.
 */
QmpChannel *qmp_channel_new(const char *name, int in, int out, GObject *owner,
                            const QmpChannelHandlers *handlers, gpointer opaque);

/* Sends what can be sent without waiting, and frees CHANNEL. */
void qmp_channel_free(QmpChannel *channel);

/* Sends LENGTH bytes, sooner or later. May be called from the handlers. */
void qmp_channel_write(QmpChannel *channel, const char *text, size_t length);

#endif
