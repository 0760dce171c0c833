/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frames of the native stream to bytes and back. */
#include "relay/wire-native.h"

#include <string.h>

#include "migpage/layout.h"
#include "snprelay/snprelay.h"

/* Offsets in the hello's payload. */
enum {
    HELLO_VERSION_MIN = 0,
    HELLO_VERSION_MAX = 2,
    HELLO_LAYOUT = 4,
    HELLO_PAGES = 6,
    HELLO_BLOCK_SIZE = 8,
    HELLO_WINDOW = 12,
    HELLO_FEATURES = 16,
    HELLO_SESSION = 24,
    HELLO_POSITION = 40,
    HELLO_KIND = 48,
    HELLO_PATIENCE = 50,
    HELLO_RESERVED = 52,
    HELLO_END = 56,
};

#define KNOWN_FEATURES UINT64_C(0)
#define EXTENSION_MUST_KNOW 0x8000

static void put16(guint8 *out, guint16 value)
{
    value = GUINT16_TO_BE(value);
    memcpy(out, &value, sizeof(value));
}

static void put32(guint8 *out, guint32 value)
{
    value = GUINT32_TO_BE(value);
    memcpy(out, &value, sizeof(value));
}

static void put64(guint8 *out, uint64_t value)
{
    value = GUINT64_TO_BE(value);
    memcpy(out, &value, sizeof(value));
}

static guint16 get16(const guint8 *in)
{
    guint16 value;

    memcpy(&value, in, sizeof(value));
    return GUINT16_FROM_BE(value);
}

static guint32 get32(const guint8 *in)
{
    guint32 value;

    memcpy(&value, in, sizeof(value));
    return GUINT32_FROM_BE(value);
}

static uint64_t get64(const guint8 *in)
{
    uint64_t value;

    memcpy(&value, in, sizeof(value));
    return GUINT64_FROM_BE(value);
}

size_t relay_native_encode_header(guint8 *out, NativeType type, guint32 length)
{
    memset(out, 0, NATIVE_HEADER_SIZE);
    out[0] = (guint8)type;
    put32(out + 4, length);
    return NATIVE_HEADER_SIZE;
}

size_t relay_native_encode_hello(guint8 *out, const NativeHello *hello)
{
    guint8 *payload = out + relay_native_encode_header(out, NATIVE_HELLO, NATIVE_HELLO_SIZE);

    memset(payload, 0, NATIVE_HELLO_SIZE);
    put16(payload + HELLO_VERSION_MIN, hello->version_min);
    put16(payload + HELLO_VERSION_MAX, hello->version_max);
    put16(payload + HELLO_LAYOUT, MIGPAGE_LAYOUT_VERSION);
    put16(payload + HELLO_PAGES, 1);
    put32(payload + HELLO_BLOCK_SIZE, MIGPAGE_BLOCK_SIZE);
    put32(payload + HELLO_WINDOW, hello->window);
    put64(payload + HELLO_FEATURES, KNOWN_FEATURES);
    memcpy(payload + HELLO_SESSION, hello->session, NATIVE_SESSION_SIZE);
    put64(payload + HELLO_POSITION, hello->position);
    payload[HELLO_KIND] = (guint8)hello->kind;
    put16(payload + HELLO_PATIENCE, hello->patience);
    return NATIVE_HEADER_SIZE + NATIVE_HELLO_SIZE;
}

size_t relay_native_encode_data_header(guint8 *out, uint64_t first, guint32 blocks)
{
    relay_native_encode_header(out, NATIVE_DATA,
                               NATIVE_DATA_HEADER_SIZE + blocks * MIGPAGE_BLOCK_SIZE);
    put64(out + NATIVE_HEADER_SIZE, first);
    return NATIVE_HEADER_SIZE + NATIVE_DATA_HEADER_SIZE;
}

size_t relay_native_encode_ack(guint8 *out, uint64_t blocks)
{
    relay_native_encode_header(out, NATIVE_ACK, NATIVE_ACK_SIZE);
    put64(out + NATIVE_HEADER_SIZE, blocks);
    return NATIVE_HEADER_SIZE + NATIVE_ACK_SIZE;
}

size_t relay_native_encode_end(guint8 *out, NativeType type, uint64_t blocks, uint64_t checksum)
{
    relay_native_encode_header(out, type, NATIVE_END_SIZE);
    put64(out + NATIVE_HEADER_SIZE, blocks);
    put64(out + NATIVE_HEADER_SIZE + 8, checksum);
    return NATIVE_HEADER_SIZE + NATIVE_END_SIZE;
}

size_t relay_native_encode_error(guint8 *out, NativeReason reason, const char *text)
{
    size_t length = MIN(strlen(text), NATIVE_ERROR_TEXT_MAX);

    relay_native_encode_header(out, NATIVE_ERROR, (guint32)(2 + length));
    put16(out + NATIVE_HEADER_SIZE, (guint16)reason);
    memcpy(out + NATIVE_HEADER_SIZE + 2, text, length);
    return NATIVE_HEADER_SIZE + 2 + length;
}

static gboolean length_fits(const NativeHeader *header)
{
    guint32 length = header->length;

    switch (header->type) {
    case NATIVE_HELLO:
        return length >= NATIVE_HELLO_SIZE && length <= NATIVE_HELLO_MAX;
    case NATIVE_DATA:
        return length >= NATIVE_DATA_HEADER_SIZE + MIGPAGE_BLOCK_SIZE &&
               length <= NATIVE_DATA_HEADER_SIZE + NATIVE_BLOCKS_MAX * MIGPAGE_BLOCK_SIZE &&
               (length - NATIVE_DATA_HEADER_SIZE) % MIGPAGE_BLOCK_SIZE == 0;
    case NATIVE_ACK:
        return length == NATIVE_ACK_SIZE;
    case NATIVE_END:
    case NATIVE_DONE:
        return length == NATIVE_END_SIZE;
    case NATIVE_KEEPALIVE:
    case NATIVE_PAUSE:
        return length == 0;
    case NATIVE_ERROR:
        return length >= 2 && length <= 2 + NATIVE_ERROR_TEXT_MAX;
    }
    return FALSE;
}

gboolean relay_native_decode_header(const guint8 *in, NativeHeader *header, GError **error)
{
    header->type = (NativeType)in[0];
    header->length = get32(in + 4);
    if (in[0] < NATIVE_HELLO || in[0] > NATIVE_PAUSE || in[1] != 0 || get16(in + 2) != 0) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                    "unknown frame (type %u, flags 0x%02x%04x)", in[0], in[1], get16(in + 2));
        return FALSE;
    }
    if (!length_fits(header)) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                    "a frame of type %u cannot have a payload of %u bytes", in[0], header->length);
        return FALSE;
    }
    return TRUE;
}

static gboolean check_extensions(const guint8 *in, size_t length, GError **error)
{
    while (length > 0) {
        if (length < 4 || get16(in + 2) > length - 4) {
            g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                        "an extension of the hello goes past its end");
            return FALSE;
        }
        if (get16(in) & EXTENSION_MUST_KNOW) {
            g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                        "the hello insists on extension 0x%04x, which is not known here",
                        get16(in));
            return FALSE;
        }
        length -= 4u + get16(in + 2);
        in += 4u + get16(in + 2);
    }
    return TRUE;
}

static gboolean check_page_facts(const guint8 *in, GError **error)
{
    guint64 unknown = get64(in + HELLO_FEATURES) & ~KNOWN_FEATURES;

    if (get16(in + HELLO_LAYOUT) != MIGPAGE_LAYOUT_VERSION ||
        get32(in + HELLO_BLOCK_SIZE) != MIGPAGE_BLOCK_SIZE || get16(in + HELLO_PAGES) != 1) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                    "the hello is for page layout %u with blocks of %u bytes on %u page(s); only "
                    "layout %u with blocks of %u bytes on one page is known here",
                    get16(in + HELLO_LAYOUT), get32(in + HELLO_BLOCK_SIZE), get16(in + HELLO_PAGES),
                    MIGPAGE_LAYOUT_VERSION, MIGPAGE_BLOCK_SIZE);
        return FALSE;
    }
    if (unknown) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                    "the hello insists on features 0x%" G_GINT64_MODIFIER
                    "x, which are not known here",
                    unknown);
        return FALSE;
    }
    return TRUE;
}

gboolean relay_native_choose_version(const NativeHello *hello, guint16 *version, GError **error)
{
    if (hello->version_min <= NATIVE_VERSION && hello->version_max >= NATIVE_VERSION) {
        *version = NATIVE_VERSION;
        return TRUE;
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                "no common version of the native stream: versions %u to %u are offered, version %u "
                "is spoken here",
                hello->version_min, hello->version_max, NATIVE_VERSION);
    return FALSE;
}

gboolean relay_native_decode_hello(const guint8 *in, size_t length, NativeHello *hello,
                                   GError **error)
{
    static const guint8 zeros[HELLO_END - HELLO_RESERVED];
    guint16 version;

    hello->version_min = get16(in + HELLO_VERSION_MIN);
    hello->version_max = get16(in + HELLO_VERSION_MAX);
    hello->window = get32(in + HELLO_WINDOW);
    memcpy(hello->session, in + HELLO_SESSION, NATIVE_SESSION_SIZE);
    hello->position = get64(in + HELLO_POSITION);
    hello->kind = (NativeKind)in[HELLO_KIND];
    hello->patience = get16(in + HELLO_PATIENCE);
    /* The version first: what another version means by the rest is not for us to judge. */
    if (!relay_native_choose_version(hello, &version, error) || !check_page_facts(in, error)) {
        return FALSE;
    }
    if (in[HELLO_KIND] < NATIVE_KIND_START || in[HELLO_KIND] > NATIVE_KIND_ACCEPT ||
        in[HELLO_KIND + 1] != 0 || memcmp(in + HELLO_RESERVED, zeros, sizeof(zeros)) != 0 ||
        hello->window == 0) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PEER,
                    "the hello is malformed (kind %u, window %u)", in[HELLO_KIND], hello->window);
        return FALSE;
    }
    return check_extensions(in + NATIVE_HELLO_SIZE, length - NATIVE_HELLO_SIZE, error);
}

void relay_native_decode_data_header(const guint8 *in, size_t length, uint64_t *first,
                                     guint32 *blocks)
{
    *first = get64(in);
    *blocks = (guint32)((length - NATIVE_DATA_HEADER_SIZE) / MIGPAGE_BLOCK_SIZE);
}

void relay_native_decode_ack(const guint8 *in, uint64_t *blocks)
{
    *blocks = get64(in);
}

void relay_native_decode_end(const guint8 *in, uint64_t *blocks, uint64_t *checksum)
{
    *blocks = get64(in);
    *checksum = get64(in + 8);
}

void relay_native_decode_error(const guint8 *in, size_t length, NativeReason *reason, char **text)
{
    guint16 code = get16(in);

    *reason = code == NATIVE_REASON_CANCELLED || code == NATIVE_REASON_REFUSED
                  ? (NativeReason)code
                  : NATIVE_REASON_FAILED;
    *text = g_utf8_make_valid((const char *)in + 2, (gssize)(length - 2));
    /* It will be shown on somebody's terminal; the control characters beyond ASCII take two bytes. */
    for (char *c = *text, *next; *c; c = next) {
        next = g_utf8_next_char(c);
        if (g_unichar_iscntrl(g_utf8_get_char(c))) {
            memset(c, ' ', (size_t)(next - c));
        }
    }
}
