/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The human monitor: its table of commands, and carrying out a line. */
#ifndef QMP_HMP_H
#define QMP_HMP_H

#include "qmp/hmp-line.h"
#include "qmp/qmp-context.h"

#define HMP_PROMPT "(snprelay) "

typedef struct HmpCommand {
    const char *name;
    const char *alias; /* another name, or NULL */
    const char *usage; /* of its arguments, for help */
    const char *help;
    const HmpArgument *arguments;         /* the last one's name is NULL; or NULL */
    const struct HmpCommand *subcommands; /* of info: chosen by the next word; or NULL */
    gboolean alone;                       /* only of a monitor that stands alone */
    /* Carries REQUEST out, whose arguments fit the table: ends it now or later. */
    void (*run)(QmpContext *context, HmpRequest *request);
} HmpCommand;

/* All commands, and those of info; the last one's name is NULL. */
extern const HmpCommand hmp_commands[];
extern const HmpCommand hmp_info_commands[];

/*
 * Carries LINE out and ends REQUEST, now or later. What is not ours goes to the context's backend.
 * A blank line prints nothing.
 */
void hmp_execute(QmpContext *context, const char *line, HmpRequest *request);

/* Whether LINE is one of our own commands, which no backend carries out. */
gboolean hmp_is_own(const char *line);

/*
 * Whether LINE asks for a list to which a backend with commands of its own adds ours: of all
 * commands (*TOPIC is NULL), or of those of info ("info"): what hmp_print_help() takes.
 */
gboolean hmp_is_listing(const char *line, const char **topic);

/* The backend's part when the monitor stands alone: its few commands, or "unknown command: ...". */
void hmp_execute_alone(QmpContext *context, HmpRequest *request, const char *line);

/*
 * Prints help on all commands (NAME NULL), on those of info ("info"), or on NAME, and returns TRUE;
 * FALSE when there is no such command. OWN_ONLY leaves out those of a monitor that stands alone.
 */
gboolean hmp_print_help(HmpRequest *request, const char *name, gboolean own_only);

/*
 * What the last word of LINE could become: a NULL-terminated array of whole words, to free with
 * g_strfreev(). Empty when nothing is known.
 */
char **hmp_complete(const char *line);

/* The handlers in the tables that are in files of their own. */
void hmp_run_migrate(QmpContext *context, HmpRequest *request);
void hmp_run_incoming(QmpContext *context, HmpRequest *request);
void hmp_run_cancel(QmpContext *context, HmpRequest *request);
void hmp_run_pause(QmpContext *context, HmpRequest *request);
void hmp_run_recover(QmpContext *context, HmpRequest *request);
void hmp_run_set_parameter(QmpContext *context, HmpRequest *request);
void hmp_info_migrate(QmpContext *context, HmpRequest *request);
void hmp_info_parameters(QmpContext *context, HmpRequest *request);
void hmp_info_page(QmpContext *context, HmpRequest *request);

#endif
