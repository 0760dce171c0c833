/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Both answers are needed: gpa2hva gives the host address, and gives it for ROM as well; the flat
 * view of the address space "memory" tells what kind of memory is there, and where the RAM is.
 */
#include "qmp/qemu-memory.h"

#include <inttypes.h>
#include <string.h>

#include "snprelay/snprelay.h"

#define SHOWN_RANGES 8

typedef struct Range {
    uint64_t first, last;
    char *kind; /* "ram", "rom", "romd", "ramd", "i/o" */
    char *name;
} Range;

static void range_clear(gpointer data)
{
    Range *range = data;

    g_free(range->kind);
    g_free(range->name);
}

void qmp_qemu_page_clear(QmpQemuPage *page)
{
    g_clear_pointer(&page->block, g_free);
}

/* Reads "  0000000000000000-00000000000bffff (prio 0, ram): pc.ram @0000000000000000". */
static gboolean parse_range(const char *line, Range *range)
{
    static GRegex *format;
    g_autoptr(GMatchInfo) match = NULL;
    g_autofree char *first = NULL, *last = NULL;

    if (!format) {
        format = g_regex_new("^ *([0-9a-f]{16})-([0-9a-f]{16}) \\(prio -?[0-9]+, ([^)]+)\\): "
                             "(.*?)(?: @[0-9a-f]{16})?(?: KVM)? *$",
                             G_REGEX_OPTIMIZE, 0, NULL);
    }
    if (!g_regex_match(format, line, 0, &match)) {
        return FALSE;
    }
    first = g_match_info_fetch(match, 1);
    last = g_match_info_fetch(match, 2);
    range->first = g_ascii_strtoull(first, NULL, 16);
    range->last = g_ascii_strtoull(last, NULL, 16);
    range->kind = g_match_info_fetch(match, 3);
    range->name = g_match_info_fetch(match, 4);
    return TRUE;
}

/* The ranges of the address space "memory"; empty when it is not found. */
static GArray *parse_flat_view(const char *text)
{
    GArray *ranges = g_array_new(FALSE, TRUE, sizeof(Range));
    g_auto(GStrv) lines = g_strsplit_set(text, "\r\n", -1);
    gboolean inside = FALSE;

    g_array_set_clear_func(ranges, range_clear);
    for (char **line = lines; *line; line++) {
        Range range;

        if (g_str_has_prefix(*line, "FlatView #")) {
            inside = FALSE;
        } else if (g_str_has_prefix(g_strchug(*line), "AS \"memory\",")) {
            inside = TRUE;
        } else if (inside && parse_range(*line, &range)) {
            g_array_append_val(ranges, range);
        }
    }
    return ranges;
}

/* "0x0-0xbffff, 0x100000-0x3ffffff" */
static char *describe_ram(GArray *ranges)
{
    GString *text = g_string_new(NULL);
    guint shown = 0;

    for (guint i = 0; i < ranges->len; i++) {
        const Range *range = &g_array_index(ranges, Range, i);

        if (!g_str_equal(range->kind, "ram")) {
            continue;
        }
        if (shown++ == SHOWN_RANGES) {
            g_string_append(text, ", ...");
            break;
        }
        g_string_append_printf(text, "%s0x%" PRIx64 "-0x%" PRIx64, text->len ? ", " : "",
                               range->first, range->last);
    }
    return g_string_free(text, FALSE);
}

static const Range *find_range(GArray *ranges, uint64_t first, uint64_t last)
{
    for (guint i = 0; i < ranges->len; i++) {
        const Range *range = &g_array_index(ranges, Range, i);

        if (range->first <= last && range->last >= first) {
            return range;
        }
    }
    return NULL;
}

/* What RANGE, in the page from ADDRESS on, is instead of RAM; NULL: it is RAM. */
static char *why_not(const Range *range, uint64_t address)
{
    if (!range) {
        return g_strdup("there is no memory");
    }
    if (g_str_has_prefix(range->kind, "rom")) {
        return g_strdup_printf("there is read-only memory (%s)", range->name);
    }
    if (g_str_equal(range->kind, "i/o")) {
        return g_strdup_printf("there is a device (%s)", range->name);
    }
    if (!g_str_equal(range->kind, "ram")) {
        return g_strdup_printf("there is a device's memory (%s, %s)", range->name, range->kind);
    }
    if (range->first > address || range->last - address < SNPRELAY_PAGE_SIZE - 1) {
        return g_strdup_printf("only a part of the page is RAM (%s)", range->name);
    }
    return NULL;
}

static gboolean check_kind(uint64_t address, const char *flat_view, GError **error)
{
    g_autoptr(GArray) ranges = parse_flat_view(flat_view);
    g_autofree char *ram = describe_ram(ranges);
    g_autofree char *reason = NULL;

    if (!*ram) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
                    "QEMU's answer to 'info mtree -f' names no RAM in the address space 'memory'");
        return FALSE;
    }
    reason = why_not(find_range(ranges, address, address + (SNPRELAY_PAGE_SIZE - 1)), address);
    if (reason) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
                    "address 0x%" PRIx64 " is outside the guest's RAM, which is %s: %s. Give the "
                    "address that the guest's SVSM printed",
                    address, ram, reason);
    }
    return reason == NULL;
}

/* Reads "Host virtual address for 0x1000000 (ram0) is 0x7f4f10fff000". */
static gboolean parse_gpa2hva(const char *text, uint64_t address, QmpQemuPage *page, GError **error)
{
    g_autofree char *begin = g_strdup_printf("Host virtual address for 0x%" PRIx64 " (", address);
    const char *name = g_str_has_prefix(text, begin) ? text + strlen(begin) : NULL;
    const char *end = name ? g_strrstr(name, ") is 0x") : NULL;
    g_autofree char *shown = NULL;

    if (end) {
        page->hva = g_ascii_strtoull(end + strlen(") is 0x"), NULL, 16);
    }
    if (end && page->hva != 0) {
        page->block = g_strndup(name, (gsize)(end - name));
        return TRUE;
    }
    shown = g_strstrip(g_strdup(text));
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
                "QEMU was asked where the page at 0x%" PRIx64 " is (gpa2hva), and said: '%.200s'",
                address, shown);
    return FALSE;
}

gboolean qmp_qemu_judge_page(uint64_t address, const char *gpa2hva, const char *flat_view,
                             QmpQemuPage *page, GError **error)
{
    return check_kind(address, flat_view, error) && parse_gpa2hva(gpa2hva, address, page, error);
}
