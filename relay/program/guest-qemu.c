/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Brings together what QEMU says (qmp/) and what its process has (migpage/), and watches both: a
 * mapped page stays valid when QEMU is killed and after its guest was reset, only nobody answers in
 * it any more.
 *
 * A page is found anew for each start: after a reset, or after the guest shared it anew, it may lie
 * somewhere else.
 */
#include "relay/program/guest-qemu.h"

#include <glib-unix.h>
#include <string.h>

#include "migpage/page.h"
#include "migpage/qemu-page.h"
#include "qmp/qemu-page.h"

#define HANG_UP_MS 500 /* QEMU's sockets close a moment before it has ended */

struct GuestQemu {
    gboolean access; /* access=ptrace */
    QmpQemu *client;
    gulong client_watch;
    MigPageProcess *process; /* NULL: not connected yet, or PROCESS_ERROR */
    GError *process_error;
    guint process_watch, hang_up_timer;
    char *shutdown; /* why QEMU said that it shuts down */
    gboolean ended;
    MigPageQemu *page; /* what the relay was given last, perhaps closed by now */

    SnprelayRelay *relay;
    RelayGuestEndedFunc on_ended;
    gpointer opaque;
};

/* ---- What happens to the guest
 * ---------------------------------------------------------------------- */

/* A migration that runs cannot go on, unless its guest has done its part already. */
static void lose(GuestQemu *guest, const char *reason)
{
    g_autoptr(SnprelayInfo) info = NULL;

    if (!guest->relay || !guest->page || !migpage_qemu_is_open(guest->page)) {
        return;
    }
    info = snprelay_query(guest->relay);
    /* In SETUP a *completed* is the last migration's. */
    if (info->status != SNPRELAY_STATUS_SETUP && !snprelay_status_is_final(info->status) &&
        migpage_qemu_is_completed(guest->page)) {
        g_info("%s, after its part of the migration was done", reason);
        return;
    }
    snprelay_guest_gone(guest->relay, reason);
}

/* For good. */
static void end(GuestQemu *guest, const char *reason)
{
    if (guest->ended) {
        return;
    }
    guest->ended = TRUE;
    lose(guest, reason);
    if (guest->on_ended) {
        guest->on_ended(reason, guest->opaque);
    }
}

static gboolean on_process_end(gint fd G_GNUC_UNUSED, GIOCondition condition G_GNUC_UNUSED,
                               gpointer data)
{
    GuestQemu *guest = data;
    g_autofree char *reason = g_strdup_printf(
        "%s has ended%s%s%s", migpage_process_get_name(guest->process), guest->shutdown ? " (" : "",
        guest->shutdown ? guest->shutdown : "", guest->shutdown ? ")" : "");

    guest->process_watch = 0;
    end(guest, reason);
    return G_SOURCE_REMOVE;
}

/* QEMU goes on without its monitor: what happens to its guest would not be heard. */
static gboolean on_hang_up(gpointer data)
{
    GuestQemu *guest = data;

    guest->hang_up_timer = 0;
    end(guest, qmp_qemu_get_error(guest->client)->message);
    return G_SOURCE_REMOVE;
}

static void on_ready(QmpQemu *client, gpointer opaque)
{
    GuestQemu *guest = opaque;
    struct ucred peer = {0};

    qmp_qemu_get_peer(client, &peer);
    guest->process = migpage_process_open(peer.pid, &guest->process_error);
    if (guest->process) {
        guest->process_watch = g_unix_fd_add(migpage_process_get_pidfd(guest->process), G_IO_IN,
                                             on_process_end, guest);
    }
}

static const char *string_member(JsonObject *object, const char *name)
{
    JsonNode *node = object ? json_object_get_member(object, name) : NULL;
    const char *text = node ? json_node_get_string(node) : NULL;

    return text ? text : "no reason given";
}

static void on_event(QmpQemu *client G_GNUC_UNUSED, JsonObject *event, gpointer opaque)
{
    GuestQemu *guest = opaque;
    JsonNode *node = json_object_get_member(event, "data");
    JsonObject *data = node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
    const char *name = string_member(event, "event");
    g_autofree char *reason = NULL;

    if (g_str_equal(name, "RESET")) {
        reason = g_strdup_printf("the guest was reset (%s)", string_member(data, "reason"));
        lose(guest, reason);
    } else if (g_str_equal(name, "SHUTDOWN")) {
        g_free(guest->shutdown);
        guest->shutdown = g_strdup(string_member(data, "reason"));
        reason = g_strdup_printf("the guest was shut down (%s)", guest->shutdown);
        lose(guest, reason);
    }
}

static void on_closed(QmpQemu *client G_GNUC_UNUSED, const GError *reason, gpointer opaque)
{
    GuestQemu *guest = opaque;

    if (guest->process_watch) {
        guest->hang_up_timer = g_timeout_add(HANG_UP_MS, on_hang_up, guest);
    } else {
        end(guest, reason->message);
    }
}

void guest_qemu_watch(GuestQemu *guest, SnprelayRelay *relay, RelayGuestEndedFunc ended,
                      gpointer opaque)
{
    guest->relay = relay;
    guest->on_ended = ended;
    guest->opaque = opaque;
}

/* ---- Life
 * ------------------------------------------------------------------------------------------ */

/* "A,,B" stands for "A,B"; a single comma begins an option. */
static gboolean parse_spec(GuestQemu *guest, const char *spec, char **path, GError **error)
{
    g_autoptr(GRegex) format = g_regex_new("^qemu:((?:[^,]|,,)+)(?:,access=(map|ptrace))?$",
                                           G_REGEX_DOLLAR_ENDONLY, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    g_autofree char *quoted = NULL, *access = NULL;
    g_auto(GStrv) parts = NULL;

    if (!g_regex_match(format, spec, 0, &match)) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "--guest-memory %s: must be qemu:SOCKET, the path of QEMU's QMP socket, or "
                    "qemu:SOCKET,access=ptrace (a comma in the path is written twice)",
                    spec);
        return FALSE;
    }
    quoted = g_match_info_fetch(match, 1);
    access = g_match_info_fetch(match, 2);
    guest->access = g_strcmp0(access, "ptrace") == 0;
    parts = g_strsplit(quoted, ",,", -1);
    *path = g_strjoinv(",", parts);
    return TRUE;
}

GuestQemu *guest_qemu_new(const char *spec, GError **error)
{
    static const QmpQemuWatcher watcher = {on_ready, on_event, on_closed};
    g_autoptr(GuestQemu) guest = g_new0(GuestQemu, 1);
    g_autofree char *path = NULL;

    if (!parse_spec(guest, spec, &path, error)) {
        return NULL;
    }
    guest->client = qmp_qemu_new(path);
    guest->client_watch = qmp_qemu_watch(guest->client, &watcher, guest);
    return g_steal_pointer(&guest);
}

void guest_qemu_free(GuestQemu *guest)
{
    if (guest->client) {
        qmp_qemu_unwatch(guest->client, guest->client_watch);
        qmp_qemu_close(guest->client); /* answers what waits, while GUEST is still there */
        qmp_qemu_unref(guest->client);
    }
    if (guest->process_watch) {
        g_source_remove(guest->process_watch);
    }
    if (guest->hang_up_timer) {
        g_source_remove(guest->hang_up_timer);
    }
    g_clear_pointer(&guest->page, migpage_qemu_unref);
    g_clear_pointer(&guest->process, migpage_process_free);
    g_clear_error(&guest->process_error);
    g_free(guest->shutdown);
    g_free(guest);
}

QmpQemu *guest_qemu_get_client(GuestQemu *guest)
{
    return guest->client;
}

/* ---- The page
 * -------------------------------------------------------------------------------------- */

static MigPageQemu *open_page(GuestQemu *guest, const QmpQemuPage *found, gboolean writable,
                              GError **error)
{
    const MigPageQemuWanted wanted = {found->hva, found->block, writable, guest->access};

    if (!guest->process) {
        g_propagate_error(error, g_error_copy(guest->process_error));
        return NULL;
    }
    return migpage_qemu_new(guest->process, &wanted, error);
}

/* The relay's end of the page, from any thread. */
static void release_page(gpointer page)
{
    migpage_qemu_close(page);
    migpage_qemu_unref(page);
}

typedef struct MapLookup {
    GuestQemu *guest;
    SnprelayMapRequest *request;
} MapLookup;

static void on_found_to_map(const QmpQemuPage *found, const GError *error, gpointer opaque)
{
    g_autofree MapLookup *lookup = opaque;
    GuestQemu *guest = lookup->guest;
    GError *reason = error ? g_error_copy(error) : NULL;
    MigPageQemu *page = found ? open_page(guest, found, TRUE, &reason) : NULL;
    void *host;

    if (!page) {
        snprelay_map_failed(lookup->request, reason);
        return;
    }
    g_clear_pointer(&guest->page, migpage_qemu_unref);
    guest->page = migpage_qemu_ref(page);
    g_info("the migration page is %s", migpage_qemu_describe(page));
    host = migpage_qemu_get_host(page);
    if (host) {
        snprelay_map_done(lookup->request, host, release_page, page);
    } else {
        snprelay_map_access(lookup->request, &migpage_qemu_access, page, release_page);
    }
}

void guest_qemu_map(GuestQemu *guest, SnprelayMapRequest *request, uint64_t address)
{
    MapLookup *lookup = g_new0(MapLookup, 1);

    lookup->guest = guest;
    lookup->request = request;
    qmp_qemu_find_page(guest->client, address, on_found_to_map, lookup);
}

/* ---- For a person
 * ----------------------------------------------------------------------------------- */

typedef struct TextLookup {
    GuestQemu *guest;
    uint64_t address;
    char *kind; /* of guest */
    RelayGuestTextFunc done;
    gpointer opaque;
} TextLookup;

static void text_done(TextLookup *lookup, const char *text, const GError *error)
{
    lookup->done(text, error, lookup->opaque);
    g_free(lookup->kind);
    g_free(lookup);
}

static MigPage *wrap_page(MigPageQemu *page)
{
    void *host = migpage_qemu_get_host(page);

    return host ? migpage_new_mapped(host, release_page, page)
                : migpage_new_access(&migpage_qemu_access, page, release_page);
}

static char *describe(TextLookup *lookup, const QmpQemuPage *found, GError **error)
{
    GuestQemu *guest = lookup->guest;
    MigPageQemu *where = open_page(guest, found, FALSE, error);
    g_autoptr(MigPage) page = NULL;
    g_autofree char *memory = NULL;

    if (!where) {
        return NULL;
    }
    page = wrap_page(where);
    memory = g_strdup_printf("RAM '%s' of %s at qemu:%s\n"
                             "reached: %s\n"
                             "guest: %s",
                             found->block, migpage_process_get_name(guest->process),
                             qmp_qemu_get_path(guest->client), migpage_qemu_describe(where),
                             lookup->kind);
    return relay_describe_registers(page, lookup->address, memory, error);
}

static void on_found_to_describe(const QmpQemuPage *found, const GError *error, gpointer opaque)
{
    TextLookup *lookup = opaque;
    g_autoptr(GError) reason = error ? g_error_copy(error) : NULL;
    g_autofree char *text = found ? describe(lookup, found, &reason) : NULL;

    text_done(lookup, text, reason);
}

static void on_kind(const char *kind, const GError *error, gpointer opaque)
{
    TextLookup *lookup = opaque;

    if (!kind) {
        text_done(lookup, NULL, error);
        return;
    }
    lookup->kind = g_strdup(kind);
    qmp_qemu_find_page(lookup->guest->client, lookup->address, on_found_to_describe, lookup);
}

void guest_qemu_describe_page(GuestQemu *guest, uint64_t address, RelayGuestTextFunc done,
                              gpointer opaque)
{
    TextLookup *lookup = g_new0(TextLookup, 1);

    lookup->guest = guest;
    lookup->address = address;
    lookup->done = done;
    lookup->opaque = opaque;
    qmp_qemu_query_kind(guest->client, on_kind, lookup);
}
