/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A descriptor that a client hands over may be meant for one of QEMU's commands or for an fd: URI
 * of ours, which only its later use tells. So QEMU gets it, and the relay keeps a duplicate;
 * closing it concerns both.
 */
#include <fcntl.h>
#include <unistd.h>

#include "qmp/json-string.h"
#include "qmp/qemu-backend.h"
#include "snprelay/snprelay.h"

typedef struct FdCommand {
    QmpQemuBackend *backend;
    QmpRequest *request;
    char *name;
    int kept; /* the duplicate, or -1 */
} FdCommand;

/* Passes REQUEST, with the argument "fdname", to QEMU; FD and KEPT are taken over. */
static void pass_fd_command(QmpQemuBackend *backend, QmpRequest *request, int fd, int kept,
                            QmpQemuFunc done)
{
    JsonObject *command = json_object_new(), *arguments = qmp_request_arguments(request);
    JsonNode *name = json_object_get_member(arguments, "fdname");
    FdCommand *item = g_new0(FdCommand, 1);

    item->backend = backend;
    item->request = request;
    item->kept = kept;
    item->name = g_strdup(qmp_json_get_string(name));
    json_object_set_string_member(command, "execute", qmp_request_command(request));
    json_object_set_object_member(command, "arguments", json_object_ref(arguments));
    qmp_qemu_queue_push(backend->queue, command, fd, done, item);
}

static void free_fd_command(FdCommand *item)
{
    if (item->kept >= 0) {
        close(item->kept);
    }
    g_free(item->name);
    g_free(item);
}

static void on_getfd(JsonObject *reply, const GError *error, gpointer opaque)
{
    FdCommand *item = opaque;

    if (qmp_qemu_result(reply, error, NULL) && item->name && item->kept >= 0) {
        snprelay_add_fd(item->backend->context->relay, item->name, item->kept, NULL);
        item->kept = -1;
    }
    qmp_qemu_answer(item->request, reply, error);
    free_fd_command(item);
}

void qmp_qemu_backend_run_getfd(QmpQemuBackend *backend, QmpRequest *request)
{
    int fd = qmp_request_take_fd(request);
    int kept = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;

    pass_fd_command(backend, request, fd, kept, on_getfd);
}

static void on_closefd(JsonObject *reply, const GError *error, gpointer opaque)
{
    FdCommand *item = opaque;

    /* One of us may have used its own meanwhile. */
    if (reply && item->name &&
        snprelay_remove_fd(item->backend->context->relay, item->name, NULL)) {
        qmp_request_return(item->request, NULL);
    } else {
        qmp_qemu_answer(item->request, reply, error);
    }
    free_fd_command(item);
}

void qmp_qemu_backend_run_closefd(QmpQemuBackend *backend, QmpRequest *request)
{
    pass_fd_command(backend, request, -1, -1, on_closefd);
}
