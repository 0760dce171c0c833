/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking streams and dropping them: a thread for each connection, with calls that wait. */
#include "bench-peer.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/wire-native.h"

#define ACK_BLOCKS 256 /* acknowledge so many at once, or a quarter of the source's window */

typedef struct {
    gboolean native;
    int fd;
    atomic_uint_fast64_t bytes; /* that came; read by the main thread */

    /* Native. */
    uint64_t blocks, acked; /* that came whole, that were acknowledged */
    uint64_t ack_every;
    size_t data_left; /* of the present DATA frame */
    size_t start, end;
    uint8_t buffer[PEER_CHUNK];
} Drain;

static void send_frame(Drain *drain, const uint8_t *frame, size_t length)
{
    bench_write_all(drain->fd, frame, length);
}

static void answer_hello(Drain *drain, const uint8_t *payload, size_t length)
{
    uint8_t answer[NATIVE_MAGIC_SIZE + NATIVE_FRAME_MAX];
    g_autoptr(GError) error = NULL;
    NativeHello hello;

    if (!relay_native_decode_hello(payload, length, &hello, &error)) {
        bench_fail("%s", error->message);
    }
    drain->ack_every = CLAMP(hello.window / 4, 1, ACK_BLOCKS);
    hello.kind = NATIVE_KIND_ACCEPT;
    memcpy(answer, NATIVE_MAGIC, NATIVE_MAGIC_SIZE);
    send_frame(drain, answer,
               NATIVE_MAGIC_SIZE + relay_native_encode_hello(answer + NATIVE_MAGIC_SIZE, &hello));
}

static void acknowledge(Drain *drain)
{
    uint8_t frame[NATIVE_FRAME_MAX];

    drain->acked = drain->blocks;
    send_frame(drain, frame, relay_native_encode_ack(frame, drain->blocks));
}

static void confirm_end(Drain *drain, const uint8_t *payload)
{
    uint8_t frame[NATIVE_FRAME_MAX];
    uint64_t blocks, checksum;

    relay_native_decode_end(payload, &blocks, &checksum);
    if (blocks != drain->blocks) {
        bench_fail("the end speaks of %" G_GUINT64_FORMAT " blocks, %" G_GUINT64_FORMAT " came",
                   blocks, drain->blocks);
    }
    send_frame(drain, frame, relay_native_encode_end(frame, NATIVE_DONE, blocks, checksum));
}

/* One frame, or of DATA what comes before the blocks. FALSE: it has not come whole. */
static gboolean take_frame(Drain *drain)
{
    const uint8_t *bytes = drain->buffer + drain->start;
    size_t held = drain->end - drain->start;
    g_autoptr(GError) error = NULL;
    NativeHeader header;
    size_t wanted;

    if (held < NATIVE_HEADER_SIZE) {
        return FALSE;
    }
    if (!relay_native_decode_header(bytes, &header, &error)) {
        bench_fail("%s", error->message);
    }
    wanted = header.type == NATIVE_DATA ? NATIVE_DATA_HEADER_SIZE : header.length;
    if (held < NATIVE_HEADER_SIZE + wanted) {
        return FALSE;
    }
    drain->start += NATIVE_HEADER_SIZE + wanted;
    if (header.type == NATIVE_HELLO) {
        answer_hello(drain, bytes + NATIVE_HEADER_SIZE, header.length);
    } else if (header.type == NATIVE_DATA) {
        drain->data_left = header.length - wanted;
        drain->blocks += drain->data_left / MIGPAGE_BLOCK_SIZE;
    } else if (header.type == NATIVE_END) {
        confirm_end(drain, bytes + NATIVE_HEADER_SIZE);
    } else if (header.type == NATIVE_ERROR) {
        bench_fail("the source gave up: %.*s", (int)header.length - 2,
                   (const char *)bytes + NATIVE_HEADER_SIZE + 2);
    }
    return TRUE;
}

static void take_bytes(Drain *drain)
{
    do {
        size_t part = MIN(drain->data_left, drain->end - drain->start);

        drain->start += part;
        drain->data_left -= part;
    } while (drain->data_left == 0 && take_frame(drain));
    if (drain->data_left == 0 && drain->blocks - drain->acked >= drain->ack_every) {
        acknowledge(drain);
    }
    memmove(drain->buffer, drain->buffer + drain->start, drain->end - drain->start);
    drain->end -= drain->start;
    drain->start = 0;
}

static void take_magic(Drain *drain)
{
    uint8_t magic[NATIVE_MAGIC_SIZE];

    if (!bench_read_all(drain->fd, magic, sizeof(magic)) ||
        memcmp(magic, NATIVE_MAGIC, sizeof(magic)) != 0) {
        bench_fail("this is not the native stream");
    }
}

static gpointer drain_connection(gpointer data)
{
    Drain *drain = data;
    size_t count;

    if (drain->native) {
        take_magic(drain);
    }
    while ((count = bench_read_some(drain->fd, drain->buffer + drain->end,
                                    PEER_CHUNK - drain->end)) > 0) {
        atomic_store_explicit(&drain->bytes,
                              atomic_load_explicit(&drain->bytes, memory_order_relaxed) + count,
                              memory_order_relaxed);
        if (drain->native) {
            drain->end += count;
            take_bytes(drain);
        }
    }
    close(drain->fd);
    return NULL;
}

static Drain *accept_drain(gboolean native, int listener)
{
    Drain *drain = g_new0(Drain, 1);

    drain->native = native;
    drain->fd = bench_accept(listener);
    return drain;
}

/* ---- Several at once ------------------------------------------------------------------------------- */

static void measure(Drain **drains, const PeerDrainOptions *options)
{
    g_autofree uint64_t *before = g_new0(uint64_t, options->connections);
    g_autoptr(GString) line = g_string_new("bytes");
    char byte;
    double start;

    for (unsigned i = 0; i < options->connections; i++) {
        while (atomic_load(&drains[i]->bytes) < MIGPAGE_BLOCK_SIZE) {
            g_usleep(1000);
        }
    }
    g_usleep((gulong)(options->warm_up * G_USEC_PER_SEC));
    start = bench_now();
    for (unsigned i = 0; i < options->connections; i++) {
        before[i] = atomic_load(&drains[i]->bytes);
    }
    g_usleep((gulong)(options->seconds * G_USEC_PER_SEC));
    for (unsigned i = 0; i < options->connections; i++) {
        g_string_append_printf(line, " %" G_GUINT64_FORMAT,
                               (uint64_t)atomic_load(&drains[i]->bytes) - before[i]);
    }
    printf("%s seconds %.6f\n", line->str, bench_now() - start);
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
}

void peer_drain(gboolean native, const char *address, const PeerDrainOptions *options)
{
    g_autofree Drain **drains = g_new0(Drain *, options->connections);
    int listener = bench_listen(address);

    if (options->seconds <= 0) {
        drains[0] = accept_drain(native, listener);
        drain_connection(drains[0]);
        g_free(drains[0]);
        return;
    }
    for (unsigned i = 0; i < options->connections; i++) {
        drains[i] = accept_drain(native, listener);
        g_thread_unref(g_thread_new("drain", drain_connection, drains[i]));
    }
    measure(drains, options); /* and the threads end with the program */
}
