/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all monitors of a program share, and the one place where a command's name finds who carries
 * it out.
 *
 * Our own commands are found first. Everything else is the backend's: of a server that stands alone
 * (qmp-alone.c), or of a running QEMU behind us.
 */
#ifndef QMP_QMP_CONTEXT_H
#define QMP_QMP_CONTEXT_H

#include "qmp/hmp-request.h"
#include "qmp/qmp-request.h"
#include "snprelay/snprelay.h"

typedef struct QmpContext QmpContext;

typedef struct QmpCommand {
    const char *name; /* as in the schema */
    /* Carries REQUEST out, whose arguments fit the schema: answers it now or later. */
    void (*run)(QmpContext *context, QmpRequest *request);
} QmpCommand;

/* Who carries out what is not ours. OPAQUE is the context's backend_opaque. */
typedef struct QmpBackend {
    /* The "version" of the greeting; to free by the caller. */
    JsonNode *(*version)(QmpContext *context, gpointer opaque);
    /* Answers REQUEST, whose arguments are not yet checked. */
    void (*execute)(QmpContext *context, QmpRequest *request, gpointer opaque);
    /* Carries LINE of the human monitor out and ends REQUEST. */
    void (*human)(QmpContext *context, HmpRequest *request, const char *line, gpointer opaque);
} QmpBackend;

/* What the program does for its monitors. */
typedef struct QmpHooks {
    /* Ends the program, soon: the answer to the command must still go out. */
    void (*quit)(gpointer opaque);
    /*
     * Prints what is known of the page into REQUEST and ends it, now or later (see hmp-request.h).
     */
    void (*page_info)(HmpRequest *request, gpointer opaque);
    gpointer opaque;
} QmpHooks;

struct QmpContext {
    SnprelayRelay *relay;
    const QmpCommand *commands; /* our own, the last one's name is NULL */
    const QmpBackend *backend;
    gpointer backend_opaque;
    gboolean oob; /* the backend executes commands out of band */
    QmpHooks hooks;
    GPtrArray *waiters; /* HmpWaiter: lines that wait for a migration's end */
};

/* Makes a context that knows our commands and stands alone; HOOKS (may be NULL) is copied. */
QmpContext *qmp_context_new(SnprelayRelay *relay, const QmpHooks *hooks);
QmpContext *qmp_context_ref(QmpContext *context);
void qmp_context_unref(QmpContext *context);

/* Carries REQUEST out. */
void qmp_context_execute(QmpContext *context, QmpRequest *request);

/* If COMMANDS has REQUEST's command, checks the arguments, runs it and returns TRUE. */
gboolean qmp_context_run_from(QmpContext *context, const QmpCommand *commands, QmpRequest *request);

/* NAME, or what it is another name of (snp_migrate). Static, or NAME itself. */
const char *qmp_command_canonical(const char *name);

/* The other names, as pairs of the other name and the name; ends with NULL. */
extern const char *const qmp_command_aliases[][2];

/* Our commands, see qmp-commands.c. */
extern const QmpCommand qmp_own_commands[];

/*
 * The command human-monitor-command, for backends: its line may be anybody's. REQUEST's arguments
 * fit the schema.
 */
void qmp_run_human(QmpContext *context, QmpRequest *request);

/* The backend of a server that stands alone, see qmp-alone.c. */
extern const QmpBackend qmp_alone_backend;

#endif
