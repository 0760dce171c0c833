/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The questions to QEMU; what the answers mean is told by qemu-memory.c. */
#include "qmp/qemu-page.h"

#include <inttypes.h>

#include "qmp/qmp-error.h"
#include "snprelay/snprelay.h"

#define SEV_POLICY_ES 0x4 /* in a SEV guest's policy: its registers are encrypted, too */

typedef struct Question {
    QmpQemuPageFunc done;
    gpointer opaque;
    uint64_t address;
    char *gpa2hva;
    GError *error; /* the first */
} Question;

/* The text of a human monitor's answer, or NULL with *ERROR (when it is not set yet). */
static char *take_text(JsonObject *reply, const GError *why_none, GError **error)
{
    g_autoptr(GError) reason = NULL;
    JsonNode *node = qmp_qemu_result(reply, why_none, &reason);
    const char *text = node ? json_node_get_string(node) : NULL;

    if (!text && !*error) {
        if (!reply) {
            *error = g_steal_pointer(&reason);
        } else {
            *error = g_error_new(SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
                                 "QEMU was asked where the guest's memory is "
                                 "(human-monitor-command), and refused: %s",
                                 reason ? reason->message : "it gave no text");
        }
    }
    return g_strdup(text);
}

static void on_gpa2hva(JsonObject *reply, const GError *error, gpointer opaque)
{
    Question *question = opaque;

    question->gpa2hva = take_text(reply, error, &question->error);
}

/* The second of the two answers. */
static void on_flat_view(JsonObject *reply, const GError *error, gpointer opaque)
{
    Question *question = opaque;
    g_autofree char *text = take_text(reply, error, &question->error);
    QmpQemuPage page = {0};

    if (!question->error) {
        qmp_qemu_judge_page(question->address, question->gpa2hva, text, &page, &question->error);
    }
    question->done(question->error ? NULL : &page, question->error, question->opaque);
    qmp_qemu_page_clear(&page);
    g_clear_error(&question->error);
    g_free(question->gpa2hva);
    g_free(question);
}

void qmp_qemu_find_page(QmpQemu *qemu, uint64_t address, QmpQemuPageFunc done, gpointer opaque)
{
    g_autofree char *gpa2hva = g_strdup_printf("gpa2hva 0x%" PRIx64, address);
    Question *question = g_new0(Question, 1);

    question->done = done;
    question->opaque = opaque;
    question->address = address;
    qmp_qemu_human(qemu, gpa2hva, on_gpa2hva, question);
    qmp_qemu_human(qemu, "info mtree -f", on_flat_view, question);
}

/* ---- The guest's kind
 * ------------------------------------------------------------------------------ */

typedef struct KindQuestion {
    QmpQemuKindFunc done;
    gpointer opaque;
} KindQuestion;

static JsonNode *member(JsonObject *object, const char *name, GType type)
{
    JsonNode *node = json_object_get_member(object, name);

    return node && json_node_get_value_type(node) == type ? node : NULL;
}

/* SEV is the answer to query-sev. */
static char *describe_sev(JsonObject *sev)
{
    JsonNode *enabled = member(sev, "enabled", G_TYPE_BOOLEAN);
    JsonNode *type = member(sev, "sev-type", G_TYPE_STRING);
    JsonNode *state = member(sev, "state", G_TYPE_STRING);
    JsonNode *policy = member(sev, "policy", G_TYPE_INT64);
    const char *name = "SEV";

    if (!enabled || !json_node_get_boolean(enabled)) {
        return g_strdup("plain");
    }
    if (type && g_str_equal(json_node_get_string(type), "sev-snp")) {
        name = "SEV-SNP";
    } else if (policy && (json_node_get_int(policy) & SEV_POLICY_ES)) {
        name = "SEV-ES";
    }
    return g_strdup_printf("AMD %s (%s)", name, state ? json_node_get_string(state) : "no state");
}

static void on_sev(JsonObject *reply, const GError *error, gpointer opaque)
{
    KindQuestion *question = opaque;
    JsonNode *sev = qmp_qemu_result(reply, error, NULL);
    g_autofree char *kind = NULL;

    if (reply) { /* an error: this QEMU knows no SEV */
        kind = sev && JSON_NODE_HOLDS_OBJECT(sev) ? describe_sev(json_node_get_object(sev))
                                                  : g_strdup("plain");
    }
    question->done(kind, error, question->opaque);
    g_free(question);
}

void qmp_qemu_query_kind(QmpQemu *qemu, QmpQemuKindFunc done, gpointer opaque)
{
    KindQuestion *question = g_new0(KindQuestion, 1);

    question->done = done;
    question->opaque = opaque;
    qmp_qemu_command(qemu, "query-sev", NULL, on_sev, question);
}
