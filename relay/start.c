/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting a migration: everything that can be refused is refused first, then the page is asked for, then it runs. */
#include "relay/relay.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "migpage/guest-memory.h"
#include "migpage/layout.h"
#include "relay/start.h"

/* A start that waits for its page. Owned by whoever answers it; the relay points to it meanwhile. */
struct SnprelayMapRequest {
    SnprelayRelay *relay;
    gboolean incoming, force;
    GError *cancelled; /* why it is given up before the page came */
    uint64_t address;
    TransportUri *uri;
    RelayParameters *parameters;
    TransportTls *tls;
    int fd;
    SnprelayReadyFunc ready;
    gpointer ready_opaque;
};

static void free_request(SnprelayMapRequest *request)
{
    g_clear_error(&request->cancelled);
    g_clear_pointer(&request->uri, transport_uri_free);
    g_clear_pointer(&request->parameters, relay_parameters_free);
    g_clear_pointer(&request->tls, transport_tls_unref);
    if (request->fd >= 0) {
        close(request->fd);
    }
    relay_unref(request->relay);
    g_free(request);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SnprelayMapRequest, free_request)

/* ---- Checks ---------------------------------------------------------------------------------------- */

static gboolean check_idle(SnprelayRelay *relay, GError **error)
{
    g_autoptr(SnprelayInfo) info = snprelay_query(relay);

    if (!relay->mapping && !relay->starting && snprelay_status_is_final(info->status)) {
        return TRUE;
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_STATE,
                "a migration is already under way (%s); cancel it first, or wait for its end",
                relay->mapping || relay->starting ? "starting"
                                                  : snprelay_status_name(info->status));
    return FALSE;
}

static gboolean check_plain_text(SnprelayRelay *relay, const TransportUri *uri, GError **error)
{
    if (*relay->parameters->tls_creds || transport_uri_is_local(uri)) {
        return TRUE;
    }
    if (relay->policy & SNPRELAY_POLICY_REQUIRE_TLS) {
        g_set_error(
            error, SNPRELAY_ERROR, SNPRELAY_ERROR_POLICY,
            "%s is not encrypted and leaves this host, which --require-tls forbids; set the "
            "parameter tls-creds",
            uri->text);
        return FALSE;
    }
    if (relay->callbacks.warning) {
        g_autofree char *text = g_strdup_printf(
            "%s is not encrypted and leaves this host: a guest's memory may be in it (see the "
            "parameter tls-creds, and --require-tls)",
            uri->text);

        relay->callbacks.warning(relay, text, relay->opaque);
    }
    return TRUE;
}

static gboolean check_exec(SnprelayRelay *relay, const TransportUri *uri, GError **error)
{
    if (uri->kind != TRANSPORT_EXEC || (relay->policy & SNPRELAY_POLICY_ALLOW_EXEC)) {
        return TRUE;
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_POLICY,
                "%s: exec is only allowed when the program was started with --allow-exec",
                uri->text);
    return FALSE;
}

TransportUri *relay_check_uri(SnprelayRelay *relay, const char *text, GError **error)
{
    g_autoptr(TransportUri) uri = NULL;
    g_autoptr(GError) reason = NULL;

    uri = transport_uri_parse(text, &reason);
    if (!uri) {
        g_set_error_literal(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID, reason->message);
        return NULL;
    }
    if (!check_exec(relay, uri, error) || !check_plain_text(relay, uri, error)) {
        return NULL;
    }
    return g_steal_pointer(&uri);
}

/* A number must be of a descriptor that was handed to the program: ours are all closed on exec, and not to be taken. */
static gboolean check_inherited(int number, GError **error)
{
    int flags = fcntl(number, F_GETFD);

    if (flags >= 0 && !(flags & FD_CLOEXEC)) {
        return TRUE;
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                flags < 0 ? "file descriptor %d is not open: was it inherited?"
                          : "file descriptor %d is in use by this program itself",
                number);
    return FALSE;
}

/* Something must stay at the number of a standard stream, or messages go to whatever gets it next. */
static int take_standard(int number)
{
    int own = fcntl(number, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (own >= 0 && null >= 0) {
        dup3(null, number, 0);
    }
    if (null >= 0) {
        close(null);
    }
    return own >= 0 ? own : number;
}

int relay_take_inherited(const TransportUri *uri, int fd)
{
    if (uri->kind != TRANSPORT_FD || fd >= 0 || uri->fd_number < 0) {
        return fd;
    }
    if (uri->fd_number <= STDERR_FILENO) {
        return take_standard(uri->fd_number);
    }
    fcntl(uri->fd_number, F_SETFD, FD_CLOEXEC);
    return uri->fd_number;
}

gboolean relay_take_descriptor(SnprelayRelay *relay, const TransportUri *uri, int *fd,
                               GError **error)
{
    gpointer name, number;

    *fd = -1;
    if (uri->kind != TRANSPORT_FD) {
        return TRUE;
    }
    if (uri->fd_number >= 0) {
        return check_inherited(uri->fd_number,
                               error); /* it is taken when nothing can be refused any more */
    }
    if (!g_hash_table_steal_extended(relay->descriptors, uri->fd_name, &name, &number)) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "no file descriptor was handed over as '%s' (QMP command getfd)", uri->fd_name);
        return FALSE;
    }
    g_free(name);
    *fd = GPOINTER_TO_INT(number);
    return TRUE;
}

static gboolean load_tls(SnprelayMapRequest *request, GError **error)
{
    const RelayParameters *parameters = request->parameters;
    g_autoptr(GError) reason = NULL;

    if (!*parameters->tls_creds) {
        return TRUE;
    }
    request->tls =
        transport_tls_load(parameters->tls_creds, request->incoming,
                           *parameters->tls_hostname ? parameters->tls_hostname : NULL,
                           *parameters->tls_authz ? parameters->tls_authz : NULL, &reason);
    if (!request->tls) {
        g_set_error_literal(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID, reason->message);
    }
    return request->tls != NULL;
}

static gboolean check_start(SnprelayMapRequest *request, const char *uri, GError **error)
{
    SnprelayRelay *relay = request->relay;

    if (!check_idle(relay, error) || !migpage_address_check(request->address, error)) {
        return FALSE;
    }
    request->uri = relay_check_uri(relay, uri, error);
    request->parameters = relay_parameters_copy(relay->parameters);
    return request->uri && load_tls(request, error) &&
           relay_take_descriptor(relay, request->uri, &request->fd, error);
}

/* ---- The page is there ------------------------------------------------------------------------------ */

static gboolean prepare(Migration *m, GError **error)
{
    return relay_wakeup_init(&m->stream_wakeup, error) &&
           relay_wakeup_init(&m->page_wakeup, error) &&
           (m->incoming || relay_window_init(&m->window, m->parameters->window, error));
}

/* A completed destination may still listen for a source that missed the end: its port is wanted now. */
static void settle(SnprelayRelay *relay)
{
    Migration *last = relay->migration;

    if (last && last->stream_thread) {
        g_mutex_lock(&last->lock);
        last->requests.quit = TRUE;
        g_mutex_unlock(&last->lock);
        relay_migration_wake(last, TRUE);
        g_thread_join(g_steal_pointer(&last->stream_thread));
    }
}

/* Takes M over. */
static gboolean run_incoming(SnprelayMapRequest *request, Migration *m, GError **error)
{
    m->ready = request->ready;
    m->ready_opaque = request->ready_opaque;
    request->relay->starting = m;
    if (!relay_migration_start(m, error)) {
        request->relay->starting = NULL;
        relay_migration_free(m);
        return FALSE;
    }
    request->ready = NULL; /* the stream thread answers when it listens */
    return TRUE;
}

/* Takes M over. */
static void run_outgoing(SnprelayRelay *relay, Migration *m)
{
    g_autoptr(GError) error = NULL;

    relay_adopt(relay, m);
    relay_migration_event(m, RELAY_EVENT_START, NULL);
    if (!relay_migration_start(m, &error)) {
        relay_migration_finish(m, OUTCOME_FAILED, error);
        m->notify.settled(m->notify.opaque);
    }
}

/* Takes PAGE over. */
static gboolean run(SnprelayMapRequest *request, MigPage *page, GError **error)
{
    SnprelayRelay *relay = request->relay;
    MigrationNotify notify = relay_notify(relay);
    Migration *m;
    int fd = request->fd;

    request->fd = -1;
    request->parameters->max_bandwidth =
        relay->parameters->max_bandwidth; /* may have changed meanwhile */
    m = relay_migration_new(request->incoming, g_steal_pointer(&request->uri), request->address,
                            g_steal_pointer(&request->parameters), g_steal_pointer(&request->tls),
                            fd, &notify);
    m->page = page;
    m->force = request->force;
    m->allow_exec = (relay->policy & SNPRELAY_POLICY_ALLOW_EXEC) != 0;
    if (!prepare(m, error) || !migpage_check_startable(page, m->force, error)) {
        relay_migration_free(m);
        return FALSE;
    }
    m->fd = relay_take_inherited(m->uri, m->fd);
    settle(relay);
    if (m->incoming) {
        return run_incoming(request, m, error);
    }
    run_outgoing(relay, m);
    return TRUE;
}

static void answer(SnprelayMapRequest *request, const GError *error)
{
    if (request->ready) {
        request->ready(request->relay, error, request->ready_opaque);
    }
}

/* The relay was closed or not, the request is freed here. */
static void deliver_page(RelayNote *note)
{
    SnprelayMapRequest *request = note->request;
    g_autoptr(GError) error = g_steal_pointer(&note->error);

    note->relay->mapping = NULL;
    if (request->cancelled) {
        relay_replace_error(&error, g_steal_pointer(&request->cancelled));
    } else if (!error) {
        run(request, g_steal_pointer(&note->page), &error);
    }
    answer(request, error);
}

static void post_page(SnprelayMapRequest *request, MigPage *page, GError *error)
{
    RelayNote *note = g_new0(RelayNote, 1);

    note->deliver = deliver_page;
    note->request = request;
    note->page = page;
    note->error = error;
    relay_post(request->relay, note);
}

void relay_map_request_free(SnprelayMapRequest *request)
{
    free_request(request);
}

void relay_map_request_cancel(SnprelayMapRequest *request, const GError *reason)
{
    g_clear_error(&request->cancelled);
    request->cancelled =
        reason ? g_error_copy(reason)
               : g_error_new(SNPRELAY_ERROR, SNPRELAY_ERROR_CANCELLED, "cancelled by command");
}

void snprelay_map_done(SnprelayMapRequest *request, void *host, GDestroyNotify release,
                       gpointer release_opaque)
{
    post_page(request, migpage_new_mapped(host, release, release_opaque), NULL);
}

void snprelay_map_access(SnprelayMapRequest *request, const SnprelayAccess *access, gpointer opaque,
                         GDestroyNotify release)
{
    post_page(request, migpage_new_access(access, opaque, release), NULL);
}

void snprelay_map_failed(SnprelayMapRequest *request, GError *error)
{
    post_page(request, NULL, error);
}

/* ---- The commands ---------------------------------------------------------------------------------- */

static void start(SnprelayRelay *relay, gboolean incoming, const char *uri, uint64_t address,
                  SnprelayFlags flags, SnprelayReadyFunc ready, gpointer opaque)
{
    g_autoptr(SnprelayMapRequest) request = g_new0(SnprelayMapRequest, 1);
    g_autoptr(GError) error = NULL;

    request->relay = relay_ref(relay);
    request->incoming = incoming;
    request->force = (flags & SNPRELAY_FLAG_FORCE) != 0;
    request->address = address;
    request->fd = -1;
    request->ready = ready;
    request->ready_opaque = opaque;
    if (!check_start(request, uri, &error)) {
        answer(request, error);
        return;
    }
    relay->mapping = request;
    relay->callbacks.map_page(g_steal_pointer(&request), address, relay->opaque);
}

void snprelay_migrate(SnprelayRelay *relay, const char *uri, uint64_t address, SnprelayFlags flags,
                      SnprelayReadyFunc ready, gpointer opaque)
{
    start(relay, FALSE, uri, address, flags, ready, opaque);
}

void snprelay_migrate_incoming(SnprelayRelay *relay, const char *uri, uint64_t address,
                               SnprelayFlags flags, SnprelayReadyFunc ready, gpointer opaque)
{
    start(relay, TRUE, uri, address, flags, ready, opaque);
}
