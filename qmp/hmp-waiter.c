/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting lines are kept in the context. */
#include "qmp/hmp-waiter.h"

struct HmpWaiter {
    QmpContext *context;
    HmpRequest *request; /* NULL: ended by hmp_waiters_clear() */
    gboolean begun;      /* an end is the end of what is waited for */
    gboolean started;
    gboolean ended;  /* the last change was an end */
    char *complaint; /* what to print then, or NULL */
};

HmpWaiter *hmp_waiter_new(QmpContext *context, HmpRequest *request, gboolean under_way)
{
    HmpWaiter *waiter = g_new0(HmpWaiter, 1);

    waiter->context = qmp_context_ref(context);
    waiter->request = request;
    waiter->begun = under_way;
    g_ptr_array_add(context->waiters, waiter);
    return waiter;
}

static void end(HmpWaiter *waiter, const char *complaint)
{
    g_ptr_array_remove(waiter->context->waiters, waiter);
    if (waiter->request) {
        if (complaint) {
            hmp_request_printf(waiter->request, "Error: %s\n", complaint);
        }
        hmp_request_done(waiter->request);
    }
    g_free(waiter->complaint);
    qmp_context_unref(waiter->context);
    g_free(waiter);
}

void hmp_waiter_start(HmpWaiter *waiter)
{
    waiter->started = TRUE;
    if (waiter->ended || !waiter->request) {
        end(waiter, waiter->complaint);
    }
}

void hmp_waiter_refuse(HmpWaiter *waiter, const GError *error)
{
    end(waiter, error->message);
}

/* What a person is told of an end; NULL when all is well. */
static char *complaint_about(const SnprelayInfo *info)
{
    if (info->status == SNPRELAY_STATUS_COMPLETED || info->status == SNPRELAY_STATUS_NONE) {
        return NULL;
    }
    return g_strdup_printf("the migration %s %s%s%s",
                           info->status == SNPRELAY_STATUS_FAILED ? "has" : "is",
                           snprelay_status_name(info->status), info->error_desc ? ": " : "",
                           info->error_desc ? info->error_desc : "");
}

static void tell(HmpWaiter *waiter, const SnprelayInfo *info)
{
    gboolean is_end =
        snprelay_status_is_final(info->status) || info->status == SNPRELAY_STATUS_PAUSED;

    waiter->begun = waiter->begun || !is_end;
    waiter->ended = waiter->begun && is_end;
    g_free(waiter->complaint);
    waiter->complaint = waiter->ended ? complaint_about(info) : NULL;
    if (waiter->ended && waiter->started) {
        end(waiter, waiter->complaint);
    }
}

void hmp_waiters_tell(QmpContext *context, const SnprelayInfo *info)
{
    g_autoptr(GPtrArray) waiters = g_ptr_array_copy(context->waiters, NULL, NULL);

    for (guint i = 0; i < waiters->len; i++) {
        tell(waiters->pdata[i], info);
    }
}

void hmp_waiters_clear(QmpContext *context)
{
    g_autoptr(GPtrArray) waiters = g_ptr_array_copy(context->waiters, NULL, NULL);

    for (guint i = 0; i < waiters->len; i++) {
        HmpWaiter *waiter = waiters->pdata[i];

        if (waiter->started) {
            end(waiter, NULL);
        } else {
            /* The relay still has it, and will start or refuse it. */
            hmp_request_done(g_steal_pointer(&waiter->request));
        }
    }
}
