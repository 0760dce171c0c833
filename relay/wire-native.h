/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The native stream, byte by byte (docs/wire-native.md is the same for people). All numbers are big-endian.
 *
 * Each side first sends the 8 bytes "SNPRELAY", then frames: a header of 8 bytes and a payload. These functions turn
 * frames into structs and back; they check every length and value, keep no state and never wait.
 *
 *   header     0  1  type           1  1  flags, zero     2  2  reserved, zero    4  4  bytes of payload
 *   HELLO      0  2  lowest and     2  2  highest version that is spoken
 *              4  2  page layout    6  2  pages in this session: 1
 *              8  4  block size    12  4  window, blocks  16  8  features the sender insists on
 *             24 16  session       40  8  position        48  1  kind        49  1  reserved, zero
 *             50  2  sender's peer-timeout in seconds, 0: not told           52  4  reserved, zero
 *             56  n  extensions: type (2), length (2), bytes; unknown types below 0x8000 are passed over
 *   DATA       0  8  number of the first block            8  n  1 to 64 blocks of 2048 bytes
 *   ACK        0  8  blocks that the destination's guest has read
 *   END        0  8  blocks in the stream                 8  8  XXH3 (64 bits, seed 0) of all of them
 *   DONE       as END: the destination's guest has read them all
 *   KEEPALIVE  empty
 *   ERROR      0  2  reason                               2  n  text, UTF-8, at most 1024 bytes
 *   PAUSE      empty: the connection is broken on purpose; do not connect again before a person says so
 */
#ifndef RELAY_WIRE_NATIVE_H
#define RELAY_WIRE_NATIVE_H

#include <glib.h>
#include <stdint.h>

#define NATIVE_MAGIC "SNPRELAY"
#define NATIVE_MAGIC_SIZE 8
#define NATIVE_VERSION 1
#define NATIVE_HEADER_SIZE 8
#define NATIVE_SESSION_SIZE 16
#define NATIVE_HELLO_SIZE 56
#define NATIVE_HELLO_MAX 4096
#define NATIVE_DATA_HEADER_SIZE 8
#define NATIVE_BLOCKS_MAX 64
#define NATIVE_ACK_SIZE 8
#define NATIVE_END_SIZE 16
#define NATIVE_ERROR_TEXT_MAX 1024
/* The longest payload that is read into memory as a whole: everything but DATA. */
#define NATIVE_PAYLOAD_MAX NATIVE_HELLO_MAX
/* Room for a header and any payload that the encoders below make. */
#define NATIVE_FRAME_MAX (NATIVE_HEADER_SIZE + 2 + NATIVE_ERROR_TEXT_MAX)

typedef enum NativeType {
    NATIVE_HELLO = 1,
    NATIVE_DATA,
    NATIVE_ACK,
    NATIVE_END,
    NATIVE_DONE,
    NATIVE_KEEPALIVE,
    NATIVE_ERROR,
    NATIVE_PAUSE,
} NativeType;

typedef enum NativeKind {
    NATIVE_KIND_START = 1, /* source: a new session (or one whose answer was never seen) */
    NATIVE_KIND_RESUME =
        2, /* source: goes on with a session that the destination accepted before */
    NATIVE_KIND_ACCEPT = 3, /* destination's answer */
} NativeKind;

typedef enum NativeReason {
    NATIVE_REASON_FAILED = 1,    /* the sender cannot go on; the migration is lost */
    NATIVE_REASON_CANCELLED = 2, /* a person or manager gave up */
    NATIVE_REASON_REFUSED = 3,   /* this connection is not wanted; no migration is harmed */
} NativeReason;

typedef struct NativeHello {
    guint16 version_min, version_max;
    guint32 window; /* blocks: the sender keeps or takes so many beyond what was acknowledged */
    guint8 session[NATIVE_SESSION_SIZE];
    uint64_t
        position; /* source: first block that can still be sent; destination: first block that is wanted */
    NativeKind kind;
    guint16 patience; /* s: the silence after which the sender counts us as gone; 0: not told */
} NativeHello;

typedef struct NativeHeader {
    NativeType type;
    guint32 length; /* of the payload */
} NativeHeader;

/* Encoders write at OUT, which has room for NATIVE_FRAME_MAX bytes, and return how many they wrote. */
size_t relay_native_encode_header(guint8 *out, NativeType type, guint32 length);
size_t relay_native_encode_hello(guint8 *out, const NativeHello *hello);
size_t relay_native_encode_data_header(guint8 *out, uint64_t first, guint32 blocks);
size_t relay_native_encode_ack(guint8 *out, uint64_t blocks);
size_t relay_native_encode_end(guint8 *out, NativeType type, uint64_t blocks, uint64_t checksum);
size_t relay_native_encode_error(guint8 *out, NativeReason reason, const char *text);

/* Decoders: SNPRELAY_ERROR_PEER, in words that also make sense to the other side. */

/* Checks the type and its bound on the length. */
gboolean relay_native_decode_header(const guint8 *in, NativeHeader *header, GError **error);
gboolean relay_native_decode_hello(const guint8 *in, size_t length, NativeHello *hello,
                                   GError **error);
/* LENGTH is the frame's payload; IN holds its first NATIVE_DATA_HEADER_SIZE bytes. */
void relay_native_decode_data_header(const guint8 *in, size_t length, uint64_t *first,
                                     guint32 *blocks);
void relay_native_decode_ack(const guint8 *in, uint64_t *blocks);
void relay_native_decode_end(const guint8 *in, uint64_t *blocks, uint64_t *checksum);
/* TEXT is made valid UTF-8 without control characters; free with g_free(). */
void relay_native_decode_error(const guint8 *in, size_t length, NativeReason *reason, char **text);

/* The version that both speak. Error: none, naming both ranges. */
gboolean relay_native_choose_version(const NativeHello *hello, guint16 *version, GError **error);

#endif
