/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connected streams: bytes in, bytes out, never waiting. Plain sockets go straight to the kernel
 * (this is the way of every block of a migration); TLS goes through tls-session.c.
 */
#include "transports/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

/* How long after a command closed its end its exit status may come, when a write fails. */
#define CHILD_END_MS 100

struct TransportStream {
    int fd; /* -1 once TLS has it, or when a pipe was closed by shutdown */
    mode_t type;
    gboolean shut;
    gboolean at_end; /* a command closed its output; its exit is awaited */
    char *peer;
    TransportTlsSession *tls;
    TransportChild *child;
};

/* ---- Making ---------------------------------------------------------------------------------- */

static TransportStream *stream_new(int fd, mode_t type, char *peer, const char *text)
{
    TransportStream *stream = g_new0(TransportStream, 1);

    stream->fd = fd;
    stream->type = type;
    stream->peer = peer ? peer : g_strdup(text);
    return stream;
}

TransportStream *transport_stream_new_socket(int fd, char *peer, const char *text)
{
    return stream_new(fd, S_IFSOCK, peer, text);
}

static TransportStream *fail_fd(GError **error, const char *why)
{
    g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, why);
    return NULL;
}

static TransportStream *new_from_socket(int fd, const char *text, GError **error)
{
    TransportAddress address = {.length = sizeof address.storage};
    int type = 0;
    socklen_t length = sizeof type;

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) || type != SOCK_STREAM) {
        return fail_fd(error, "the descriptor is a socket, but not a stream socket");
    }
    if (getpeername(fd, (struct sockaddr *)&address.storage, &address.length)) {
        return fail_fd(error, "the descriptor is a socket that is not connected");
    }
    return transport_stream_new_socket(fd, transport_address_to_uri(&address), text);
}

TransportStream *transport_stream_new_fd(int fd, gboolean writing, const char *text, GError **error)
{
    struct stat status;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fstat(fd, &status)) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "descriptor %d: %s", fd,
                    g_strerror(errno));
        return NULL;
    }
    if (S_ISSOCK(status.st_mode)) {
        return new_from_socket(fd, text, error);
    }
    if (!S_ISFIFO(status.st_mode) && !S_ISREG(status.st_mode) && !S_ISCHR(status.st_mode) &&
        !S_ISBLK(status.st_mode)) {
        return fail_fd(error, "the descriptor is neither a stream socket nor a pipe nor a file");
    }
    if ((flags & O_ACCMODE) == (writing ? O_RDONLY : O_WRONLY) || flags & O_PATH) {
        return fail_fd(error, writing ? "the descriptor is not open for writing"
                                      : "the descriptor is not open for reading");
    }
    if (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)) {
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    }
    return stream_new(fd, status.st_mode & S_IFMT, NULL, text);
}

TransportStream *transport_stream_new_exec(const TransportUri *uri, const TransportOptions *options,
                                           GError **error)
{
    TransportChild *child;
    TransportStream *stream;
    int fd;

    if (!options->allow_exec) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
                            "running commands is not allowed; start the program with --allow-exec");
        return NULL;
    }
    child = transport_child_start(uri->command, &fd, error);
    if (!child) {
        return NULL;
    }
    stream = stream_new(fd, S_IFSOCK, NULL, uri->text);
    stream->child = child;
    return stream;
}

/*
 * Goes to the offset; what is behind it in a file to be written goes away, what is before it stays.
 */
static gboolean seek_to_offset(int fd, guint64 offset, gboolean truncate, GError **error)
{
    if (lseek(fd, (off_t)offset, SEEK_SET) < 0 || (truncate && ftruncate(fd, (off_t)offset))) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "going to offset %" G_GUINT64_FORMAT ": %s", offset, g_strerror(errno));
        return FALSE;
    }
    return TRUE;
}

TransportStream *transport_stream_new_file(const TransportUri *uri, gboolean writing,
                                           GError **error)
{
    /*
     * O_NONBLOCK: opening a pipe must not wait for somebody at its other end; it is refused below.
     */
    int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (writing ? O_WRONLY | O_CREAT : O_RDONLY);
    TRANSPORT_AUTOFD fd = open(uri->path, flags, 0600);
    struct stat status;

    if (fd < 0 || fstat(fd, &status)) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "opening '%s' for %s: %s",
                    uri->path, writing ? "writing" : "reading", g_strerror(errno));
        return NULL;
    }
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode) && !S_ISCHR(status.st_mode)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_REGULAR_FILE,
                    "'%s' is not a file; for a pipe use fd: or exec:", uri->path);
        return NULL;
    }
    if (!S_ISCHR(status.st_mode) &&
        !seek_to_offset(fd, uri->file_offset, writing && S_ISREG(status.st_mode), error)) {
        return NULL;
    }
    return stream_new(transport_fd_steal(&fd), status.st_mode & S_IFMT, NULL, uri->text);
}

int transport_stream_take_fd(const TransportUri *uri, const TransportOptions *options,
                             GError **error)
{
    int fd = options->fd >= 0 ? options->fd : uri->fd_number;

    if (fd < 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                    "no descriptor was handed over under the name '%s' (QMP command getfd)",
                    uri->fd_name);
        return -1;
    }
    if (fcntl(fd, F_SETFD, FD_CLOEXEC)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "descriptor %d is not open", fd);
        return -1;
    }
    return fd;
}

/* ---- TLS ------------------------------------------------------------------------------------- */

gboolean transport_stream_start_tls(TransportStream *stream, TransportTls *tls, const char *name,
                                    GError **error)
{
    if (stream->type != S_IFSOCK) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                            "TLS (tls-creds) needs a connection with two directions, not a file or "
                            "a pipe");
        return FALSE;
    }
    stream->tls =
        transport_tls_session_new(transport_fd_steal(&stream->fd), tls, name, stream->peer, error);
    return stream->tls != NULL;
}

gboolean transport_stream_check_tls(TransportStream *stream, GError **error)
{
    return transport_tls_session_check(stream->tls, error);
}

gboolean transport_stream_failed_tls(TransportStream *stream)
{
    return stream->tls && transport_tls_session_failed(stream->tls);
}

/* ---- Moving bytes ---------------------------------------------------------------------------- */

/* Puts errno into ERROR, naming what was done and the other side; returns -1. */
static gssize fail_io(TransportStream *stream, const char *what, GError **error)
{
    int number = errno;

    if (number == EAGAIN || number == EWOULDBLOCK) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK, "not ready");
    } else {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(number), "%s %s: %s", what,
                    stream->peer, g_strerror(number));
    }
    return -1;
}

/* A command's output ended: the stream ends, well or not, when the command does. */
static gssize read_end_of_child(TransportStream *stream, GError **error)
{
    stream->at_end = TRUE;
    if (!transport_child_has_ended(stream->child, 0)) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK, "not ready");
        return -1;
    }
    return transport_child_check(stream->child, error) ? 0 : -1;
}

/*
 * Why the stream broke is told best by how the command ended, if it did: then that replaces ERROR.
 */
static gssize prefer_child_error(TransportStream *stream, GError *failure, GError **error)
{
    if (stream->child && !g_error_matches(failure, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK) &&
        transport_child_has_ended(stream->child, CHILD_END_MS) &&
        !transport_child_check(stream->child, error)) {
        g_error_free(failure);
    } else {
        g_propagate_error(error, failure);
    }
    return -1;
}

static gssize read_plain(TransportStream *stream, void *buffer, size_t length, GError **error)
{
    gssize count;

    do {
        count = stream->type == S_IFSOCK ? recv(stream->fd, buffer, length, MSG_DONTWAIT)
                                         : read(stream->fd, buffer, length);
    } while (count < 0 && errno == EINTR);
    return count < 0 ? fail_io(stream, "reading from", error) : count;
}

gssize transport_stream_read(TransportStream *stream, void *buffer, size_t length, GError **error)
{
    GError *failure = NULL;
    gssize count = 0;

    g_return_val_if_fail(length > 0, -1);
    if (!stream->at_end) {
        count = stream->tls ? transport_tls_session_read(stream->tls, buffer, length, &failure)
                            : read_plain(stream, buffer, length, &failure);
    }
    if (count < 0) {
        return prefer_child_error(stream, failure, error);
    }
    return count == 0 && stream->child ? read_end_of_child(stream, error) : count;
}

/* writev() to a pipe nobody reads from must fail, not kill a program that embeds us. */
static gssize writev_quietly(int fd, const struct iovec *vectors, int count)
{
    static const struct timespec at_once = {0, 0};
    sigset_t pipe_signal, old, pending;
    gssize written;
    int number;

    sigpending(&pending);
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &old);
    written = writev(fd, vectors, count);
    number = errno;
    if (written < 0 && number == EPIPE && !sigismember(&pending, SIGPIPE)) {
        while (sigtimedwait(&pipe_signal, NULL, &at_once) < 0 && errno == EINTR) {
        }
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = number;
    return written;
}

static gssize writev_plain(TransportStream *stream, const struct iovec *vectors, int count,
                           GError **error)
{
    struct msghdr message = {.msg_iov = (struct iovec *)vectors, .msg_iovlen = (size_t)count};
    gssize written;

    do {
        if (stream->type == S_IFSOCK) {
            written = sendmsg(stream->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        } else if (stream->type == S_IFREG) {
            written = writev(stream->fd, vectors, count);
        } else {
            written = writev_quietly(stream->fd, vectors, count);
        }
    } while (written < 0 && errno == EINTR);
    return written < 0 ? fail_io(stream, "writing to", error) : written;
}

gssize transport_stream_writev(TransportStream *stream, const struct iovec *vectors, int count,
                               GError **error)
{
    GError *failure = NULL;
    gssize written;

    if (stream->tls) {
        written = transport_tls_session_writev(stream->tls, vectors, count, &failure);
    } else {
        written = writev_plain(stream, vectors, count, &failure);
    }
    return written < 0 ? prefer_child_error(stream, failure, error) : written;
}

/* ---- The end --------------------------------------------------------------------------------- */

static gboolean shutdown_plain(TransportStream *stream, GError **error)
{
    if (stream->type == S_IFSOCK) {
        if (shutdown(stream->fd, SHUT_WR)) {
            return fail_io(stream, "ending the stream to", error) == 0;
        }
    } else if (stream->type == S_IFREG || stream->type == S_IFBLK) {
        if (fsync(stream->fd)) {
            return fail_io(stream, "flushing", error) == 0;
        }
    } else if (stream->type == S_IFIFO) {
        transport_fd_close(&stream->fd); /* the reader's end of file */
    }
    return TRUE;
}

gboolean transport_stream_shutdown(TransportStream *stream, GError **error)
{
    if (!stream->shut) {
        stream->shut = stream->tls ? transport_tls_session_shutdown(stream->tls, error)
                                   : shutdown_plain(stream, error);
    }
    return stream->shut;
}

void transport_stream_free(TransportStream *stream)
{
    if (!stream) {
        return;
    }
    transport_tls_session_free(stream->tls);
    transport_fd_close(&stream->fd);
    transport_child_free(stream->child);
    g_free(stream->peer);
    g_free(stream);
}

/* ---- Asking ---------------------------------------------------------------------------------- */

int transport_stream_read_fd(TransportStream *stream)
{
    if (stream->at_end) {
        return transport_child_fd(stream->child);
    }
    return stream->tls ? transport_tls_session_read_fd(stream->tls) : stream->fd;
}

int transport_stream_write_fd(TransportStream *stream)
{
    return stream->tls ? transport_tls_session_write_fd(stream->tls) : stream->fd;
}

gboolean transport_stream_is_one_way(TransportStream *stream)
{
    return stream->type != S_IFSOCK;
}

gboolean transport_stream_is_tls(TransportStream *stream)
{
    return stream->tls != NULL;
}

const char *transport_stream_peer(TransportStream *stream)
{
    return stream->peer;
}
