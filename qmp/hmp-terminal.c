/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libedit in its callback mode: it sees a character when the main loop has one. While a line is
 * being carried out nothing is read, so that what is typed ahead stays in the terminal's queue. The
 * library's state is global, hence the one static pointer.
 */
#include "qmp/hmp-terminal.h"

#ifdef HAVE_LIBEDIT

#include <glib-unix.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <wchar.h>

#include <editline/readline.h>

#include "qmp/hmp.h"

#define SOON_MS 50 /* a key's bytes come at once */
#define CTRL_G 7   /* gives up what the library is in the middle of */

struct HmpTerminal {
    QmpContext *context;
    HmpRequest *request; /* being carried out */
    char *line;          /* to be carried out as soon as the library has returned */
    guint source;        /* of input; 0 while it is not read */
    guint run_source;    /* of run_line() */
    char **completions;  /* while the library asks for them one by one */
    guint next_completion;
    gboolean ended; /* end of input: Ctrl-D */
};

static HmpTerminal *the_terminal;

static void on_line(char *line);

/* For the library, which would wait for the rest of a key, a sequence or a search, and all the program with it. A wide
 * character, or -1 at the end of input. */
static int read_character(FILE *stream)
{
    mbstate_t state = {0};
    wchar_t character;
    size_t length;

    (void)stream;
    do {
        struct pollfd pollfd = {STDIN_FILENO, POLLIN, 0};
        char byte;

        if (poll(&pollfd, 1, SOON_MS) <= 0) {
            return CTRL_G;
        }
        if (read(STDIN_FILENO, &byte, 1) != 1) {
            return -1;
        }
        length = mbrtowc(&character, &byte, 1, &state);
    } while (length == (size_t)-2);
    return length == (size_t)-1 ? '?' : (int)character;
}

static gboolean on_input(gint fd, GIOCondition condition, gpointer opaque)
{
    (void)fd;
    (void)condition;
    (void)opaque;
    rl_callback_read_char();
    return G_SOURCE_CONTINUE;
}

static void show_prompt(HmpTerminal *terminal)
{
    rl_callback_handler_install(HMP_PROMPT, on_line);
    fflush(stdout);
    if (!terminal->source) {
        terminal->source = g_unix_fd_add(STDIN_FILENO, G_IO_IN | G_IO_HUP, on_input, terminal);
    }
}

static void hide_prompt(HmpTerminal *terminal)
{
    rl_callback_handler_remove();
    g_clear_handle_id(&terminal->source, g_source_remove);
}

static void on_done(const char *text, gpointer opaque)
{
    HmpTerminal *terminal = opaque;

    terminal->request = NULL;
    fputs(text, stdout);
    show_prompt(terminal);
}

static void remember(const char *line)
{
    HIST_ENTRY *last = history_length > 0 ? history_get(history_base + history_length - 1) : NULL;

    if (*line && (!last || g_strcmp0(last->line, line) != 0)) {
        add_history(line);
    }
}

static gboolean run_line(gpointer opaque)
{
    HmpTerminal *terminal = opaque;
    g_autofree char *line = g_steal_pointer(&terminal->line);

    terminal->run_source = 0;
    hide_prompt(terminal);
    if (line) {
        terminal->request = hmp_request_new(on_done, terminal);
        hmp_execute(terminal->context, line, terminal->request);
    } else {
        /* The program serves on; only this monitor is done. */
        terminal->ended = TRUE;
        puts("");
        fflush(stdout);
    }
    return G_SOURCE_REMOVE;
}

/*
 * The library has a whole LINE (allocated with malloc), or NULL at the end of input. It switches
 * the terminal once more when this returns, so the line is carried out after that.
 */
static void on_line(char *line)
{
    if (line) {
        remember(line);
        the_terminal->line = g_strdup(line);
        free(line);
    }
    g_clear_handle_id(&the_terminal->source, g_source_remove);
    the_terminal->run_source = g_idle_add(run_line, the_terminal);
}

/* Called until it returns NULL; the strings are freed by the library. */
static char *next_completion(const char *text, int state)
{
    HmpTerminal *terminal = the_terminal;
    const char *word;

    (void)text;
    if (state == 0) {
        terminal->next_completion = 0;
    }
    word = terminal->completions ? terminal->completions[terminal->next_completion] : NULL;
    if (!word) {
        return NULL;
    }
    terminal->next_completion++;
    return strdup(word);
}

static char **complete(const char *text, int start, int end)
{
    g_autofree char *line = g_strndup(rl_line_buffer, end);
    char **matches;

    (void)start;
    rl_attempted_completion_over = 1; /* never names of files */
    the_terminal->completions = hmp_complete(line);
    matches = rl_completion_matches(text, next_completion);
    g_clear_pointer(&the_terminal->completions, g_strfreev);
    return matches;
}

HmpTerminal *hmp_terminal_new(QmpContext *context)
{
    HmpTerminal *terminal;

    if (the_terminal || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        return NULL;
    }
    terminal = g_new0(HmpTerminal, 1);
    terminal->context = qmp_context_ref(context);
    the_terminal = terminal;
    rl_readline_name = "snprelay";
    rl_catch_signals =
        0; /* the main loop's handlers stay; the library would put back the actions that it found */
    rl_getc_function = read_character;
    rl_initialize();
    rl_attempted_completion_function = complete;
    printf("snprelay %s monitor - type 'help' for more information\n", snprelay_version());
    show_prompt(terminal);
    return terminal;
}

void hmp_terminal_free(HmpTerminal *terminal)
{
    if (terminal->request) {
        hmp_request_abandon(terminal->request);
    }
    g_clear_handle_id(&terminal->run_source, g_source_remove);
    hide_prompt(terminal);
    fflush(stdout);
    g_free(terminal->line);
    qmp_context_unref(terminal->context);
    g_free(terminal);
    the_terminal = NULL;
}

gboolean hmp_terminal_interrupt(HmpTerminal *terminal)
{
    if (terminal->ended) {
        return FALSE;
    }
    if (terminal->run_source) {
        return TRUE;
    }
    if (terminal->request) {
        hmp_request_abandon(g_steal_pointer(&terminal->request));
        printf("\nThe command goes on; 'quit' ends the program.\n");
    } else {
        hide_prompt(terminal);
        printf("\n");
    }
    show_prompt(terminal);
    return TRUE;
}

#else

HmpTerminal *hmp_terminal_new(QmpContext *context)
{
    (void)context;
    return NULL;
}

void hmp_terminal_free(HmpTerminal *terminal)
{
    (void)terminal;
}

gboolean hmp_terminal_interrupt(HmpTerminal *terminal)
{
    (void)terminal;
    return FALSE;
}

#endif
