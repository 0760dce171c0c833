/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a URI to a connected byte stream.
 *
 * A TransportUri is a parsed address. transport_connect() and transport_listen() may wait (name resolution, TLS) and
 * are called from a migration's own thread; each takes a GCancellable and a deadline. A connected TransportStream never
 * waits: reads and writes that cannot go on return G_IO_ERROR_WOULD_BLOCK, and transport_stream_fd() says what to poll.
 */
#ifndef TRANSPORTS_TRANSPORT_H
#define TRANSPORTS_TRANSPORT_H

#include <gio/gio.h>
#include <sys/uio.h>

/* ---- URIs (uri.c) ---------------------------------------------------------------------------------- */

typedef enum TransportKind {
    TRANSPORT_TCP,
    TRANSPORT_UNIX,
    TRANSPORT_VSOCK,
    TRANSPORT_FD,
    TRANSPORT_EXEC,
    TRANSPORT_FILE,
} TransportKind;

typedef enum TransportTristate { TRANSPORT_AUTO, TRANSPORT_ON, TRANSPORT_OFF } TransportTristate;

/* Made by transport_uri_parse(); read-only afterwards, so it may be used from any thread. */
typedef struct TransportUri {
    TransportKind kind;
    char *text;      /* as given */
    char *host;      /* tcp: "" is any address when listening; no brackets */
    guint16 port;    /* tcp: 0 only for listening */
    guint16 port_to; /* tcp: last port to try when listening; 0 when not given */
    TransportTristate ipv4, ipv6;
    gboolean keep_alive;     /* tcp */
    char *path;              /* unix, file */
    gboolean abstract;       /* unix */
    gboolean tight;          /* unix, abstract: the address ends with the name (QEMU's default) */
    guint32 cid, vsock_port; /* vsock; cid "any" is VMADDR_CID_ANY */
    char *fd_name;           /* fd: the text after "fd:" */
    int fd_number;           /* fd: when fd_name is a number, else -1 */
    char *command;           /* exec */
    guint64 file_offset;     /* file: QEMU's ,offset= */
} TransportUri;

/* Errors: G_IO_ERROR_INVALID_ARGUMENT, naming what is wrong and what is supported. Free with transport_uri_free(). */
TransportUri *transport_uri_parse(const char *text, GError **error);
void transport_uri_free(TransportUri *uri);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TransportUri, transport_uri_free)

/* TRUE when bytes to or from this URI stay on this machine or are not ours to judge (not tcp, or tcp to a literal loopback
 * address or "localhost"). */
gboolean transport_uri_is_local(const TransportUri *uri);

/* ---- Options --------------------------------------------------------------------------------------- */

typedef struct TransportTls
    TransportTls; /* tls.c: loaded credentials; reference counted, immutable */

/*
 * Loads DIRECTORY (QEMU's tls-creds-x509 layout) for a SERVER or a client. HOSTNAME: name to verify (client; NULL: the
 * URI's host). AUTHZ: glob pattern that the client's distinguished name must match (server; NULL: any verified).
 */
TransportTls *transport_tls_load(const char *directory, gboolean server, const char *hostname,
                                 const char *authz, GError **error);
TransportTls *transport_tls_ref(TransportTls *tls);
void transport_tls_unref(TransportTls *tls);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TransportTls, transport_tls_unref)

typedef struct TransportOptions {
    GCancellable *cancellable; /* may be NULL */
    gint64 deadline;   /* g_get_monotonic_time() units, us; 0: none. Listening: name servers. */
    TransportTls *tls; /* NULL: plain */
    int fd; /* fd: the descriptor to use (taken over in any case), -1: uri->fd_number (taken over
                                * on success). Other kinds of URI leave it alone. */
    gboolean allow_exec;
} TransportOptions;

/* ---- Connected streams (stream.c, tls.c) ------------------------------------------------------------- */

typedef struct TransportStream TransportStream; /* used by one thread at a time */

/* Connects. Errors name the URI and the address tried; G_IO_ERROR_TIMED_OUT past the deadline, G_IO_ERROR_CANCELLED.
 * With TLS the handshake is complete, verified, when this returns. But with TLS 1.3 the server judges the client's
 * certificate only afterwards: its refusal is the error of the first read (or of a write), whose text says so. */
TransportStream *transport_connect(const TransportUri *uri, const TransportOptions *options,
                                   GError **error);

void transport_stream_free(TransportStream *stream); /* closes */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TransportStream, transport_stream_free)

/* Bytes read, 0 at the end of the stream, or -1 with ERROR (G_IO_ERROR_WOULD_BLOCK: poll; a reset or a TLS stream cut
 * without its closing alert is an error, not an end). An accepted TLS stream is not ready for reading or writing until its
 * handshake, which goes on by itself, is over; it has no time limit of its own: the caller frees one that takes too long.
 * exec: the end is reported when the command has ended with status 0, its failure as an error. LENGTH is not 0. */
gssize transport_stream_read(TransportStream *stream, void *buffer, size_t length, GError **error);

/* Bytes written (at least 1, perhaps fewer than asked), or -1 with ERROR. After G_IO_ERROR_WOULD_BLOCK the next call must
 * begin with the same bytes: TLS may have sent a part of them. */
gssize transport_stream_writev(TransportStream *stream, const struct iovec *vectors, int count,
                               GError **error);

/* The descriptors to poll for reading and for writing. They change (when a handshake is over, when a command's output ends,
 * when TLS holds bytes back), so ask before every poll. They become ready when a read or write may be worth a try. */
int transport_stream_read_fd(TransportStream *stream);
int transport_stream_write_fd(TransportStream *stream);

/* TRUE for file: (and fd: of a plain file): bytes go one way only and nobody answers. */
gboolean transport_stream_is_one_way(TransportStream *stream);

/* TRUE when a TLS handshake that the peer began has failed: who is there may not be, or speaks something else. */
gboolean transport_stream_failed_tls(TransportStream *stream);

/* TRUE when the bytes are encrypted. */
gboolean transport_stream_is_tls(TransportStream *stream);

/* Says that nothing more will be written (half-close; TLS: its closing alert). May be called twice. -1 never waits:
 * FALSE with G_IO_ERROR_WOULD_BLOCK when it must be called again after a poll. For file: it flushes to the disk. */
gboolean transport_stream_shutdown(TransportStream *stream, GError **error);

/* Makes the coming transport_stream_free() a reset where the transport has one (tcp), so that a peer that waits for an orderly
 * close does not take it for one. */
void transport_stream_abort(TransportStream *stream);

/* "tcp:127.0.0.1:40123" of the other side where the system tells it, else the URI; owned by the stream. */
const char *transport_stream_peer(TransportStream *stream);

/* ---- Listening (listener.c) -------------------------------------------------------------------------- */

typedef struct TransportListener TransportListener;

/*
 * Binds and listens (tcp: on every address that the name has; unix: mode 0600, an old socket that nobody serves is
 * replaced, any other file is an error; fd: of a listening socket or of an already connected stream; exec: starts the
 * command; file: opens it for reading). Close with transport_listener_free(), which removes a unix socket that it made.
 */
TransportListener *transport_listen(const TransportUri *uri, const TransportOptions *options,
                                    GError **error);
void transport_listener_free(TransportListener *listener);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TransportListener, transport_listener_free)

/* NULL-terminated URIs with the real ports, owned by the listener. */
char **transport_listener_uris(TransportListener *listener);

/* Descriptors to poll for reading, *COUNT of them, owned by the listener. One that is always ready (file:, exec:, a
 * connected fd:) says so by an eventfd that stays readable until its stream was taken. */
const int *transport_listener_fds(TransportListener *listener, size_t *count);

/* TRUE when more connections can come (a listening socket); FALSE for exec:, file: and a connected fd:. */
gboolean transport_listener_is_repeatable(TransportListener *listener);

/* Takes one connection without waiting; NULL with ERROR (G_IO_ERROR_WOULD_BLOCK: none there). With TLS the stream's
 * handshake goes on by itself, see transport_stream_read(). */
TransportStream *transport_listener_accept(TransportListener *listener, GError **error);

#endif
