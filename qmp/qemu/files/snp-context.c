/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A source of the main loop that is ready when the inner context is. */
#include "qemu/osdep.h"

#include "snprelay/snp-context.h"

#define MAX_FDS                                                                                    \
    16 /* the context has its wake-up descriptor only; room for a few sources with one */

typedef struct InnerSource {
    GSource source;
    GMainContext *inner;
    GPollFD fds[MAX_FDS];
    gint n_fds;
} InnerSource;

static gboolean has_same_fds(const InnerSource *self, const GPollFD *fds, gint n_fds)
{
    if (n_fds != self->n_fds) {
        return FALSE;
    }
    for (gint i = 0; i < n_fds; i++) {
        if (fds[i].fd != self->fds[i].fd || fds[i].events != self->fds[i].events) {
            return FALSE;
        }
    }
    return TRUE;
}

static void watch_fds(InnerSource *self, const GPollFD *fds, gint n_fds)
{
    for (gint i = 0; i < self->n_fds; i++) {
        g_source_remove_poll(&self->source, &self->fds[i]);
    }
    for (gint i = 0; i < n_fds; i++) {
        self->fds[i] = fds[i];
        g_source_add_poll(&self->source, &self->fds[i]);
    }
    self->n_fds = n_fds;
}

static gboolean prepare_inner(GSource *source, gint *timeout)
{
    InnerSource *self = (InnerSource *)source;
    GPollFD fds[MAX_FDS];
    gint priority, n_fds;

    g_main_context_prepare(self->inner, &priority);
    n_fds = MIN(g_main_context_query(self->inner, priority, timeout, fds, MAX_FDS), MAX_FDS);
    if (!has_same_fds(self, fds, n_fds)) {
        watch_fds(self, fds, n_fds);
    }
    return *timeout == 0;
}

static gboolean check_inner(GSource *source)
{
    return g_main_context_pending(((InnerSource *)source)->inner);
}

static gboolean dispatch_inner(GSource *source, GSourceFunc callback G_GNUC_UNUSED,
                               gpointer data G_GNUC_UNUSED)
{
    g_main_context_iteration(((InnerSource *)source)->inner, FALSE);
    return G_SOURCE_CONTINUE;
}

GMainContext *snp_context_new(void)
{
    static GSourceFuncs functions = {
        .prepare = prepare_inner,
        .check = check_inner,
        .dispatch = dispatch_inner,
    };
    GMainContext *inner = g_main_context_new();
    GSource *source = g_source_new(&functions, sizeof(InnerSource));

    /* Owned by this thread from now on, so that what another thread adds wakes the poll. */
    g_main_context_acquire(inner);
    ((InnerSource *)source)->inner = inner;
    g_source_attach(source, NULL);
    g_source_unref(source);
    return inner;
}

static gboolean set_flag(gpointer data)
{
    *(gboolean *)data = TRUE;
    return G_SOURCE_CONTINUE;
}

void snp_context_run_until(GMainContext *context, const gboolean *done, guint milliseconds)
{
    GSource *timer = g_timeout_source_new(milliseconds);
    gboolean is_over = FALSE;

    g_source_set_callback(timer, set_flag, &is_over, NULL);
    g_source_attach(timer, context);
    while (!*done && !is_over) {
        g_main_context_iteration(context, TRUE);
    }
    g_source_destroy(timer);
    g_source_unref(timer);
}
