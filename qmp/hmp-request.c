/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A line's arguments, its text so far, and whom to tell. */
#include "qmp/hmp-request.h"

#include "qmp/hmp-line.h"

struct HmpRequest {
    GString *text;
    GHashTable *arguments; /* of strings */
    HmpDoneFunc done;      /* NULL: nobody waits */
    gpointer opaque;
};

HmpRequest *hmp_request_new(HmpDoneFunc done, gpointer opaque)
{
    HmpRequest *request = g_new0(HmpRequest, 1);

    request->text = g_string_new(NULL);
    request->arguments = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    request->done = done;
    request->opaque = opaque;
    return request;
}

void hmp_request_printf(HmpRequest *request, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_string_append_vprintf(request->text, format, args);
    va_end(args);
}

void hmp_request_done(HmpRequest *request)
{
    if (request->done) {
        request->done(request->text->str, request->opaque);
    }
    g_string_free(request->text, TRUE);
    g_hash_table_unref(request->arguments);
    g_free(request);
}

void hmp_request_fail(HmpRequest *request, const GError *error)
{
    hmp_request_printf(request, "Error: %s\n", error->message);
    hmp_request_done(request);
}

void hmp_request_abandon(HmpRequest *request)
{
    request->done = NULL;
}

void hmp_request_set_arguments(HmpRequest *request, GHashTable *table)
{
    g_hash_table_unref(request->arguments);
    request->arguments = table;
}

const char *hmp_request_argument(const HmpRequest *request, const char *name)
{
    return g_hash_table_lookup(request->arguments, name);
}

gboolean hmp_request_has(const HmpRequest *request, const char *name)
{
    return g_hash_table_contains(request->arguments, name);
}

guint64 hmp_request_number(const HmpRequest *request, const char *name)
{
    const char *text = hmp_request_argument(request, name);
    guint64 number = 0;

    if (text) {
        hmp_parse_number(text, &number);
    }
    return number;
}
