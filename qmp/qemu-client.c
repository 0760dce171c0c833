/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connects to QEMU, greets, and matches answers with commands. What goes out is queued in qemu-output.c. */
#include "qmp/qemu-client.h"

#include <gio/gunixsocketaddress.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "qmp/qemu-output.h"
#include "qmp/qemu-reader.h"
#include "qmp/qmp-error.h"
#include "snprelay/snprelay.h"

#define DEADLINE_MS 5000 /* until QEMU takes commands */
#define RETRY_MS 50      /* connecting, while the socket's queue is full */
#define READ_SIZE 65536

typedef enum State {
    CONNECTING,
    GREETING,    /* connected, nothing was heard yet */
    NEGOTIATING, /* greeted, the capabilities are under way */
    READY,
    CLOSED,
} State;

struct QmpQemu {
    grefcount references;
    State state;
    char *path;
    GSocket *socket;
    GSource *input;
    guint deadline, retry; /* timers */
    struct ucred peer;
    QmpQemuReader *reader;
    QmpQemuOutput *output;
    GQueue *early;       /* Early: commands before QEMU was ready */
    GHashTable *pending; /* id -> Pending */
    gint64 last_id;
    JsonObject *greeting;
    gboolean oob;
    GHookList watchers; /* data: Watch */
    GError *error;      /* when CLOSED */
};

typedef struct Pending {
    QmpQemuFunc done;
    gpointer opaque;
    gboolean has_fd;
} Pending;

typedef struct Early {
    gint64 id;
    char *line;
    int fd;
} Early;

typedef struct Watch {
    const QmpQemuWatcher *watcher;
    gpointer opaque;
} Watch;

static void fail(QmpQemu *qemu, GError *error);

/* ---- Watchers -------------------------------------------------------------------------------------- */

typedef struct News {
    QmpQemu *qemu;
    JsonObject *event; /* NULL: READY or CLOSED */
} News;

static void tell_watcher(GHook *hook, gpointer data)
{
    const News *news = data;
    const Watch *watch = hook->data;
    const QmpQemuWatcher *watcher = watch->watcher;

    if (news->event) {
        if (watcher->event) {
            watcher->event(news->qemu, news->event, watch->opaque);
        }
    } else if (news->qemu->state == CLOSED) {
        if (watcher->closed) {
            watcher->closed(news->qemu, news->qemu->error, watch->opaque);
        }
    } else if (watcher->ready) {
        watcher->ready(news->qemu, watch->opaque);
    }
}

static void tell_watchers(QmpQemu *qemu, JsonObject *event)
{
    News news = {qemu, event};

    g_hook_list_marshal(&qemu->watchers, TRUE, tell_watcher, &news);
}

gulong qmp_qemu_watch(QmpQemu *qemu, const QmpQemuWatcher *watcher, gpointer opaque)
{
    GHook *hook = g_hook_alloc(&qemu->watchers);
    Watch *watch = g_new0(Watch, 1);

    watch->watcher = watcher;
    watch->opaque = opaque;
    hook->data = watch;
    hook->destroy = g_free;
    hook->func = (gpointer)tell_watcher; /* the list's marshaller calls it; it must not be NULL */
    g_hook_append(&qemu->watchers, hook);
    return hook->hook_id;
}

void qmp_qemu_unwatch(QmpQemu *qemu, gulong number)
{
    g_hook_destroy(&qemu->watchers, number);
}

/* ---- The end --------------------------------------------------------------------------------------- */

static void clear_timer(guint *timer)
{
    if (*timer) {
        g_source_remove(*timer);
        *timer = 0;
    }
}

static void early_free(gpointer data)
{
    Early *early = data;

    if (early->fd >= 0) {
        close(early->fd);
    }
    g_free(early->line);
    g_free(early);
}

static void shut(QmpQemu *qemu)
{
    qemu->state = CLOSED;
    clear_timer(&qemu->deadline);
    clear_timer(&qemu->retry);
    if (qemu->input) {
        g_source_destroy(qemu->input);
        g_clear_pointer(&qemu->input, g_source_unref);
    }
    g_clear_pointer(&qemu->output, qmp_qemu_output_free);
    g_clear_object(&qemu->socket);
    g_queue_clear_full(qemu->early, early_free);
}

/* Answers all commands with the reason of the end, in the order in which they were sent. */
static void fail_pending(QmpQemu *qemu)
{
    GHashTable *pending = g_steal_pointer(&qemu->pending);
    GList *ids = g_hash_table_get_keys(pending);

    qemu->pending = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    ids = g_list_sort(ids, (GCompareFunc)(gpointer)qmp_qemu_compare_ids);
    for (GList *id = ids; id; id = id->next) {
        const Pending *one = g_hash_table_lookup(pending, id->data);

        if (one->done) {
            one->done(NULL, qemu->error, one->opaque);
        }
    }
    g_list_free(ids);
    g_hash_table_unref(pending);
}

/* Takes ERROR over. The first reason stays. */
static void fail(QmpQemu *qemu, GError *error)
{
    if (qemu->state == CLOSED) {
        g_error_free(error);
        return;
    }
    qmp_qemu_ref(qemu);
    shut(qemu);
    qemu->error = error;
    fail_pending(qemu);
    tell_watchers(qemu, NULL);
    qmp_qemu_unref(qemu);
}
