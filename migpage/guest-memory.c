/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ranges of guest memory that the command line names. */
#include "migpage/guest-memory.h"

#include <errno.h>
#include <inttypes.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migpage/layout.h"
#include "snprelay/snprelay.h"

typedef struct Range {
    char *name; /* "file:/dev/shm/vm1" */
    int fd;
    int original;               /* that fd was made from, or -1 */
    uint64_t offset, gpa, size; /* SIZE bytes from OFFSET of the file are the addresses GPA... */
} Range;

struct MigPageMemory {
    GPtrArray *ranges; /* of Range */
};

static void range_free(gpointer data)
{
    Range *range = data;

    if (range->fd >= 0) {
        close(range->fd);
    }
    g_free(range->name);
    g_free(range);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Range, range_free)

MigPageMemory *migpage_memory_new(void)
{
    MigPageMemory *memory = g_new0(MigPageMemory, 1);

    memory->ranges = g_ptr_array_new_with_free_func(range_free);
    return memory;
}

void migpage_memory_free(MigPageMemory *memory)
{
    g_ptr_array_unref(memory->ranges);
    g_free(memory);
}

gboolean migpage_parse_number(const char *text, gboolean suffix, uint64_t *value)
{
    static const char suffixes[] = "kMGT";
    gboolean hex = g_str_has_prefix(text, "0x") || g_str_has_prefix(text, "0X");
    const char *digits = hex ? text + 2 : text;
    const char *found;
    char *end;

    if (!(hex ? g_ascii_isxdigit(*digits) : g_ascii_isdigit(*digits)) ||
        (hex && g_ascii_tolower(digits[1]) == 'x')) {
        return FALSE;
    }
    errno = 0;
    *value = g_ascii_strtoull(digits, &end, hex ? 16 : 10);
    if (errno) {
        return FALSE;
    }
    if (*end && suffix) {
        unsigned shift;

        found = strchr(suffixes, *end == 'K' ? 'k' : *end);
        if (!found) {
            return FALSE;
        }
        shift = 10 * (unsigned)(found - suffixes + 1);
        if (*value > (UINT64_MAX >> shift)) {
            return FALSE;
        }
        *value <<= shift;
        end++;
    }
    return *end == '\0';
}

/* Splits at single commas; two of them stand for one, as in QEMU's options. */
static char **split_options(const char *text)
{
    GPtrArray *parts = g_ptr_array_new();
    GString *part = g_string_new(NULL);

    for (; *text; text++) {
        if (*text == ',' && text[1] != ',') {
            g_ptr_array_add(parts, g_string_free(part, FALSE));
            part = g_string_new(NULL);
            continue;
        }
        text += *text == ',';
        g_string_append_c(part, *text);
    }
    g_ptr_array_add(parts, g_string_free(part, FALSE));
    g_ptr_array_add(parts, NULL);
    return (char **)g_ptr_array_free(parts, FALSE);
}

static gboolean parse_option(Range *range, const char *option, GError **error)
{
    const struct {
        const char *name;
        uint64_t *value;
    } known[] = {{"offset=", &range->offset}, {"gpa=", &range->gpa}, {"size=", &range->size}};

    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        if (!g_str_has_prefix(option, known[i].name)) {
            continue;
        }
        if (migpage_parse_number(option + strlen(known[i].name), TRUE, known[i].value) &&
            *known[i].value % MIGPAGE_SIZE == 0) {
            return TRUE;
        }
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "'%s': not a number of bytes that is a multiple of 4096", option);
        return FALSE;
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                "unknown option '%s'; known are offset=N, gpa=N, size=N", option);
    return FALSE;
}

static int open_file(const char *path, GError **error)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM)) {
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* enough for `inspect` */
    }
    if (fd < 0) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID, "cannot open '%s': %s", path,
                    g_strerror(errno));
    }
    return fd;
}

static int duplicate_fd(const char *text, int *original, GError **error)
{
    uint64_t number;
    int fd;

    if (!migpage_parse_number(text, FALSE, &number) || number > G_MAXINT) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "'%s' is not the number of a file descriptor", text);
        return -1;
    }
    *original = (int)number;
    fd = fcntl(*original, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "file descriptor %s cannot be used: %s (was it inherited?)", text,
                    g_strerror(errno));
    }
    return fd;
}

/* Sets the size where none was given, and checks it against the file. */
static gboolean check_size(Range *range, GError **error)
{
    struct stat st;
    uint64_t length;

    if (fstat(range->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "not a plain file, memfd or hugetlbfs file");
        return FALSE;
    }
    length = (uint64_t)st.st_size;
    if (range->offset >= length || range->size > length - range->offset) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "the range (offset 0x%" PRIx64 ", size 0x%" PRIx64
                    ") goes past the end of the file, which has 0x%" PRIx64 " bytes",
                    range->offset, range->size, length);
        return FALSE;
    }
    if (range->size == 0) {
        range->size = (length - range->offset) & ~(uint64_t)(MIGPAGE_SIZE - 1);
    }
    if (range->size == 0 || range->gpa > UINT64_MAX - range->size) {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "the range holds no page, or ends past the highest address");
        return FALSE;
    }
    return TRUE;
}

static gboolean check_overlap(MigPageMemory *memory, const Range *range, GError **error)
{
    for (guint i = 0; i < memory->ranges->len; i++) {
        const Range *other = memory->ranges->pdata[i];

        if (range->gpa < other->gpa + other->size && other->gpa < range->gpa + range->size) {
            g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                        "its addresses 0x%" PRIx64 "-0x%" PRIx64 " overlap those of %s (0x%" PRIx64
                        "-0x%" PRIx64 "); give gpa= and size=",
                        range->gpa, range->gpa + range->size - 1, other->name, other->gpa,
                        other->gpa + other->size - 1);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean open_range(Range *range, GError **error)
{
    if (g_str_has_prefix(range->name, "file:") && range->name[5]) {
        range->fd = open_file(range->name + 5, error);
    } else if (g_str_has_prefix(range->name, "fd:")) {
        range->fd = duplicate_fd(range->name + 3, &range->original, error);
    } else {
        g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                    "must begin with file:PATH, fd:N or qemu:SOCKET");
    }
    return range->fd >= 0;
}

gboolean migpage_memory_add(MigPageMemory *memory, const char *spec, GError **error)
{
    g_auto(GStrv) parts = split_options(spec);
    g_autoptr(Range) range = g_new0(Range, 1);

    range->fd = range->original = -1;
    range->name = g_strdup(parts[0]);
    for (char **option = parts + 1; *option; option++) {
        if (!parse_option(range, *option, error)) {
            goto wrong;
        }
    }
    if (!open_range(range, error) || !check_size(range, error) ||
        !check_overlap(memory, range, error)) {
        goto wrong;
    }
    if (range->original >= 0) {
        /* The original is marked as ours, too: no fd: URI must take the guest's memory for a stream. */
        fcntl(range->original, F_SETFD, FD_CLOEXEC);
    }
    g_ptr_array_add(memory->ranges, g_steal_pointer(&range));
    return TRUE;
wrong:
    g_prefix_error(error, "--guest-memory %s: ", spec);
    return FALSE;
}

char *migpage_memory_describe(MigPageMemory *memory)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < memory->ranges->len; i++) {
        const Range *range = memory->ranges->pdata[i];

        g_string_append_printf(text, "%s0x%" PRIx64 "-0x%" PRIx64 " (%s)", i ? "\n" : "",
                               range->gpa, range->gpa + range->size - 1, range->name);
    }
    return g_string_free(text, FALSE);
}

gboolean migpage_address_check(uint64_t address, GError **error)
{
    if (address % MIGPAGE_SIZE == 0) {
        return TRUE;
    }
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID,
                "address 0x%" PRIx64
                " is not a multiple of 4096; the SVSM prints its page's address",
                address);
    return FALSE;
}

static const Range *find_range(MigPageMemory *memory, uint64_t address, GError **error)
{
    g_autofree char *ram = NULL;

    if (!migpage_address_check(address, error)) {
        return NULL;
    }
    for (guint i = 0; i < memory->ranges->len; i++) {
        const Range *range = memory->ranges->pdata[i];

        if (address >= range->gpa && address - range->gpa <= range->size - MIGPAGE_SIZE) {
            return range;
        }
    }
    ram = migpage_memory_describe(memory);
    g_strdelimit(ram, "\n", ';');
    g_set_error(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
                "address 0x%" PRIx64 " is outside the guest's RAM, which is %s", address,
                *ram ? ram : "not given");
    return NULL;
}

gboolean migpage_memory_check(MigPageMemory *memory, uint64_t address, GError **error)
{
    return find_range(memory, address, error) != NULL;
}

MigPageMapping *migpage_memory_map(MigPageMemory *memory, uint64_t address, gboolean writable,
                                   GError **error)
{
    const Range *range = find_range(memory, address, error);

    if (!range) {
        return NULL;
    }
    return migpage_mapping_new(range->fd, range->offset + (address - range->gpa), writable,
                               range->name, error);
}
