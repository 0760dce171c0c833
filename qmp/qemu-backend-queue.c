/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counts what is under way. Each command that is keeps the queue alive until its answer. */
#include "qmp/qemu-backend-queue.h"

#include <unistd.h>

#include "snprelay/snprelay.h"

/* The relay's own questions (qemu-page.c) must find room, too. */
#define MAX_UNDER_WAY 4
/* A client has one here at most, but clients that hang up leave theirs. */
#define MAX_WAITING 256

struct QmpQemuQueue {
    QmpQemu *qemu;
    GQueue waiting;        /* Item */
    guint under_way;       /* in band */
    gboolean fd_under_way; /* a second one with a descriptor would hold up those out of band */
    gboolean closed;
};

typedef struct Item {
    QmpQemuQueue *queue; /* a reference while it is under way */
    JsonObject *command;
    int fd;
    gboolean oob, has_fd;
    QmpQemuFunc done;
    gpointer opaque;
} Item;

static void end_item(Item *item, JsonObject *reply, const GError *error)
{
    if (item->done) {
        item->done(reply, error, item->opaque);
    }
    if (item->fd >= 0) {
        close(item->fd);
    }
    json_object_unref(item->command);
    g_free(item);
}

static void clear_queue(gpointer data)
{
    QmpQemuQueue *queue = data;

    qmp_qemu_unref(queue->qemu);
}

QmpQemuQueue *qmp_qemu_queue_new(QmpQemu *qemu)
{
    QmpQemuQueue *queue = g_rc_box_new0(QmpQemuQueue);

    queue->qemu = qmp_qemu_ref(qemu);
    g_queue_init(&queue->waiting);
    return queue;
}

void qmp_qemu_queue_free(QmpQemuQueue *queue)
{
    g_autoptr(GError) error = g_error_new_literal(SNPRELAY_ERROR, SNPRELAY_ERROR_CANCELLED,
                                                  "the relay ends: QEMU was not asked any more");
    Item *item;

    queue->closed = TRUE;
    while ((item = g_queue_pop_head(&queue->waiting))) {
        end_item(item, NULL, error);
    }
    g_rc_box_release_full(queue, clear_queue);
}

static void run(QmpQemuQueue *queue);

static void on_reply(JsonObject *reply, const GError *error, gpointer opaque)
{
    Item *item = opaque;
    QmpQemuQueue *queue = item->queue;

    if (!item->oob) {
        queue->under_way--;
    }
    if (item->has_fd) {
        queue->fd_under_way = FALSE;
    }
    end_item(item, reply, error);
    run(queue);
    g_rc_box_release_full(queue, clear_queue);
}

static void give(QmpQemuQueue *queue, Item *item)
{
    item->queue = g_rc_box_acquire(queue);
    if (!item->oob) {
        queue->under_way++;
    }
    if (item->has_fd) {
        queue->fd_under_way = TRUE;
    }
    qmp_qemu_execute(queue->qemu, item->command, item->fd, on_reply, item);
    item->fd = -1;
}

static void run(QmpQemuQueue *queue)
{
    Item *item;

    while (!queue->closed && queue->under_way < MAX_UNDER_WAY &&
           (item = g_queue_peek_head(&queue->waiting)) && !(item->has_fd && queue->fd_under_way)) {
        give(queue, g_queue_pop_head(&queue->waiting));
    }
}

static void refuse(Item *item)
{
    g_autoptr(GError) error = g_error_new(
        SNPRELAY_ERROR, SNPRELAY_ERROR_GUEST,
        "QEMU does not answer, and %d commands wait for it already: try again later", MAX_WAITING);

    end_item(item, NULL, error);
}

void qmp_qemu_queue_push(QmpQemuQueue *queue, JsonObject *command, int fd, QmpQemuFunc done,
                         gpointer opaque)
{
    Item *item = g_new0(Item, 1);

    item->command = command;
    item->fd = fd;
    item->has_fd = fd >= 0;
    item->oob = json_object_has_member(command, "exec-oob");
    item->done = done;
    item->opaque = opaque;
    if (item->oob) {
        give(queue, item);
    } else if (queue->waiting.length >= MAX_WAITING) {
        refuse(item);
    } else {
        g_queue_push_tail(&queue->waiting, item);
        run(queue);
    }
}
