/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client of a running QEMU's QMP socket.
 *
 * QEMU serves one client at a time, so a program has one of these and shares it: it is counted by
 * reference, any number of commands may be under way, and any number of watchers hear QEMU's
 * events. Nothing here blocks. All functions are for the thread of the default main context, and
 * all callbacks are made from it.
 */
#ifndef QMP_QEMU_CLIENT_H
#define QMP_QEMU_CLIENT_H

#include <json-glib/json-glib.h>
#include <sys/socket.h>

typedef struct QmpQemu QmpQemu;

typedef struct QmpQemuWatcher {
    /* QEMU has greeted and takes commands. Called once, unless that was so already. May be NULL. */
    void (*ready)(QmpQemu *qemu, gpointer opaque);
    /* QEMU sent EVENT (with "event", "data", "timestamp"), valid during the call. May be NULL. */
    void (*event)(QmpQemu *qemu, JsonObject *event, gpointer opaque);
    /* The connection ended, or never stood; REASON is qmp_qemu_get_error(). Called once. May be
     * NULL. */
    void (*closed)(QmpQemu *qemu, const GError *reason, gpointer opaque);
} QmpQemuWatcher;

/*
 * Takes the answer to a command: REPLY is QEMU's object with "return" or "error", without an "id",
 * valid during the call (what is to be kept is referenced); or it is NULL and ERROR says why there
 * will be no answer.
 */
typedef void (*QmpQemuFunc)(JsonObject *reply, const GError *error, gpointer opaque);

/* Begins to connect to the Unix socket at PATH. How it ends is told to the watchers and to the
 * commands. */
QmpQemu *qmp_qemu_new(const char *path);

QmpQemu *qmp_qemu_ref(QmpQemu *qemu);
/* With the last reference the connection is closed; commands that are under way are answered with
 * an error first. */
void qmp_qemu_unref(QmpQemu *qemu);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QmpQemu, qmp_qemu_unref)

/* Ends the connection now: outstanding commands and the watchers are told so. Does nothing when it
 * has ended already. */
void qmp_qemu_close(QmpQemu *qemu);

/* Adds a watcher (WATCHER must live as long); returns its number for qmp_qemu_unwatch(). Nothing is
 * told of the past. */
gulong qmp_qemu_watch(QmpQemu *qemu, const QmpQemuWatcher *watcher, gpointer opaque);
void qmp_qemu_unwatch(QmpQemu *qemu, gulong number);

/*
 * Sends COMMAND, an object with "execute" or "exec-oob" and perhaps "arguments" (an "id" is
 * replaced, so COMMAND is changed), with the descriptor FD (taken over; -1: none). Commands go out
 * in this order, as soon as QEMU has greeted; one with a descriptor waits until the one before it
 * was answered, because QEMU keeps only the last. DONE (may be NULL) is called exactly once, never
 * before this returns.
 */
void qmp_qemu_execute(QmpQemu *qemu, JsonObject *command, int fd, QmpQemuFunc done,
                      gpointer opaque);

/* The same for the command NAME with ARGUMENTS (taken over; NULL: none). */
void qmp_qemu_command(QmpQemu *qemu, const char *name, JsonObject *arguments, QmpQemuFunc done,
                      gpointer opaque);

/* The same for LINE of the human monitor; its answer, errors too, is the text in "return". */
void qmp_qemu_human(QmpQemu *qemu, const char *line, QmpQemuFunc done, gpointer opaque);

/* The "return" of REPLY (REPLY's), or NULL with its "error" as a QMP_ERROR of that class, or with a
 * copy of WHY_NONE. */
JsonNode *qmp_qemu_result(JsonObject *reply, const GError *why_none, GError **error);

/* The greeting as QEMU sent it ({"QMP": ...}), NULL before it came. Borrowed. */
JsonObject *qmp_qemu_get_greeting(QmpQemu *qemu);

/* Whether commands may be executed out of band: QEMU offered it, and then it is enabled. */
gboolean qmp_qemu_has_oob(QmpQemu *qemu);

/* Whether QEMU takes commands now. */
gboolean qmp_qemu_is_ready(QmpQemu *qemu);

/* Why there is no connection (any more); NULL while there is one, or while it is being made.
 * Borrowed. */
const GError *qmp_qemu_get_error(QmpQemu *qemu);

/* Who made the socket (SO_PEERCRED). FALSE while not connected. */
gboolean qmp_qemu_get_peer(QmpQemu *qemu, struct ucred *peer);

/* The socket's path. */
const char *qmp_qemu_get_path(QmpQemu *qemu);

#endif
