/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* `snprelay send` and `snprelay receive`: one migration, then the exit status tells how it ended. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "qmp/qmp-info.h"
#include "relay/program/program.h"

typedef struct Transfer {
    const Options *options;
    gboolean incoming;
    Guest *guest;
    GMainLoop *loop;
    SnprelayRelay *relay;
    ProgressLine *line;
    guint give_up_timer; /* while paused */
    gboolean started;
    int status;
} Transfer;

static void map_page(SnprelayMapRequest *request, uint64_t address, gpointer opaque)
{
    Transfer *transfer = opaque;

    relay_guest_map(transfer->guest, request, address);
}

static gboolean give_up(gpointer data)
{
    Transfer *transfer = data;

    transfer->give_up_timer = 0;
    snprelay_guest_gone(transfer->relay,
                        "the connection stayed broken for longer than reconnect-timeout");
    return G_SOURCE_REMOVE;
}

static guint64 reconnect_timeout_ms(Transfer *transfer)
{
    SnprelayParameterValue *values = snprelay_get_parameters(transfer->relay);
    guint64 seconds = 0;
    size_t count;

    snprelay_parameters(&count);
    for (size_t i = 0; i < count; i++) {
        if (g_str_equal(values[i].name, "reconnect-timeout")) {
            seconds = values[i].number;
        }
    }
    snprelay_parameters_free(values);
    return seconds * 1000;
}

/* There is no monitor here from which a person could resume: a pause lasts as long as reconnecting is tried. */
static void watch_pause(Transfer *transfer, SnprelayStatus status)
{
    gboolean broken = status == SNPRELAY_STATUS_PAUSED || status == SNPRELAY_STATUS_RECOVERING;

    if (broken && !transfer->give_up_timer) {
        transfer->give_up_timer =
            g_timeout_add((guint)MIN(reconnect_timeout_ms(transfer), G_MAXUINT), give_up, transfer);
    } else if (!broken && transfer->give_up_timer) {
        g_source_remove(transfer->give_up_timer);
        transfer->give_up_timer = 0;
    }
}

static void on_status(SnprelayRelay *relay G_GNUC_UNUSED, const SnprelayInfo *info, gpointer opaque)
{
    Transfer *transfer = opaque;

    if (info->status == SNPRELAY_STATUS_PAUSED) {
        g_message("paused: %s", info->error_desc);
    } else if (info->status == SNPRELAY_STATUS_ACTIVE && info->reconnects > 0) {
        g_message("connected again");
    }
    watch_pause(transfer, info->status);
}

static void on_stalled(SnprelayRelay *relay G_GNUC_UNUSED, uint64_t idle_ms,
                       gpointer opaque G_GNUC_UNUSED)
{
    g_warning("the guest has done nothing for %" G_GUINT64_FORMAT " ms", idle_ms);
}

static void on_warning(SnprelayRelay *relay G_GNUC_UNUSED, const char *message,
                       gpointer opaque G_GNUC_UNUSED)
{
    g_warning("%s", message);
}

static void on_settled(SnprelayRelay *relay G_GNUC_UNUSED, gpointer opaque)
{
    Transfer *transfer = opaque;

    g_main_loop_quit(transfer->loop);
}

static void print_json(const SnprelayInfo *info)
{
    g_autoptr(JsonNode) node = qmp_info_to_json(info);
    g_autofree char *json = json_to_string(node, FALSE);

    puts(json);
}

/* It ended before it began: no migration is there to be asked. */
static void report_no_start(Transfer *transfer, SnprelayInfo *info, const GError *error)
{
    gboolean cancelled = g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_CANCELLED);
    gboolean wrong = g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID);

    g_printerr("snprelay: error: %s%s\n", cancelled ? "cancelled: " : "", error->message);
    transfer->status = wrong ? EXIT_USAGE : cancelled ? EXIT_CANCELLED : EXIT_FAILED;
    if (transfer->options->json && transfer->status != EXIT_USAGE) {
        info->status = cancelled ? SNPRELAY_STATUS_CANCELLED : SNPRELAY_STATUS_FAILED;
        info->incoming = transfer->incoming;
        info->address = transfer->options->address;
        info->uri = info->uri ? info->uri : g_strdup(transfer->options->uri);
        info->error_desc = g_strdup(error->message);
        print_json(info);
    }
}

static void on_ready(SnprelayRelay *relay, const GError *error, gpointer opaque)
{
    Transfer *transfer = opaque;
    g_autoptr(SnprelayInfo) info = snprelay_query(relay);

    if (transfer->status >= 0) {
        return; /* a signal came first */
    }
    if (error) {
        report_no_start(transfer, info, error);
        g_main_loop_quit(transfer->loop);
        return;
    }
    transfer->started = TRUE;
    for (char **uri = info->listening; uri && *uri; uri++) {
        g_printerr("listening on %s\n", *uri);
    }
}

static gboolean on_signal(gpointer data)
{
    Transfer *transfer = data;
    g_autoptr(SnprelayInfo) info = snprelay_query(transfer->relay);
    g_autoptr(GError) error = NULL;

    if (info->status == SNPRELAY_STATUS_COMPLETED) {
        g_main_loop_quit(
            transfer->loop); /* only a source that missed the end is still waited for */
    }
    snprelay_cancel(transfer->relay);
    if (!transfer->started) {
        /* A QEMU that says nothing must not delay this. */
        error = g_error_new(SNPRELAY_ERROR, SNPRELAY_ERROR_CANCELLED,
                            "cancelled by a signal before it began");
        on_ready(transfer->relay, error, transfer);
    }
    return G_SOURCE_CONTINUE;
}

static int report(Transfer *transfer)
{
    g_autoptr(SnprelayInfo) info = snprelay_query(transfer->relay);
    g_autofree char *summary = relay_progress_summary(info);

    if (transfer->options->json) {
        print_json(info);
    }
    if (info->status == SNPRELAY_STATUS_COMPLETED) {
        if (!transfer->options->json) {
            printf("completed: %s\n", summary);
        }
        return EXIT_COMPLETED;
    }
    g_printerr("snprelay: error: %s: %s\n", snprelay_status_name(info->status),
               info->error_desc ? info->error_desc : "no reason is known");
    return info->status == SNPRELAY_STATUS_CANCELLED ? EXIT_CANCELLED : EXIT_FAILED;
}

static int run(Transfer *transfer)
{
    const Options *options = transfer->options;
    SnprelayFlags flags = options->force ? SNPRELAY_FLAG_FORCE : SNPRELAY_FLAG_NONE;

    transfer->status = -1;
    transfer->line = relay_progress_line_new(transfer->relay);
    if (transfer->incoming) {
        snprelay_migrate_incoming(transfer->relay, options->uri, options->address, flags, on_ready,
                                  transfer);
    } else {
        snprelay_migrate(transfer->relay, options->uri, options->address, flags, on_ready,
                         transfer);
    }
    if (transfer->status < 0) {
        g_main_loop_run(transfer->loop);
    }
    relay_progress_line_free(transfer->line);
    return transfer->status < 0 ? report(transfer) : transfer->status;
}

static int set_up_and_run(Transfer *transfer, const char *command)
{
    const SnprelayCallbacks callbacks = {.map_page = map_page,
                                         .status_changed = on_status,
                                         .stalled = on_stalled,
                                         .settled = on_settled,
                                         .warning = on_warning};
    const Options *options = transfer->options;
    SnprelayPolicy policy = (options->allow_exec ? SNPRELAY_POLICY_ALLOW_EXEC : 0) |
                            (options->require_tls ? SNPRELAY_POLICY_REQUIRE_TLS : 0);
    g_autoptr(GError) error = NULL;
    int status;

    transfer->guest = relay_guest_new(options->guest_memory, &error);
    if (!transfer->guest) {
        return relay_usage_error(command, error);
    }
    transfer->loop = g_main_loop_new(NULL, FALSE);
    transfer->relay = snprelay_new(NULL, &callbacks, policy, transfer);
    relay_guest_watch(transfer->guest, transfer->relay, NULL, NULL);
    /* Until the program ends: a signal that comes last must not hide how the migration ended. */
    relay_signal_add(SIGINT, on_signal, transfer);
    relay_signal_add(SIGTERM, on_signal, transfer);
    relay_signal_add(SIGHUP, on_signal, transfer);
    status = snprelay_set_parameters(transfer->relay,
                                     (const SnprelayParameterValue *)options->parameters->data,
                                     options->parameters->len, &error) &&
                     relay_options_enter_sandbox(options, &error)
                 ? run(transfer)
                 : relay_usage_error(command, error);
    if (transfer->give_up_timer) {
        g_source_remove(transfer->give_up_timer);
    }
    snprelay_free(transfer->relay);
    g_main_loop_unref(transfer->loop);
    relay_guest_free(transfer->guest);
    return status;
}

static int command_transfer(const char *command, gboolean incoming, int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    Options options;
    Transfer transfer = {.options = &options, .incoming = incoming};
    int status;

    status =
        relay_options_parse(&options, incoming ? OPTIONS_RECEIVE : OPTIONS_SEND, argc, argv, &error)
            ? set_up_and_run(&transfer, command)
            : relay_usage_error(command, error);
    relay_options_clear(&options);
    return status;
}

int relay_command_send(int argc, char **argv)
{
    return command_transfer("send", FALSE, argc, argv);
}

int relay_command_receive(int argc, char **argv)
{
    return command_transfer("receive", TRUE, argc, argv);
}
