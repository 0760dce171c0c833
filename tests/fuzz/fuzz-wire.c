/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any bytes as frames of the native stream, one behind the other: refused in words, or within the bounds that the rest
 * of the program relies on; and what is accepted is what the encoder would write.
 */
#include "relay/wire-native.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "snprelay/snprelay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(gboolean condition)
{
    if (!condition) {
        abort();
    }
}

static void require_refusal(gboolean accepted, const GError *error)
{
    require(accepted == (error == NULL));
    if (error) {
        require(g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER));
        require(g_utf8_validate(error->message, -1, NULL));
    }
}

static void check_hello(const uint8_t *payload, size_t length)
{
    g_autoptr(GError) error = NULL;
    guint8 again[NATIVE_FRAME_MAX];
    NativeHello hello;
    gboolean accepted;

    accepted = relay_native_decode_hello(payload, length, &hello, &error);
    require_refusal(accepted, error);
    if (error) {
        return;
    }
    require(hello.version_min <= NATIVE_VERSION && hello.version_max >= NATIVE_VERSION);
    require(hello.window > 0);
    require(hello.kind >= NATIVE_KIND_START && hello.kind <= NATIVE_KIND_ACCEPT);
    require(relay_native_encode_hello(again, &hello) == NATIVE_HEADER_SIZE + NATIVE_HELLO_SIZE);
    require(memcmp(again + NATIVE_HEADER_SIZE, payload, NATIVE_HELLO_SIZE) == 0);
}

static void check_error(const uint8_t *payload, size_t length)
{
    g_autofree char *text = NULL;
    NativeReason reason;

    relay_native_decode_error(payload, length, &reason, &text);
    require(reason >= NATIVE_REASON_FAILED && reason <= NATIVE_REASON_REFUSED);
    require(g_utf8_validate(text, -1, NULL));
    for (const char *c = text; *c; c++) {
        require(!g_ascii_iscntrl(*c));
    }
}

static void check_payload(const NativeHeader *header, const uint8_t *payload)
{
    guint8 again[NATIVE_FRAME_MAX];
    uint64_t number, checksum;
    guint32 blocks;

    switch (header->type) {
    case NATIVE_HELLO:
        check_hello(payload, header->length);
        break;
    case NATIVE_DATA:
        relay_native_decode_data_header(payload, header->length, &number, &blocks);
        require(blocks >= 1 && blocks <= NATIVE_BLOCKS_MAX);
        relay_native_encode_data_header(again, number, blocks);
        require(memcmp(again + NATIVE_HEADER_SIZE, payload, NATIVE_DATA_HEADER_SIZE) == 0);
        break;
    case NATIVE_ACK:
        relay_native_decode_ack(payload, &number);
        relay_native_encode_ack(again, number);
        require(memcmp(again + NATIVE_HEADER_SIZE, payload, NATIVE_ACK_SIZE) == 0);
        break;
    case NATIVE_END:
    case NATIVE_DONE:
        relay_native_decode_end(payload, &number, &checksum);
        relay_native_encode_end(again, header->type, number, checksum);
        require(memcmp(again + NATIVE_HEADER_SIZE, payload, NATIVE_END_SIZE) == 0);
        break;
    case NATIVE_ERROR:
        check_error(payload, header->length);
        break;
    case NATIVE_KEEPALIVE:
    case NATIVE_PAUSE:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    while (size >= NATIVE_HEADER_SIZE) {
        g_autoptr(GError) error = NULL;
        NativeHeader header;
        gboolean accepted;
        size_t wanted;

        accepted = relay_native_decode_header(data, &header, &error);
        require_refusal(accepted, error);
        if (error) {
            return 0;
        }
        wanted = header.type == NATIVE_DATA ? NATIVE_DATA_HEADER_SIZE : header.length;
        require(wanted <= NATIVE_PAYLOAD_MAX);
        if (size - NATIVE_HEADER_SIZE < wanted) {
            return 0;
        }
        check_payload(&header, data + NATIVE_HEADER_SIZE);
        data += NATIVE_HEADER_SIZE + wanted;
        size -= NATIVE_HEADER_SIZE + wanted;
    }
    return 0;
}
