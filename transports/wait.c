/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting, always with an end: every wait of this folder is one of these two and can be cancelled
 * from another thread.
 */
#include "transports/internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

#define SPARE_FDS 6

gboolean transport_wait_is_possible(GError **error)
{
    int spare[SPARE_FDS];
    gboolean possible = TRUE;

    for (int i = 0; i < SPARE_FDS; i++) {
        spare[i] = eventfd(0, EFD_CLOEXEC);
        possible = possible && spare[i] >= 0;
    }
    for (int i = 0; i < SPARE_FDS; i++) {
        transport_fd_close(&spare[i]);
    }
    if (!possible) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_TOO_MANY_OPEN_FILES,
                            "too many open files");
    }
    return possible;
}

/* Milliseconds until LIMIT, rounded up, as poll() takes them. */
static int milliseconds_left(gint64 limit)
{
    gint64 left;

    if (limit == 0) {
        return -1;
    }
    left = (limit - g_get_monotonic_time() + 999) / 1000;
    return (int)CLAMP(left, 0, G_MAXINT);
}

gboolean transport_wait_fd(int fd, short events, GCancellable *cancellable, gint64 limit,
                           GError **error)
{
    GPollFD cancel_fd = {.fd = -1};
    gboolean has_cancel_fd, ready = FALSE;

    if (!transport_wait_is_possible(error)) {
        return FALSE;
    }
    has_cancel_fd = g_cancellable_make_pollfd(cancellable, &cancel_fd);
    for (;;) {
        struct pollfd fds[] = {{fd, events, 0}, {has_cancel_fd ? cancel_fd.fd : -1, POLLIN, 0}};
        int count = poll(fds, G_N_ELEMENTS(fds), milliseconds_left(limit));

        if (g_cancellable_set_error_if_cancelled(cancellable, error)) {
            break;
        }
        if (count > 0 && fds[0].revents) {
            ready = TRUE;
            break;
        }
        if (count == 0) {
            g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT,
                                "no answer within the time allowed");
            break;
        }
        if (count < 0 && errno != EINTR) {
            g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "poll: %s",
                        g_strerror(errno));
            break;
        }
    }
    if (has_cancel_fd) {
        g_cancellable_release_fd(cancellable);
    }
    return ready;
}

/* ---- Name servers ---------------------------------------------------------------------------- */

typedef struct Lookup {
    GMainContext *context;
    GCancellable *cancellable; /* cancelled after the caller's, or by the deadline */
    gboolean timed_out;
    gboolean done;
    GList *addresses;
    GError *error;
} Lookup;

static void lookup_done(GObject *resolver, GAsyncResult *result, gpointer data)
{
    Lookup *lookup = data;

    lookup->addresses =
        g_resolver_lookup_by_name_finish(G_RESOLVER(resolver), result, &lookup->error);
    lookup->done = TRUE;
}

static gboolean lookup_timed_out(gpointer data)
{
    Lookup *lookup = data;

    lookup->timed_out = TRUE;
    g_cancellable_cancel(lookup->cancellable);
    return G_SOURCE_REMOVE;
}

static gboolean cancel_lookup(gpointer data)
{
    Lookup *lookup = data;

    g_cancellable_cancel(lookup->cancellable);
    return G_SOURCE_REMOVE;
}

/* In the thread that cancels. The look-up is cancelled in its own: GLib loses a GCancellableSource, ours or its resolver's,
 * that is destroyed while another thread cancels. */
static void lookup_cancelled(GCancellable *cancellable G_GNUC_UNUSED, gpointer data)
{
    Lookup *lookup = data;
    g_autoptr(GSource) source = g_idle_source_new();

    g_source_set_callback(source, cancel_lookup, lookup, NULL);
    g_source_attach(source, lookup->context);
}

/* What may end LOOKUP early: a timer, and the caller's cancellable, to be disconnected from what is returned. */
static gulong lookup_watch(Lookup *lookup, const TransportOptions *options)
{
    if (options->deadline) {
        g_autoptr(GSource) timer =
            g_timeout_source_new((guint)milliseconds_left(options->deadline));

        g_source_set_callback(timer, lookup_timed_out, lookup, NULL);
        g_source_attach(timer, lookup->context);
    }
    return options->cancellable ? g_cancellable_connect(options->cancellable,
                                                        G_CALLBACK(lookup_cancelled), lookup, NULL)
                                : 0;
}

GList *transport_wait_lookup(const char *host, const TransportOptions *options, GError **error)
{
    g_autoptr(GMainContext) context = NULL;
    g_autoptr(GResolver) resolver = g_resolver_get_default();
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    Lookup lookup = {.cancellable = cancellable};
    gulong watch;

    if (!transport_wait_is_possible(error)) {
        return NULL;
    }
    /* A context of its own: the caller's thread has none, or one that must not run now. */
    lookup.context = context = g_main_context_new();
    g_main_context_push_thread_default(context);
    watch = lookup_watch(&lookup, options);
    g_resolver_lookup_by_name_async(resolver, host, cancellable, lookup_done, &lookup);
    while (!lookup.done) {
        g_main_context_iteration(context, TRUE);
    }
    g_cancellable_disconnect(options->cancellable, watch);
    g_main_context_pop_thread_default(context);
    if (lookup.timed_out && !lookup.addresses) {
        g_clear_error(&lookup.error);
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT,
                    "looking up host name '%s': no answer within the time allowed", host);
    } else if (lookup.error) {
        g_propagate_prefixed_error(error, lookup.error, "looking up host name '%s': ", host);
    }
    return lookup.addresses;
}
