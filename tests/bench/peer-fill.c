/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sending a stream that was made beforehand: the same blocks again and again, in writes of about 128 KiB. */
#include "bench-peer.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "relay/wire-native.h"
#include "relay/wire-poc.h"

#define BLOCKS_A_WRITE NATIVE_BLOCKS_MAX
#define POC_STRIDE (POC_HEADER_SIZE + MIGPAGE_BLOCK_SIZE)
#define WINDOW_BLOCKS 65536 /* ours; the destination's is smaller and decides */

/* ---- The poc wire ---------------------------------------------------------------------------------- */

static void fill_poc(int fd, uint64_t blocks)
{
    const uint64_t header = GUINT64_TO_BE(POC_BLOCK), end = GUINT64_TO_BE(POC_END);
    g_autofree uint8_t *chunk = g_malloc0(BLOCKS_A_WRITE * POC_STRIDE);
    uint8_t byte;

    for (unsigned i = 0; i < BLOCKS_A_WRITE; i++) {
        memcpy(chunk + i * POC_STRIDE, &header, sizeof(header));
    }
    while (blocks > 0) {
        uint64_t count = MIN(blocks, BLOCKS_A_WRITE);

        bench_write_all(fd, chunk, count * POC_STRIDE);
        blocks -= count;
    }
    bench_write_all(fd, &end, sizeof(end));
    shutdown(fd, SHUT_WR);
    bench_read_some(fd, &byte, 1); /* until the destination closes */
}

/* ---- The native wire ------------------------------------------------------------------------------- */

typedef struct {
    int fd;
    uint64_t sent, acked, window;
    gboolean done;
    size_t held;
    uint8_t in[NATIVE_HEADER_SIZE + NATIVE_PAYLOAD_MAX];
    uint8_t out[NATIVE_HEADER_SIZE + NATIVE_DATA_HEADER_SIZE + BLOCKS_A_WRITE * MIGPAGE_BLOCK_SIZE];
} Fill;

static void take_frame(Fill *fill, const NativeHeader *header, const uint8_t *payload)
{
    g_autoptr(GError) error = NULL;
    NativeHello hello;

    switch (header->type) {
    case NATIVE_HELLO:
        if (!relay_native_decode_hello(payload, header->length, &hello, &error)) {
            bench_fail("%s", error->message);
        }
        fill->window = MIN(hello.window, WINDOW_BLOCKS);
        break;
    case NATIVE_ACK:
        relay_native_decode_ack(payload, &fill->acked);
        break;
    case NATIVE_DONE:
        fill->done = TRUE;
        break;
    case NATIVE_KEEPALIVE:
        break;
    default:
        bench_fail("the destination gave up (frame of type %d)", header->type);
    }
}

/* What the destination has said; WAIT: at least something. */
static void take_answers(Fill *fill, gboolean wait)
{
    ssize_t count = recv(fill->fd, fill->in + fill->held, sizeof(fill->in) - fill->held,
                         wait ? 0 : MSG_DONTWAIT);
    size_t start = 0;

    if (count == 0 || (count < 0 && errno != EAGAIN)) {
        bench_fail("the destination closed the connection");
    }
    fill->held += count > 0 ? (size_t)count : 0;
    while (fill->held - start >= NATIVE_HEADER_SIZE) {
        g_autoptr(GError) error = NULL;
        NativeHeader header;

        if (!relay_native_decode_header(fill->in + start, &header, &error)) {
            bench_fail("%s", error->message);
        }
        if (fill->held - start < NATIVE_HEADER_SIZE + header.length) {
            break;
        }
        take_frame(fill, &header, fill->in + start + NATIVE_HEADER_SIZE);
        start += NATIVE_HEADER_SIZE + header.length;
    }
    fill->held -= start;
    memmove(fill->in, fill->in + start, fill->held);
}

static void greet(Fill *fill)
{
    NativeHello hello = {.version_min = NATIVE_VERSION,
                         .version_max = NATIVE_VERSION,
                         .window = WINDOW_BLOCKS,
                         .session = "bench",
                         .kind = NATIVE_KIND_START};
    uint8_t frame[NATIVE_FRAME_MAX];
    uint8_t magic[NATIVE_MAGIC_SIZE];

    bench_write_all(fill->fd, NATIVE_MAGIC, NATIVE_MAGIC_SIZE);
    bench_write_all(fill->fd, frame, relay_native_encode_hello(frame, &hello));
    if (!bench_read_all(fill->fd, magic, sizeof(magic)) ||
        memcmp(magic, NATIVE_MAGIC, sizeof(magic)) != 0) {
        bench_fail("the destination does not speak the native stream");
    }
    while (fill->window == 0) {
        take_answers(fill, TRUE);
    }
}

static void send_blocks(Fill *fill, uint64_t blocks)
{
    while (fill->sent < blocks) {
        uint64_t room = fill->acked + fill->window - fill->sent;
        guint32 count = (guint32)MIN(MIN(blocks - fill->sent, BLOCKS_A_WRITE), room);
        size_t length;

        if (count == 0) {
            take_answers(fill, TRUE);
            continue;
        }
        length = relay_native_encode_data_header(fill->out, fill->sent, count);
        bench_write_all(fill->fd, fill->out, length + count * MIGPAGE_BLOCK_SIZE);
        fill->sent += count;
        take_answers(fill, FALSE);
    }
}

/* The blocks are all zero. Summed up before anything is sent: it would delay the end. */
static uint64_t sum_up(const uint8_t *block, uint64_t blocks)
{
    XXH3_state_t state;

    XXH3_64bits_reset(&state);
    for (uint64_t i = 0; i < blocks; i++) {
        XXH3_64bits_update(&state, block, MIGPAGE_BLOCK_SIZE);
    }
    return XXH3_64bits_digest(&state);
}

static void fill_native(const char *address, uint64_t blocks)
{
    g_autofree Fill *fill = g_new0(Fill, 1);
    uint64_t checksum = sum_up(fill->out + NATIVE_HEADER_SIZE + NATIVE_DATA_HEADER_SIZE, blocks);
    uint8_t frame[NATIVE_FRAME_MAX];

    fill->fd = bench_connect(address);
    greet(fill);
    send_blocks(fill, blocks);
    bench_write_all(fill->fd, frame, relay_native_encode_end(frame, NATIVE_END, blocks, checksum));
    while (!fill->done) {
        take_answers(fill, TRUE);
    }
    bench_write_all(fill->fd, frame, relay_native_encode_end(frame, NATIVE_DONE, blocks, checksum));
    close(fill->fd);
}

void peer_fill(gboolean native, const char *address, uint64_t blocks)
{
    if (native) {
        fill_native(address, blocks);
    } else {
        fill_poc(bench_connect(address), blocks);
    }
}
