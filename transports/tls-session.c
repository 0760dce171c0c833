/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One TLS connection.
 *
 * GIO can do a handshake without waiting, but then needs a main loop, and its end cannot be polled
 * for by a descriptor. So the handshake has a thread of its own, and until its end was seen the
 * stream shows two eventfds in place of the socket: one that becomes readable, one that becomes
 * writable when it is over. Afterwards everything is done by the one thread that uses the stream,
 * and the socket is what to poll.
 *
 * Every certificate is judged by accept_certificate(), also one that GIO would take: a connection
 * that did not pass through there (a resumed session) is refused, since nobody looked at who it is.
 */
#include "transports/internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

/* The most that one TLS record holds. */
#define TLS_RECORD_SIZE 16384
#define FIRST_WORDS                                                                                \
    (1024 *                                                                                        \
     1024) /* a server that goes away before it was sent more than this has most likely refused us */

struct TransportTlsSession {
    TransportTls *tls;
    char *name; /* whom the peer must be; NULL: only a client that the rules let in */
    char *peer;
    GSocket *socket;
    GSocketConnection *plain;   /* on socket; closes its streams when it goes */
    GTlsConnection *connection; /* on the streams of plain */

    /* The handshake's thread owns these until over is set. */
    GThread *thread;
    GCancellable *cancellable;
    int read_event;  /* readable when over */
    int write_event; /* writable when over */
    gboolean verified;
    GError *refusal; /* ours of the peer */
    GError *failure;
    int over; /* atomic */

    gboolean seen_over;   /* by who uses the stream: until then the events are what to poll */
    gboolean plain_peer;  /* what it said first was not TLS */
    gboolean silent_peer; /* it has said nothing */
    gboolean heard;       /* bytes of the peer were read */
    guint64 written;      /* bytes that the peer was sent */
    gboolean more_held;   /* a read took all that it asked for: more may have left the socket */
    size_t unsent;        /* bytes in record that must be offered again as they are */
    guint8 record[TLS_RECORD_SIZE];
};

static const char *peer_role(const TransportTlsSession *session)
{
    return session->tls->server ? "client" : "server";
}

/* ---- The handshake, in its thread ------------------------------------------------------------ */

static gboolean accept_certificate(GTlsConnection *connection G_GNUC_UNUSED,
                                   GTlsCertificate *certificate,
                                   GTlsCertificateFlags flags G_GNUC_UNUSED, gpointer data)
{
    TransportTlsSession *session = data;
    g_autofree char *authority = g_build_filename(session->tls->directory, "ca-cert.pem", NULL);
    g_autofree char *whose =
        g_strdup_printf("the certificate of the TLS %s %s", peer_role(session), session->peer);
    TransportTlsRules rules = {
        .authorities = session->tls->authorities,
        .authority = authority,
        .server = !session->tls->server,
        .name = session->name,
        .authz = session->tls->authz,
    };

    g_clear_error(&session->refusal);
    session->verified = transport_tls_verify(certificate, &rules, whose, &session->refusal);
    return session->verified;
}

/*
 * Whether what a client says first is TLS. GIO has no error of its own for most other things that
 * may come.
 */
static gboolean check_first_byte(TransportTlsSession *session, GError **error)
{
    const guint8 handshake = 22; /* ContentType of a TLS record */
    int fd = g_socket_get_fd(session->socket);
    guint8 byte;
    ssize_t count;

    if (!transport_wait_fd(fd, POLLIN, session->cancellable, 0, error)) {
        return FALSE;
    }
    count = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) {
        session->silent_peer = TRUE;
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_CONNECTION_CLOSED,
                            "it went away before it said anything");
        return FALSE;
    }
    if (count == 1 && byte != handshake) {
        /* A plain peer understands no alert. What it sent stays unread, so that closing is a reset: on the poc wire an
         * orderly close would tell it that all is well. */
        session->plain_peer = TRUE;
        g_set_error_literal(error, G_TLS_ERROR, G_TLS_ERROR_NOT_TLS, "it sent plain text");
        return FALSE;
    }
    return TRUE;
}

/* GIO's error in words that say who is to do what. Takes FAILURE. */
static GError *explain_handshake(TransportTlsSession *session, GError *failure)
{
    const char *why = "";

    if (session->refusal) {
        g_error_free(failure);
        return g_steal_pointer(&session->refusal);
    }
    if (!session->tls->server && session->verified) {
        why = ", which refused this client, most likely its certificate";
    } else if (session->tls->server && !session->plain_peer &&
               g_error_matches(failure, G_TLS_ERROR, G_TLS_ERROR_NOT_TLS)) {
        why =
            ", which broke it off (did it refuse this side's certificate?)"; /* GIO's way to say so */
    } else if (g_error_matches(failure, G_TLS_ERROR, G_TLS_ERROR_NOT_TLS)) {
        why = ", which does not speak TLS (set tls-creds on both sides)";
    } else if (g_error_matches(failure, G_TLS_ERROR, G_TLS_ERROR_CERTIFICATE_REQUIRED)) {
        why = session->tls->server ? ", which gave no certificate" : "";
    } else if (!session->tls->server && g_error_matches(failure, G_TLS_ERROR, G_TLS_ERROR_MISC)) {
        why = " (does it speak TLS? tls-creds must be set on both sides)";
    }
    g_prefix_error(&failure, "TLS handshake with the %s %s%s: ", peer_role(session), session->peer,
                   why);
    return failure;
}

static gpointer run_handshake(gpointer data)
{
    TransportTlsSession *session = data;
    GError *failure = NULL;
    eventfd_t value;

    if ((session->tls->server && !check_first_byte(session, &failure)) ||
        !g_tls_connection_handshake(session->connection, session->cancellable, &failure)) {
        session->failure = explain_handshake(session, failure);
    } else if (!session->verified) {
        g_set_error(&session->failure, G_TLS_ERROR, G_TLS_ERROR_BAD_CERTIFICATE,
                    "the TLS %s %s resumed a session in place of showing a certificate",
                    peer_role(session), session->peer);
    }
    g_atomic_int_set(&session->over, TRUE);
    (void)eventfd_write(session->read_event, 1);
    (void)eventfd_read(session->write_event, &value);
    return NULL;
}

/* ---- Making ---------------------------------------------------------------------------------- */

static gboolean make_events(TransportTlsSession *session, GError **error)
{
    session->read_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    session->write_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    /* A full eventfd is one that cannot be written to. */
    if (session->read_event < 0 || session->write_event < 0 ||
        eventfd_write(session->write_event, UINT64_MAX - 1)) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "eventfd: %s",
                    g_strerror(errno));
        return FALSE;
    }
    return TRUE;
}

static gboolean make_connection(TransportTlsSession *session, GError **error)
{
    /*
     * Not of the socket's connection itself: for one of those GIO remembers the session and resumes
     * it the next time, by which no certificate is shown.
     */
    g_autoptr(GIOStream) base =
        g_simple_io_stream_new(g_io_stream_get_input_stream(G_IO_STREAM(session->plain)),
                               g_io_stream_get_output_stream(G_IO_STREAM(session->plain)));
    g_autoptr(GSocketConnectable) identity = NULL;
    GTlsBackend *backend = g_tls_backend_get_default();
    GObject *connection;

    /* Without a database from the beginning: GIO would read the system's whole trust store for each connection, which takes
     * milliseconds, and anybody who connects would have it done. */
    if (session->tls->server) {
        connection = g_initable_new(g_tls_backend_get_server_connection_type(backend), NULL, error,
                                    "base-io-stream", base, "certificate",
                                    session->tls->certificate, "database", NULL, NULL);
    } else {
        /* An address has no place in SNI (RFC 6066), and servers refuse it; it is verified all the same. */
        if (!g_hostname_is_ip_address(session->name)) {
            identity = g_network_address_new(session->name, 0);
        }
        connection = g_initable_new(g_tls_backend_get_client_connection_type(backend), NULL, error,
                                    "base-io-stream", base, "server-identity", identity, "database",
                                    NULL, NULL);
    }
    if (!connection) {
        return FALSE;
    }
    session->connection = G_TLS_CONNECTION(connection);
    if (session->tls->server) {
        g_object_set(connection, "authentication-mode", G_TLS_AUTHENTICATION_REQUIRED, NULL);
    } else {
        g_tls_connection_set_certificate(session->connection, session->tls->certificate);
    }
    /* Without a database GIO finds fault with every certificate and asks accept_certificate(). */
    g_tls_connection_set_database(session->connection, NULL);
    g_tls_connection_set_require_close_notify(session->connection, TRUE);
    g_signal_connect(connection, "accept-certificate", G_CALLBACK(accept_certificate), session);
    return TRUE;
}

TransportTlsSession *transport_tls_session_new(int fd, TransportTls *tls, const char *name,
                                               const char *peer, GError **error)
{
    g_autoptr(TransportTlsSession) session = g_new0(TransportTlsSession, 1);

    session->tls = transport_tls_ref(tls);
    session->name = g_strdup(name);
    session->peer = g_strdup(peer);
    session->cancellable = g_cancellable_new();
    session->read_event = session->write_event = -1;
    session->socket = transport_wait_is_possible(error) ? g_socket_new_from_fd(fd, error) : NULL;
    if (!session->socket) {
        transport_fd_close(&fd);
        return NULL;
    }
    session->plain = g_socket_connection_factory_create_connection(session->socket);
    if (!make_events(session, error) || !make_connection(session, error)) {
        return NULL;
    }
    session->thread = g_thread_try_new("tls-handshake", run_handshake, session, error);
    return session->thread ? g_steal_pointer(&session) : NULL;
}

/*
 * Takes what a refused peer already sent, so that closing does not turn our refusal into a reset.
 */
static void drain(GSocket *socket)
{
    char buffer[4096];

    g_socket_shutdown(socket, FALSE, TRUE, NULL);
    for (int i = 0; i < 64; i++) {
        if (g_socket_receive_with_blocking(socket, buffer, sizeof buffer, FALSE, NULL, NULL) <= 0) {
            break;
        }
    }
}

void transport_tls_session_free(TransportTlsSession *session)
{
    if (!session) {
        return;
    }
    if (session->thread) {
        g_cancellable_cancel(session->cancellable);
        g_thread_join(session->thread);
    }
    if (session->socket) {
        if (session->failure && !session->plain_peer) {
            drain(session->socket);
        }
        /*
         * Before the connection goes: that would say goodbye, and a stream that was cut must not
         * look ended.
         */
        g_socket_close(session->socket, NULL);
    }
    if (session->connection) {
        g_signal_handlers_disconnect_by_data(session->connection, session);
    }
    g_clear_object(&session->connection);
    g_clear_object(&session->plain);
    g_clear_object(&session->socket);
    g_clear_object(&session->cancellable);
    transport_fd_close(&session->read_event);
    transport_fd_close(&session->write_event);
    g_clear_error(&session->refusal);
    g_clear_error(&session->failure);
    g_clear_pointer(&session->tls, transport_tls_unref);
    g_free(session->name);
    g_free(session->peer);
    g_free(session);
}

/* ---- Moving bytes ---------------------------------------------------------------------------- */

gboolean transport_tls_session_check(TransportTlsSession *session, GError **error)
{
    if (!g_atomic_int_get(&session->over)) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK, "TLS handshake goes on");
        return FALSE;
    }
    session->seen_over = TRUE;
    if (session->failure) {
        g_propagate_error(error, g_error_copy(session->failure));
        return FALSE;
    }
    return TRUE;
}

gboolean transport_tls_session_failed(TransportTlsSession *session)
{
    return g_atomic_int_get(&session->over) && session->failure && !session->silent_peer;
}

/*
 * Names the peer in FAILURE. With TLS 1.3 a client's handshake is over before the server has judged
 * the client's certificate, so that its refusal is the first thing read.
 */
static void explain_io(TransportTlsSession *session, const char *what, GError **failure)
{
    if (g_error_matches(*failure, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
        return;
    }
    if (!session->tls->server && !session->heard && session->written < FIRST_WORDS) {
        g_prefix_error(
            failure,
            "the TLS server %s refused this client, most likely its certificate: ", session->peer);
    } else if (g_error_matches(*failure, G_TLS_ERROR, G_TLS_ERROR_EOF)) {
        g_prefix_error(failure, "%s the TLS %s %s, which cut the connection off: ", what,
                       peer_role(session), session->peer);
    } else {
        g_prefix_error(failure, "%s the TLS %s %s: ", what, peer_role(session), session->peer);
    }
}

static gssize read_connection(TransportTlsSession *session, void *buffer, size_t length,
                              GError **error)
{
    GInputStream *input = g_io_stream_get_input_stream(G_IO_STREAM(session->connection));

    return g_pollable_input_stream_read_nonblocking(G_POLLABLE_INPUT_STREAM(input), buffer, length,
                                                    NULL, error);
}

gssize transport_tls_session_read(TransportTlsSession *session, void *buffer, size_t length,
                                  GError **error)
{
    GError *failure = NULL;
    gssize count;

    if (!transport_tls_session_check(session, error)) {
        return -1;
    }
    count = read_connection(session, buffer, length, &failure);
    session->more_held = count == (gssize)length;
    if (count < 0) {
        explain_io(session, "reading from", &failure);
        g_propagate_error(error, failure);
    } else {
        session->heard = TRUE;
    }
    return count;
}

/* Fills the record, unless one is still to be sent. */
static void fill_record(TransportTlsSession *session, const struct iovec *vectors, int count)
{
    if (session->unsent) {
        return;
    }
    for (int i = 0; i < count && session->unsent < sizeof session->record; i++) {
        size_t length = MIN(vectors[i].iov_len, sizeof session->record - session->unsent);

        memcpy(session->record + session->unsent, vectors[i].iov_base, length);
        session->unsent += length;
    }
}

/*
 * A server that refused us and went away makes writing fail first; what it said is still there to
 * be read.
 */
static void prefer_alert(TransportTlsSession *session, GError **failure)
{
    g_autoptr(GError) alert = NULL;
    char byte;

    if (!session->tls->server && !session->heard &&
        !g_error_matches(*failure, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK) &&
        read_connection(session, &byte, 1, &alert) < 0 && alert->domain == G_TLS_ERROR) {
        g_clear_error(failure);
        *failure = g_steal_pointer(&alert);
    }
}

gssize transport_tls_session_writev(TransportTlsSession *session, const struct iovec *vectors,
                                    int count, GError **error)
{
    GOutputStream *output;
    GError *failure = NULL;
    gssize written;

    if (!transport_tls_session_check(session, error)) {
        return -1;
    }
    fill_record(session, vectors, count);
    output = g_io_stream_get_output_stream(G_IO_STREAM(session->connection));
    written = g_pollable_output_stream_write_nonblocking(
        G_POLLABLE_OUTPUT_STREAM(output), session->record, session->unsent, NULL, &failure);
    if (written < 0) {
        prefer_alert(session, &failure);
        explain_io(session, "writing to", &failure);
        g_propagate_error(error, failure);
        return -1;
    }
    session->unsent = 0;
    session->written += (guint64)written;
    return written;
}

gboolean transport_tls_session_shutdown(TransportTlsSession *session, GError **error)
{
    struct pollfd pollfd = {g_socket_get_fd(session->socket), POLLOUT, 0};
    GError *failure = NULL;

    if (!transport_tls_session_check(session, error)) {
        return FALSE;
    }
    /* The closing alert is a few bytes, which a socket that takes any takes at once. */
    if (poll(&pollfd, 1, 0) != 1) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK, "not ready");
        return FALSE;
    }
    if (!g_output_stream_close(g_io_stream_get_output_stream(G_IO_STREAM(session->connection)),
                               NULL, &failure)) {
        prefer_alert(session, &failure);
        explain_io(session, "ending the stream to", &failure);
        g_propagate_error(error, failure);
        return FALSE;
    }
    return TRUE;
}

/* ---- Asking ---------------------------------------------------------------------------------- */

int transport_tls_session_read_fd(TransportTlsSession *session)
{
    /* The event stays readable once it is. */
    return session->seen_over && !session->more_held ? g_socket_get_fd(session->socket)
                                                     : session->read_event;
}

int transport_tls_session_write_fd(TransportTlsSession *session)
{
    return session->seen_over ? g_socket_get_fd(session->socket) : session->write_event;
}
