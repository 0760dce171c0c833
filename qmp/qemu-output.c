/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A queue of lines. QEMU keeps the descriptors of only the last message that had some, so a line
 * with a descriptor is held back, and all that follow it, until the one before it was answered.
 */
#include "qmp/qemu-output.h"

#include <gio/gunixfdmessage.h>
#include <string.h>
#include <unistd.h>

typedef struct Line {
    char *text;
    size_t length, sent;
    int fd;
} Line;

struct QmpQemuOutput {
    QmpQemuOutputFunc failed;
    gpointer opaque;
    GSocket *socket; /* NULL: not started */
    GSource *source; /* NULL: nothing can be sent */
    GQueue lines;    /* of Line */
    size_t length;
    gboolean fd_unanswered;
};

static void line_free(gpointer data)
{
    Line *line = data;

    if (line->fd >= 0) {
        close(line->fd);
    }
    g_free(line->text);
    g_free(line);
}

QmpQemuOutput *qmp_qemu_output_new(QmpQemuOutputFunc failed, gpointer opaque)
{
    QmpQemuOutput *output = g_new0(QmpQemuOutput, 1);

    output->failed = failed;
    output->opaque = opaque;
    g_queue_init(&output->lines);
    return output;
}

static void disarm(QmpQemuOutput *output)
{
    if (output->source) {
        g_source_destroy(output->source);
        g_clear_pointer(&output->source, g_source_unref);
    }
}

void qmp_qemu_output_free(QmpQemuOutput *output)
{
    disarm(output);
    g_clear_object(&output->socket);
    g_queue_clear_full(&output->lines, line_free);
    g_free(output);
}

static gssize send_some(QmpQemuOutput *output, Line *line, GError **error)
{
    GOutputVector vector = {line->text + line->sent, line->length - line->sent};
    g_autoptr(GSocketControlMessage) message = NULL;
    gssize sent;

    if (line->fd >= 0) {
        message = g_unix_fd_message_new();
        if (!g_unix_fd_message_append_fd(G_UNIX_FD_MESSAGE(message), line->fd, error)) {
            return -1;
        }
    }
    sent = g_socket_send_message(output->socket, NULL, &vector, 1, message ? &message : NULL,
                                 message ? 1 : 0, G_SOCKET_MSG_NONE, NULL, error);
    if (sent > 0 && line->fd >= 0) {
        close(line->fd);
        line->fd = -1;
        output->fd_unanswered = TRUE;
    }
    return sent;
}

/* The line that may be sent now, or NULL. */
static Line *next_line(QmpQemuOutput *output)
{
    Line *line = g_queue_peek_head(&output->lines);

    return line && line->fd >= 0 && output->fd_unanswered ? NULL : line;
}

static gboolean on_writable(GSocket *socket G_GNUC_UNUSED, GIOCondition condition G_GNUC_UNUSED,
                            gpointer data)
{
    QmpQemuOutput *output = data;
    Line *line;

    while ((line = next_line(output))) {
        GError *error = NULL;
        gssize sent = send_some(output, line, &error);

        if (sent < 0 && g_error_matches(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK)) {
            g_error_free(error);
            return G_SOURCE_CONTINUE;
        }
        if (sent < 0) {
            disarm(output);
            output->failed(error, output->opaque);
            return G_SOURCE_REMOVE;
        }
        line->sent += (size_t)sent;
        output->length -= (size_t)sent;
        if (line->sent == line->length) {
            line_free(g_queue_pop_head(&output->lines));
        }
    }
    g_clear_pointer(&output->source, g_source_unref);
    return G_SOURCE_REMOVE;
}

static void arm(QmpQemuOutput *output)
{
    if (output->source || !output->socket || !next_line(output)) {
        return;
    }
    output->source = g_socket_create_source(output->socket, G_IO_OUT, NULL);
    g_source_set_callback(output->source, G_SOURCE_FUNC(on_writable), output, NULL);
    g_source_attach(output->source, NULL);
}

static Line *new_line(QmpQemuOutput *output, char *text, int fd)
{
    Line *line = g_new0(Line, 1);

    line->text = text;
    line->length = strlen(text);
    line->fd = fd;
    output->length += line->length;
    return line;
}

void qmp_qemu_output_push(QmpQemuOutput *output, char *line, int fd)
{
    g_queue_push_tail(&output->lines, new_line(output, line, fd));
    arm(output);
}

void qmp_qemu_output_start(QmpQemuOutput *output, GSocket *socket, char *first)
{
    output->socket = g_object_ref(socket);
    g_queue_push_head(&output->lines, new_line(output, first, -1));
    arm(output);
}

void qmp_qemu_output_answered(QmpQemuOutput *output)
{
    output->fd_unanswered = FALSE;
    arm(output);
}

size_t qmp_qemu_output_length(const QmpQemuOutput *output)
{
    return output->length;
}
