/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lets the thread sanitizer see what GLib synchronises: GLib is not built with it, so its mutexes and the way of a
 * callback into a main context would be taken for no synchronisation at all. Without the sanitizer this file is empty.
 */
#include <glib.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#include <dlfcn.h>

void __tsan_acquire(void *address);
void __tsan_release(void *address);

/* The sanitizer's library looks for it by name. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);

/* What GLib frees itself after counting references in a way that is not seen here. Use after free is the address
 * sanitizer's to find. */
const char *__tsan_default_suppressions(void)
{
    return "race_top:free\nrace_top:memset\n";
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void g_mutex_lock(GMutex *mutex)
{
    REAL(g_mutex_lock)(mutex);
    __tsan_acquire(mutex);
}

void g_mutex_unlock(GMutex *mutex)
{
    __tsan_release(mutex);
    REAL(g_mutex_unlock)(mutex);
}

/* A source's callback, behind what the thread did that set it. */
typedef struct Handover {
    GSourceFunc function;
    gpointer data;
    GDestroyNotify notify;
} Handover;

static gboolean take_over(gpointer data)
{
    Handover *handover = data;

    __tsan_acquire(handover);
    return handover->function(handover->data);
}

static void end_handover(gpointer data)
{
    Handover *handover = data;

    __tsan_acquire(handover);
    if (handover->notify) {
        handover->notify(handover->data);
    }
    g_free(handover);
}

void g_source_set_callback(GSource *source, GSourceFunc function, gpointer data,
                           GDestroyNotify notify)
{
    Handover *handover = g_new(Handover, 1);

    *handover = (Handover){function, data, notify};
    __tsan_release(handover);
    REAL(g_source_set_callback)(source, take_over, handover, end_handover);
}
#endif
