/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The commands that do something. */
#include "qmp/hmp.h"
#include "qmp/hmp-waiter.h"
#include "qmp/qmp-error.h"
#include "qmp/qmp-resume.h"

static void on_ready(SnprelayRelay *relay, const GError *error, gpointer opaque)
{
    (void)relay;
    if (error) {
        hmp_request_fail(opaque, error);
    } else {
        hmp_request_done(opaque);
    }
}

static void on_ready_wait(SnprelayRelay *relay, const GError *error, gpointer opaque)
{
    (void)relay;
    if (error) {
        hmp_waiter_refuse(opaque, error);
    } else {
        hmp_waiter_start(opaque);
    }
}

static SnprelayFlags flags_of(HmpRequest *request)
{
    return hmp_request_has(request, "-f") ? SNPRELAY_FLAG_FORCE : SNPRELAY_FLAG_NONE;
}

static void resume(QmpContext *context, HmpRequest *request)
{
    g_autoptr(GError) error = NULL;
    guint64 address = hmp_request_number(request, "address");
    gboolean detach = hmp_request_has(request, "-d");
    g_autoptr(SnprelayInfo) info = snprelay_query(context->relay);
    gboolean recovering = info->status == SNPRELAY_STATUS_RECOVERING;
    HmpWaiter *waiter = detach ? NULL : hmp_waiter_new(context, request, recovering);

    qmp_resume(context->relay, hmp_request_argument(request, "uri"),
               hmp_request_has(request, "address") ? &address : NULL, &error);
    if (detach) {
        on_ready(context->relay, error, request);
    } else {
        on_ready_wait(context->relay, error, waiter);
    }
}

void hmp_run_migrate(QmpContext *context, HmpRequest *request)
{
    const char *uri = hmp_request_argument(request, "uri");
    guint64 address = hmp_request_number(request, "address");

    if (hmp_request_has(request, "-r")) {
        resume(context, request);
    } else if (!hmp_request_has(request, "address")) {
        hmp_request_printf(request,
                           "snp_migrate: %s expected\n"
                           "Try \"help snp_migrate\" for more information\n",
                           uri ? "address" : "uri");
        hmp_request_done(request);
    } else if (hmp_request_has(request, "-d")) {
        snprelay_migrate(context->relay, uri, address, flags_of(request), on_ready, request);
    } else {
        snprelay_migrate(context->relay, uri, address, flags_of(request), on_ready_wait,
                         hmp_waiter_new(context, request, FALSE));
    }
}

void hmp_run_incoming(QmpContext *context, HmpRequest *request)
{
    snprelay_migrate_incoming(context->relay, hmp_request_argument(request, "uri"),
                              hmp_request_number(request, "address"), flags_of(request), on_ready,
                              request);
}

void hmp_run_cancel(QmpContext *context, HmpRequest *request)
{
    snprelay_cancel(context->relay);
    hmp_request_done(request);
}

void hmp_run_pause(QmpContext *context, HmpRequest *request)
{
    g_autoptr(GError) error = NULL;

    snprelay_pause(context->relay, &error);
    on_ready(context->relay, error, request);
}

void hmp_run_recover(QmpContext *context, HmpRequest *request)
{
    snprelay_recover(context->relay, hmp_request_argument(request, "uri"), on_ready, request);
}

void hmp_run_set_parameter(QmpContext *context, HmpRequest *request)
{
    g_autoptr(GError) error = NULL;
    SnprelayParameterValue value = {NULL, NULL, 0};

    if (snprelay_parameter_parse(hmp_request_argument(request, "name"),
                                 hmp_request_argument(request, "value"), &value, &error)) {
        snprelay_set_parameters(context->relay, &value, 1, &error);
        snprelay_parameter_clear(&value);
    }
    on_ready(context->relay, error, request);
}
