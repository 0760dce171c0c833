/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A command, its arguments and descriptors, and whom to tell. */
#include "qmp/qmp-request.h"

#include <unistd.h>

struct QmpRequest {
    char *command;
    JsonObject *arguments;
    GArray *fds;
    gboolean oob;
    QmpAnswerFunc answer; /* NULL: nobody waits */
    gpointer opaque;
};

QmpRequest *qmp_request_new(const char *command, JsonObject *arguments, QmpAnswerFunc answer,
                            gpointer opaque)
{
    QmpRequest *request = g_new0(QmpRequest, 1);

    request->command = g_strdup(command);
    request->arguments = arguments ? json_object_ref(arguments) : json_object_new();
    request->fds = qmp_fds_new();
    request->answer = answer;
    request->opaque = opaque;
    return request;
}

static void free_request(QmpRequest *request)
{
    g_free(request->command);
    json_object_unref(request->arguments);
    g_array_unref(request->fds);
    g_free(request);
}

const char *qmp_request_command(const QmpRequest *request)
{
    return request->command;
}

JsonObject *qmp_request_arguments(const QmpRequest *request)
{
    return request->arguments;
}

void qmp_request_set_oob(QmpRequest *request)
{
    request->oob = TRUE;
}

gboolean qmp_request_is_oob(const QmpRequest *request)
{
    return request->oob;
}

void qmp_request_set_fds(QmpRequest *request, GArray *fds)
{
    g_array_unref(request->fds);
    request->fds = fds;
}

gboolean qmp_request_has_fd(const QmpRequest *request)
{
    return request->fds->len > 0;
}

int qmp_request_take_fd(QmpRequest *request)
{
    int fd;

    if (!qmp_request_has_fd(request)) {
        return -1;
    }
    fd = g_array_index(request->fds, int, 0);
    g_array_index(request->fds, int, 0) = -1;
    g_array_remove_index(request->fds, 0);
    return fd;
}

void qmp_request_return(QmpRequest *request, JsonNode *result)
{
    g_autoptr(JsonNode) node = result;

    if (!node) {
        node = json_node_init_object(json_node_alloc(), NULL);
        json_node_take_object(node, json_object_new());
    }
    if (request->answer) {
        request->answer(node, NULL, request->opaque);
    }
    free_request(request);
}

void qmp_request_fail(QmpRequest *request, GError *error)
{
    g_autoptr(GError) owned = error;

    if (request->answer) {
        request->answer(NULL, owned, request->opaque);
    }
    free_request(request);
}

void qmp_request_abandon(QmpRequest *request)
{
    request->answer = NULL;
}

static void clear_fd(gpointer element)
{
    int fd = *(int *)element;

    if (fd >= 0) {
        close(fd);
    }
}

GArray *qmp_fds_new(void)
{
    GArray *fds = g_array_new(FALSE, FALSE, sizeof(int));

    g_array_set_clear_func(fds, clear_fd);
    return fds;
}
