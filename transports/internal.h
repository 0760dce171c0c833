/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of this folder share, by the file that defines it. Nothing outside the folder
 * includes this.
 */
#ifndef TRANSPORTS_INTERNAL_H
#define TRANSPORTS_INTERNAL_H

#include "transports/transport.h"

#include <sys/socket.h>
#include <unistd.h>

/* ---- Descriptors ----------------------------------------------------------------------------- */

static inline void transport_fd_close(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

static inline int transport_fd_steal(int *fd)
{
    int stolen = *fd;

    *fd = -1;
    return stolen;
}

/* An int that is closed at the end of its scope unless it is -1 by then. */
#define TRANSPORT_AUTOFD __attribute__((cleanup(transport_fd_close))) int

/* ---- Waiting (wait.c) ------------------------------------------------------------------------ */

/* FALSE with ERROR: there are not even the few descriptors that GLib needs for waiting, and without which it ends the
 * process. */
gboolean transport_wait_is_possible(GError **error);

/*
 * Waits until FD has EVENTS (or an error, or a hang-up). FD may be -1: then it only waits. LIMIT is
 * in units of g_get_monotonic_time(), 0 for none. FALSE with G_IO_ERROR_TIMED_OUT past LIMIT, or
 * with G_IO_ERROR_CANCELLED.
 */
gboolean transport_wait_fd(int fd, short events, GCancellable *cancellable, gint64 limit,
                           GError **error);

/*
 * Looks HOST up; waits no longer than OPTIONS say. Returns a list of GInetAddress, to be freed with
 * g_resolver_free_addresses().
 */
GList *transport_wait_lookup(const char *host, const TransportOptions *options, GError **error);

/* ---- Socket addresses (address.c) ------------------------------------------------------------ */

typedef struct TransportAddress {
    struct sockaddr_storage storage;
    socklen_t length;
} TransportAddress;

/*
 * Every address of a tcp, unix or vsock URI, in the order in which they are to be tried: a GArray
 * of TransportAddress, never an empty one. May wait for a name server, as OPTIONS allow.
 */
GArray *transport_address_list(const TransportUri *uri, gboolean listening,
                               const TransportOptions *options, GError **error);

/* Sets the port of an IPv4 or IPv6 address; returns the port that ADDRESS has. */
void transport_address_set_port(TransportAddress *address, guint16 port);
guint16 transport_address_get_port(const TransportAddress *address);

/*
 * "tcp:127.0.0.1:4444", "unix:/run/x", "vsock:3:1024"; NULL where the address says nothing
 * (socketpair()).
 */
char *transport_address_to_uri(const TransportAddress *address);

/* The same of the local or of the other end of the socket FD. */
char *transport_address_local_uri(int fd);
char *transport_address_peer_uri(int fd);

/* ---- Listening sockets (bind.c) -------------------------------------------------------------- */

/*
 * Binds and listens on all ADDRESSES of URI (see transport_address_list()) and appends the
 * non-blocking descriptors to FDS, a GArray of int. All or nothing, but for addresses that this
 * machine does not have.
 */
gboolean transport_bind_list(const TransportUri *uri, const GArray *addresses, GArray *fds,
                             GError **error);

/* What a connected tcp socket of URI shall be like: no delay, keep-alive when asked for. */
void transport_bind_tune(int fd, gboolean keep_alive);

/* ---- Commands (child.c) ---------------------------------------------------------------------- */

/* A running /bin/sh -c COMMAND. */
typedef struct TransportChild TransportChild;

/* Starts it; *FD is our end of the socketpair that is its standard input and output. */
TransportChild *transport_child_start(const char *command, int *fd, GError **error);

/*
 * Ends it (SIGTERM; after a while SIGKILL) when it still runs, and reaps it, without waiting here.
 */
void transport_child_free(TransportChild *child);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TransportChild, transport_child_free)

/* A descriptor that becomes readable when the command has ended. */
int transport_child_fd(TransportChild *child);

/* Whether the command has ended; waits for that no longer than TIMEOUT_MS. */
gboolean transport_child_has_ended(TransportChild *child, int timeout_ms);

/* After the end: TRUE for exit status 0, else an error that tells the status or the signal. */
gboolean transport_child_check(TransportChild *child, GError **error);

/* ---- Streams (stream.c) ---------------------------------------------------------------------- */

/* Takes FD, a connected stream socket, and PEER (NULL: TEXT, the URI, stands for it). */
TransportStream *transport_stream_new_socket(int fd, char *peer, const char *text);

/*
 * Takes FD of whatever kind an fd: URI may name: a connected stream socket, a pipe, a file, a
 * device. FD must be usable for WRITING or for reading. On failure FD is left open, for the caller
 * to deal with.
 */
TransportStream *transport_stream_new_fd(int fd, gboolean writing, const char *text,
                                         GError **error);

/* Starts the exec: command of URI, unless OPTIONS forbid it. */
TransportStream *transport_stream_new_exec(const TransportUri *uri, const TransportOptions *options,
                                           GError **error);

/*
 * Opens the file of URI: for WRITING it is made or cut off at the offset, else it is read from
 * there.
 */
TransportStream *transport_stream_new_file(const TransportUri *uri, gboolean writing,
                                           GError **error);

/*
 * Puts TLS on STREAM, which must be a socket. NAME is who the certificate must name (client side,
 * else NULL). The handshake goes on by itself; transport_stream_check_tls() says how it went.
 */
gboolean transport_stream_start_tls(TransportStream *stream, TransportTls *tls, const char *name,
                                    GError **error);

/*
 * FALSE with G_IO_ERROR_WOULD_BLOCK while the handshake goes on (poll the stream's reading side),
 * or its error.
 */
gboolean transport_stream_check_tls(TransportStream *stream, GError **error);

/* The descriptor of an fd: URI, which becomes the caller's; -1 with ERROR. Close-on-exec is set. */
int transport_stream_take_fd(const TransportUri *uri, const TransportOptions *options,
                             GError **error);

/* ---- TLS credentials (tls.c) ----------------------------------------------------------------- */

struct TransportTls {
    gatomicrefcount references;
    gboolean server;
    char *directory;
    char *hostname; /* client: name to verify, NULL: the URI's host */
    char *authz;    /* server: pattern for the client's distinguished name, NULL: any */
    GTlsCertificate *certificate;
    GTlsDatabase *authorities;
};

/* ---- Judging a certificate (tls-verify.c) ---------------------------------------------------- */

/*
 * Whether CERTIFICATE is good: signed by AUTHORITIES for a server (SERVER) or a client, valid now,
 * for NAME (NULL: any name), with a distinguished name that AUTHZ matches (NULL: any). The error
 * says all that is wrong with it and begins with WHOSE ("the certificate of the server tcp:...");
 * AUTHORITY is where the authorities came from.
 */
typedef struct TransportTlsRules {
    GTlsDatabase *authorities;
    const char *authority;
    gboolean server;
    const char *name;
    const char *authz;
} TransportTlsRules;

gboolean transport_tls_verify(GTlsCertificate *certificate, const TransportTlsRules *rules,
                              const char *whose, GError **error);

/* ---- One TLS connection (tls-session.c) ------------------------------------------------------ */

typedef struct TransportTlsSession TransportTlsSession;

/*
 * Starts the handshake on FD (taken, also on failure), a connected socket, in a thread of its own.
 */
TransportTlsSession *transport_tls_session_new(int fd, TransportTls *tls, const char *name,
                                               const char *peer, GError **error);

/* Cuts the connection. */
void transport_tls_session_free(TransportTlsSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TransportTlsSession, transport_tls_session_free)

/* See transport_stream_check_tls(), transport_stream_failed_tls(), and the functions of TransportStream with the same endings. */
gboolean transport_tls_session_check(TransportTlsSession *session, GError **error);
gboolean transport_tls_session_failed(TransportTlsSession *session);
gssize transport_tls_session_read(TransportTlsSession *session, void *buffer, size_t length,
                                  GError **error);
gssize transport_tls_session_writev(TransportTlsSession *session, const struct iovec *vectors,
                                    int count, GError **error);
gboolean transport_tls_session_shutdown(TransportTlsSession *session, GError **error);
int transport_tls_session_read_fd(TransportTlsSession *session);
int transport_tls_session_write_fd(TransportTlsSession *session);

#endif
