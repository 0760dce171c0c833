/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A line of the human monitor that is being carried out: text is collected and handed over when the
 * line is done, now or later. As with QmpRequest, whoever asked may have gone meanwhile.
 */
#ifndef QMP_HMP_REQUEST_H
#define QMP_HMP_REQUEST_H

#include <glib.h>

typedef struct HmpRequest HmpRequest;

/* Takes the TEXT that the line printed, valid during the call; its lines end in "\n". */
typedef void (*HmpDoneFunc)(const char *text, gpointer opaque);

HmpRequest *hmp_request_new(HmpDoneFunc done, gpointer opaque);

/* Adds to the text. */
void hmp_request_printf(HmpRequest *request, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Hands the text over and frees REQUEST. */
void hmp_request_done(HmpRequest *request);

/* Prints "Error: ..." and ends REQUEST. ERROR stays the caller's. */
void hmp_request_fail(HmpRequest *request, const GError *error);

/* Nobody waits for REQUEST any more; whoever carries it out still frees it. */
void hmp_request_abandon(HmpRequest *request);

/* Sets REQUEST's arguments to those of TABLE (taken over), which hmp_parse_arguments() made. */
void hmp_request_set_arguments(HmpRequest *request, GHashTable *table);

/*
 * Arguments by the names that the command's table gives them (hmp.h). NULL, FALSE and 0 when they
 * are absent.
 */
const char *hmp_request_argument(const HmpRequest *request, const char *name);
gboolean hmp_request_has(const HmpRequest *request, const char *name);
guint64 hmp_request_number(const HmpRequest *request, const char *name);

#endif
