/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The human monitor on the program's own terminal, with line editing, history and completion. One
 * at most.
 */
#ifndef QMP_HMP_TERMINAL_H
#define QMP_HMP_TERMINAL_H

#include "qmp/qmp-context.h"

typedef struct HmpTerminal HmpTerminal;

/* NULL when standard input and output are no terminal, or line editing was not built in. */
HmpTerminal *hmp_terminal_new(QmpContext *context);

/* Puts the terminal back. */
void hmp_terminal_free(HmpTerminal *terminal);

/*
 * A Ctrl-C: throws away what was typed, or stops waiting for the line that is being carried out
 * (which goes on). FALSE: nobody types here any more.
 */
gboolean hmp_terminal_interrupt(HmpTerminal *terminal);

#endif
