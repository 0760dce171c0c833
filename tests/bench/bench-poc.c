/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-poc: a relay in the proof of concept's way, to compare with. One thread does everything: it polls both registers
 * without a pause, and reads and writes the poc wire through a buffer of 32 KiB with plain calls that wait. It makes none
 * of the checks, and stops after a given time wherever it is.
 */
#include "bench-common.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "relay/wire-poc.h"

#define BUFFER_SIZE (32 * 1024)

typedef struct {
    int fd;
    size_t start, end; /* of what is buffered */
    uint8_t bytes[BUFFER_SIZE];
} Buffer;

/* ---- Source ---------------------------------------------------------------------------------------- */

static gboolean flush(Buffer *buffer)
{
    gboolean ok = bench_write_all(buffer->fd, buffer->bytes, buffer->end);

    buffer->end = 0;
    return ok;
}

static gboolean put(Buffer *buffer, const void *bytes, size_t length)
{
    while (length > 0) {
        size_t part = MIN(length, BUFFER_SIZE - buffer->end);

        memcpy(buffer->bytes + buffer->end, bytes, part);
        buffer->end += part;
        bytes = (const uint8_t *)bytes + part;
        length -= part;
        if (buffer->end == BUFFER_SIZE && !flush(buffer)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean put_header(Buffer *buffer, uint64_t value)
{
    uint64_t header = GUINT64_TO_BE(value);

    return put(buffer, &header, sizeof(header));
}

/* Until the guest has completed. FALSE: until the time was up. */
static gboolean take_blocks(Buffer *buffer, uint8_t *page, uint64_t *blocks)
{
    while (!bench_time_is_up) {
        uint8_t status = bench_load(page, MIGPAGE_STATUS_OFFSET);

        if (bench_load(page, MIGPAGE_DATA_OFFSET) == MIGPAGE_DATA_READY) {
            if (!put_header(buffer, POC_BLOCK) ||
                !put(buffer, page + MIGPAGE_BUFFER_OFFSET, MIGPAGE_BLOCK_SIZE)) {
                return FALSE;
            }
            bench_store(page, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READ);
            (*blocks)++;
        } else if (status == MIGPAGE_STATUS_COMPLETED) {
            return TRUE;
        }
    }
    return FALSE;
}

static uint64_t run_source(Buffer *buffer, uint8_t *page)
{
    uint64_t blocks = 0;
    uint8_t byte;

    bench_store(page, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READ);
    bench_store(page, MIGPAGE_STATUS_OFFSET, MIGPAGE_STATUS_RUNNING);
    if (take_blocks(buffer, page, &blocks) && put_header(buffer, POC_END) && flush(buffer)) {
        shutdown(buffer->fd, SHUT_WR);
        bench_read_some(buffer->fd, &byte, 1); /* the peer closes when it has everything */
    }
    return blocks;
}

/* ---- Destination ----------------------------------------------------------------------------------- */

static gboolean get(Buffer *buffer, void *bytes, size_t length)
{
    while (length > 0) {
        size_t part = MIN(length, buffer->end - buffer->start);

        memcpy(bytes, buffer->bytes + buffer->start, part);
        buffer->start += part;
        bytes = (uint8_t *)bytes + part;
        length -= part;
        if (buffer->start == buffer->end) {
            buffer->start = 0;
            buffer->end = length > 0 ? bench_read_some(buffer->fd, buffer->bytes, BUFFER_SIZE) : 0;
            if (length > 0 && buffer->end == 0) {
                return FALSE;
            }
        }
    }
    return TRUE;
}

static gboolean get_header(Buffer *buffer, uint64_t *header)
{
    gboolean ok = get(buffer, header, sizeof(*header));

    *header = GUINT64_FROM_BE(*header);
    return ok;
}

static gboolean wait_read(uint8_t *page)
{
    while (bench_load(page, MIGPAGE_DATA_OFFSET) != MIGPAGE_DATA_READ) {
        if (bench_time_is_up) {
            return FALSE;
        }
    }
    return TRUE;
}

/* HEADER is the first that came. */
static uint64_t run_destination(Buffer *buffer, uint8_t *page, uint64_t header)
{
    uint64_t blocks = 0; /* that the guest has read */

    bench_store(page, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READ);
    bench_store(page, MIGPAGE_STATUS_OFFSET, MIGPAGE_STATUS_INCOMING);
    while (header == POC_BLOCK && !bench_time_is_up) {
        if (!get(buffer, page + MIGPAGE_BUFFER_OFFSET, MIGPAGE_BLOCK_SIZE)) {
            return blocks;
        }
        bench_store(page, MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READY);
        if (!wait_read(page)) {
            return blocks;
        }
        blocks++;
        if (!get_header(buffer, &header)) {
            return blocks;
        }
    }
    if (header == POC_END) {
        bench_store(page, MIGPAGE_STATUS_OFFSET, MIGPAGE_STATUS_COMPLETED);
    }
    return blocks;
}

static int accept_one(const char *address)
{
    int listener = bench_listen(address);

    return bench_accept(listener);
}

int main(int argc, char **argv)
{
    static Buffer buffer;
    uint64_t blocks, header;
    double start, seconds;
    gboolean is_source;
    uint8_t *page;

    g_set_prgname("bench-poc");
    if (argc != 6 || !(g_str_equal(argv[1], "source") || g_str_equal(argv[1], "destination"))) {
        bench_fail("usage: bench-poc source|destination ADDRESS MEMORY OFFSET SECONDS");
    }
    is_source = g_str_equal(argv[1], "source");
    page = bench_map_pages(argv[3], (uint64_t)bench_parse_number("offset", argv[4]), 1);
    seconds = bench_parse_number("seconds", argv[5]);
    buffer.fd = is_source ? bench_connect(argv[2]) : accept_one(argv[2]);
    if (!is_source && !get_header(&buffer, &header)) {
        bench_fail("the stream ended before it began");
    }
    bench_limit_time(seconds);
    start = bench_now();
    blocks = is_source ? run_source(&buffer, page) : run_destination(&buffer, page, header);
    bench_print_result(blocks, bench_now() - start);
    return EXIT_SUCCESS;
}
