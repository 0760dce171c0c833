/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* `snprelay serve`: the broker. Monitors start, ask and stop migrations until `quit` or a signal. */
#include <signal.h>

#include "qmp/monitors.h"
#include "qmp/qemu-extension.h"
#include "relay/program/program.h"

typedef struct Server {
    const Options *options;
    Guest *guest;
    GMainLoop *loop;
    SnprelayRelay *relay;
    Monitors *monitors;
    QmpExtension *extension; /* NULL: the monitors stand alone */
    gboolean guest_ended;    /* its QEMU */
    gboolean settled;        /* nothing that a migration began is still going on */
    int status;
} Server;

/* ---- From the relay --------------------------------------------------------------------------------- */

static void map_page(SnprelayMapRequest *request, uint64_t address, gpointer opaque)
{
    Server *server = opaque;

    relay_guest_map(server->guest, request, address);
}

static void log_status(const SnprelayInfo *info)
{
    g_autofree char *summary = NULL;

    switch (info->status) {
    case SNPRELAY_STATUS_COMPLETED:
        summary = relay_progress_summary(info);
        g_message("migration completed: %s", summary);
        break;
    case SNPRELAY_STATUS_FAILED:
    case SNPRELAY_STATUS_PAUSED:
    case SNPRELAY_STATUS_CANCELLED:
        g_message("migration %s: %s", snprelay_status_name(info->status), info->error_desc);
        break;
    default:
        g_info("migration %s", snprelay_status_name(info->status));
    }
}

static void on_status(SnprelayRelay *relay G_GNUC_UNUSED, const SnprelayInfo *info, gpointer opaque)
{
    Server *server = opaque;

    server->settled = FALSE;
    log_status(info);
    if (server->extension) {
        qmp_extension_status_changed(server->extension, info);
    }
    qmp_monitors_status_changed(server->monitors, info);
}

/* QEMU was told to quit, or its guest shut itself down: the relay's work is done. */
static gboolean has_shut_down(Server *server)
{
    return server->extension && qmp_extension_has_shut_down(server->extension);
}

static void quit_if_guest_ended(Server *server)
{
    if (server->guest_ended && server->settled) {
        server->status = has_shut_down(server) ? EXIT_COMPLETED : EXIT_FAILED;
        g_main_loop_quit(server->loop);
    }
}

/* What a completed migration still has to say to its peer is said before the end. */
static void on_settled(SnprelayRelay *relay G_GNUC_UNUSED, gpointer opaque)
{
    Server *server = opaque;

    server->settled = TRUE;
    quit_if_guest_ended(server);
}

static void on_guest_ended(const char *reason, gpointer opaque)
{
    Server *server = opaque;

    g_printerr("snprelay: %s%s\n", has_shut_down(server) ? "" : "error: ", reason);
    server->guest_ended = TRUE;
    quit_if_guest_ended(server);
}

static void on_stalled(SnprelayRelay *relay G_GNUC_UNUSED, uint64_t idle_ms, gpointer opaque)
{
    Server *server = opaque;

    g_warning("the guest has done nothing for %" G_GUINT64_FORMAT " ms", idle_ms);
    qmp_monitors_stalled(server->monitors, idle_ms);
}

static void on_warning(SnprelayRelay *relay G_GNUC_UNUSED, const char *message,
                       gpointer opaque G_GNUC_UNUSED)
{
    g_warning("%s", message);
}

/* ---- From monitors and signals ---------------------------------------------------------------------- */

static void on_quit(gpointer opaque)
{
    Server *server = opaque;

    g_main_loop_quit(server->loop);
}

static gboolean on_interrupt(gpointer data)
{
    Server *server = data;

    if (!qmp_monitors_interrupt(server->monitors)) {
        g_main_loop_quit(server->loop);
    }
    return G_SOURCE_CONTINUE;
}

static gboolean on_terminate(gpointer data)
{
    Server *server = data;

    g_main_loop_quit(server->loop);
    return G_SOURCE_CONTINUE;
}

static void on_page_text(const char *text, const GError *error, gpointer opaque)
{
    HmpRequest *request = opaque;

    hmp_request_printf(request, "%s\n", text ? text : error->message);
    hmp_request_done(request);
}

/* `info snp_page`: the page that the present or the last migration named. */
static void page_info(HmpRequest *request, gpointer opaque)
{
    Server *server = opaque;
    g_autoptr(SnprelayInfo) info = snprelay_query(server->relay);

    if (info->status == SNPRELAY_STATUS_NONE) {
        hmp_request_printf(request, "no migration has named a page yet\n");
        hmp_request_done(request);
    } else {
        relay_guest_describe_page(server->guest, info->address, on_page_text, request);
    }
}

/* ---- Life ------------------------------------------------------------------------------------------ */

static gboolean add_monitors(Server *server, QmpMonitorKind kind, char **addresses, GError **error)
{
    const char *option = kind == QMP_MONITOR_QMP ? "--qmp" : "--hmp";

    for (char **address = addresses; address && *address; address++) {
        g_autofree char *listening = NULL;

        if (!qmp_monitors_add(server->monitors, kind, *address, &listening, error)) {
            g_prefix_error(error, "%s %s: ", option, *address);
            return FALSE;
        }
        if (listening) {
            g_message("%s monitor on %s", kind == QMP_MONITOR_QMP ? "QMP" : "HMP", listening);
        }
    }
    return TRUE;
}

/*
 * In front of a running QEMU, the monitors show its greeting: there are none before it has come. When it does not come,
 * on_guest_ended() is told.
 */
static void extend_qemu(Server *server)
{
    QmpQemu *qemu = relay_guest_get_qemu(server->guest);

    while (qemu && !qmp_qemu_is_ready(qemu) && !server->guest_ended) {
        g_main_context_iteration(NULL, TRUE);
    }
    if (qemu && !server->guest_ended) {
        server->extension = qmp_extension_new(server->monitors, qemu);
    }
}

static gboolean open_monitors(Server *server, GError **error)
{
    const Options *options = server->options;

    extend_qemu(server);
    return server->guest_ended || (add_monitors(server, QMP_MONITOR_QMP, options->qmp, error) &&
                                   add_monitors(server, QMP_MONITOR_HMP, options->hmp, error) &&
                                   relay_options_enter_sandbox(options, error));
}

static gboolean set_up(Server *server, GError **error)
{
    const Options *options = server->options;
    const SnprelayCallbacks callbacks = {.map_page = map_page,
                                         .status_changed = on_status,
                                         .stalled = on_stalled,
                                         .settled = on_settled,
                                         .warning = on_warning};
    const QmpHooks hooks = {.quit = on_quit, .page_info = page_info, .opaque = server};

    server->guest = relay_guest_new(options->guest_memory, error);
    if (!server->guest) {
        return FALSE;
    }
    server->relay = snprelay_new(NULL, &callbacks,
                                 (options->allow_exec ? SNPRELAY_POLICY_ALLOW_EXEC : 0) |
                                     (options->require_tls ? SNPRELAY_POLICY_REQUIRE_TLS : 0),
                                 server);
    server->settled = TRUE;
    relay_guest_watch(server->guest, server->relay, on_guest_ended, server);
    server->monitors = qmp_monitors_new(server->relay, &hooks);
    qmp_monitors_set_insecure(server->monitors, options->insecure_monitor);
    if (!options->hmp && !options->qmp) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "serve needs a monitor: --hmp ADDR or --qmp ADDR (stdio, unix:PATH, "
                    "tcp:HOST:PORT, fd:N)");
        return FALSE;
    }
    return snprelay_set_parameters(server->relay,
                                   (const SnprelayParameterValue *)options->parameters->data,
                                   options->parameters->len, error) &&
           open_monitors(server, error);
}

static void serve(Server *server)
{
    guint signals[] = {
        relay_signal_add(SIGINT, on_interrupt, server),
        relay_signal_add(SIGTERM, on_terminate, server),
        relay_signal_add(SIGHUP, on_terminate, server),
    };

    g_main_loop_run(server->loop);
    for (size_t i = 0; i < G_N_ELEMENTS(signals); i++) {
        g_clear_handle_id(&signals[i], g_source_remove);
    }
}

static void tear_down(Server *server)
{
    g_clear_pointer(&server->monitors, qmp_monitors_free);
    g_clear_pointer(&server->extension, qmp_extension_free);
    g_clear_pointer(&server->relay, snprelay_free);
    g_clear_pointer(&server->guest, relay_guest_free);
    g_main_loop_unref(server->loop);
}

int relay_command_serve(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    Options options;
    Server server = {.options = &options, .loop = g_main_loop_new(NULL, FALSE)};

    if (!relay_options_parse(&options, OPTIONS_SERVE, argc, argv, &error) ||
        !set_up(&server, &error)) {
        server.status = relay_usage_error("serve", error);
    } else if (!server.guest_ended) {
        serve(&server);
    }
    tear_down(&server);
    relay_options_clear(&options);
    return server.status;
}
