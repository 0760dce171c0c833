/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A whole incoming migration fed with any bytes over a socketpair, with a guest that reads whatever it is given. It must
 * end soon, leave the page outside its registers and its buffer alone, and be completed only when the stream's own end
 * was seen and as many blocks as the guest has read.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migpage/layout.h"
#include "snprelay/snprelay.h"

#define PATIENCE_US (10 * (gint64)G_USEC_PER_SEC)
#define PATTERN 0xa5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Run {
    _Alignas(4096) guint8 page[MIGPAGE_SIZE];
    SnprelayStatus status;
    gboolean refused;
    int quit; /* atomic, for the guest */
    uint64_t blocks;
} Run;

static Run run;

static void require(gboolean condition)
{
    if (!condition) {
        abort();
    }
}

static gpointer play_guest(gpointer data)
{
    (void)data;
    while (!__atomic_load_n(&run.quit, __ATOMIC_ACQUIRE)) {
        if (__atomic_load_n(run.page + MIGPAGE_DATA_OFFSET, __ATOMIC_ACQUIRE) ==
            MIGPAGE_DATA_READY) {
            run.blocks++;
            __atomic_store_n(run.page + MIGPAGE_DATA_OFFSET, MIGPAGE_DATA_READ, __ATOMIC_RELEASE);
        } else {
            g_thread_yield();
        }
    }
    return NULL;
}

static void on_map(SnprelayMapRequest *request, uint64_t address, gpointer opaque)
{
    (void)address;
    (void)opaque;
    snprelay_map_done(request, run.page, NULL, NULL);
}

static void on_status(SnprelayRelay *relay, const SnprelayInfo *info, gpointer opaque)
{
    (void)relay;
    (void)opaque;
    run.status = info->status;
}

static void on_ready(SnprelayRelay *relay, const GError *error, gpointer opaque)
{
    (void)relay;
    (void)opaque;
    run.refused = error != NULL;
}

/* Writes DATA while the relay runs, reads whatever it answers, and closes. */
static gpointer feed(gpointer data)
{
    GBytes *bytes = ((gpointer *)data)[0];
    int fd = GPOINTER_TO_INT(((gpointer *)data)[1]);
    gsize size, done = 0;
    const guint8 *start = g_bytes_get_data(bytes, &size);
    guint8 sink[4096];

    while (done < size) {
        struct pollfd pollfd = {.fd = fd, .events = POLLOUT | POLLIN};
        ssize_t sent;

        if (poll(&pollfd, 1, (int)(PATIENCE_US / 1000)) <= 0) {
            break;
        }
        if ((pollfd.revents & POLLIN) && recv(fd, sink, sizeof(sink), MSG_DONTWAIT) <= 0) {
            break;
        }
        sent = send(fd, start + done, size - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        done += sent > 0 ? (gsize)sent : 0;
    }
    shutdown(fd, SHUT_WR);
    while (recv(fd, sink, sizeof(sink), 0) > 0) {
        /* until the relay has closed its side */
    }
    close(fd);
    return NULL;
}

static gboolean wake_up(gpointer data)
{
    (void)data;
    return G_SOURCE_CONTINUE;
}

static gboolean is_over(void)
{
    return run.refused || run.status == SNPRELAY_STATUS_PAUSED ||
           (run.status != SNPRELAY_STATUS_NONE && snprelay_status_is_final(run.status));
}

static void run_until_over(GMainContext *context)
{
    gint64 deadline = g_get_monotonic_time() + PATIENCE_US;
    GSource *tick = g_timeout_source_new(5);

    g_source_set_callback(tick, wake_up, NULL, NULL);
    g_source_attach(tick, context);
    while (!is_over()) {
        require(g_get_monotonic_time() < deadline); /* hangs */
        g_main_context_iteration(context, TRUE);
    }
    g_source_destroy(tick);
    g_source_unref(tick);
}

static void check_result(const SnprelayInfo *info)
{
    for (size_t i = 2; i < MIGPAGE_BUFFER_OFFSET; i++) {
        require(run.page[i] == PATTERN);
    }
    require(info->blocks <= run.blocks);
    if (info->status == SNPRELAY_STATUS_COMPLETED) {
        require(info->blocks == run.blocks && info->has_checksum);
        require(run.page[MIGPAGE_STATUS_OFFSET] == MIGPAGE_STATUS_COMPLETED);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const SnprelayCallbacks callbacks = {.map_page = on_map, .status_changed = on_status};
    g_autoptr(GBytes) bytes = g_bytes_new(data, size);
    g_autoptr(GMainContext) context = g_main_context_new();
    g_autoptr(SnprelayInfo) info = NULL;
    gpointer feeding[2] = {bytes, NULL};
    GThread *guest, *feeder;
    SnprelayRelay *relay;
    int fds[2];

    memset(&run, 0, sizeof(run));
    memset(run.page + 2, PATTERN, MIGPAGE_BUFFER_OFFSET - 2);
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    relay = snprelay_new(context, &callbacks, SNPRELAY_POLICY_DEFAULT, NULL);
    require(snprelay_add_fd(relay, "in", fds[1], NULL));
    feeding[1] = GINT_TO_POINTER(fds[0]);
    guest = g_thread_new("guest", play_guest, NULL);
    feeder = g_thread_new("feeder", feed, feeding);
    snprelay_migrate_incoming(relay, "fd:in", 0x1000, SNPRELAY_FLAG_NONE, on_ready, NULL);
    run_until_over(context);
    info = snprelay_query(relay);
    snprelay_free(relay);
    g_thread_join(feeder);
    __atomic_store_n(&run.quit, 1, __ATOMIC_RELEASE);
    g_thread_join(guest);
    while (g_main_context_iteration(context, FALSE)) {
        /* nothing stays on its way */
    }
    check_result(info);
    return 0;
}
