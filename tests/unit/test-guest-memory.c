/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where guest memory is: what --guest-memory accepts and refuses, and which bytes an address leads to. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "migpage/guest-memory.h"
#include "migpage/layout.h"
#include "snprelay/snprelay.h"

#define PAGES 16
#define FILE_SIZE (PAGES * MIGPAGE_SIZE) /* 0x10000 */

/* A directory with "ram" (each page is full of its number), "empty", "short", "read-only" and "a,b". */
typedef struct Fixture {
    char *directory;
    MigPageMemory *memory;
} Fixture;

static char *path_of(Fixture *fixture, const char *name)
{
    return g_build_filename(fixture->directory, name, NULL);
}

static void make_file(Fixture *fixture, const char *name, size_t size, mode_t mode)
{
    g_autofree char *path = path_of(fixture, name);
    g_autofree char *bytes = g_malloc(size + 1);

    for (size_t i = 0; i < size; i++) {
        bytes[i] = (char)(i / MIGPAGE_SIZE);
    }
    assert_true(g_file_set_contents(path, bytes, (gssize)size, NULL));
    assert_int_equal(g_chmod(path, mode), 0);
}

static int set_up(void **state)
{
    Fixture *fixture = g_new0(Fixture, 1);

    fixture->directory = g_dir_make_tmp("guest-memory-XXXXXX", NULL);
    fixture->memory = migpage_memory_new();
    make_file(fixture, "ram", FILE_SIZE, 0600);
    make_file(fixture, "a,b", FILE_SIZE, 0600);
    make_file(fixture, "empty", 0, 0600);
    make_file(fixture, "short", MIGPAGE_SIZE - 1, 0600);
    make_file(fixture, "uneven", 2 * MIGPAGE_SIZE + 100, 0600);
    make_file(fixture, "read-only", FILE_SIZE, 0400);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"ram", "a,b", "empty", "short", "uneven", "read-only"};
    Fixture *fixture = *state;

    migpage_memory_free(fixture->memory);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = path_of(fixture, names[i]);

        g_unlink(path);
    }
    g_rmdir(fixture->directory);
    g_free(fixture->directory);
    g_free(fixture);
    return 0;
}

/* "@" in SPEC stands for the directory. */
static char *spec_of(Fixture *fixture, const char *spec)
{
    g_auto(GStrv) parts = g_strsplit(spec, "@", -1);

    return g_strjoinv(fixture->directory, parts);
}

static void must_add(Fixture *fixture, const char *text)
{
    g_autofree char *spec = spec_of(fixture, text);
    g_autoptr(GError) error = NULL;

    if (!migpage_memory_add(fixture->memory, spec, &error)) {
        fail_msg("%s", error->message);
    }
}

static void must_refuse(Fixture *fixture, const char *text, const char *words)
{
    g_autofree char *spec = spec_of(fixture, text);
    g_autofree char *before = migpage_memory_describe(fixture->memory);
    g_autofree char *after = NULL;
    g_autoptr(GError) error = NULL;

    if (migpage_memory_add(fixture->memory, spec, &error)) {
        fail_msg("'%s' was accepted", text);
    }
    assert_true(g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID));
    if (!strstr(error->message, words) || !strstr(error->message, spec)) {
        fail_msg("'%s' or the spec is not in: %s", words, error->message);
    }
    after = migpage_memory_describe(fixture->memory);
    assert_string_equal(before, after);
}

/* ---- Specs ----------------------------------------------------------------------------------------- */

static void test_bad_specs(void **state)
{
    static const struct {
        const char *spec, *words;
    } bad[] = {
        {"", "file:PATH"},
        {"file:", "file:PATH"},
        {"ram", "file:PATH"},
        {"mem:@/ram", "file:PATH"},
        {"FILE:@/ram", "file:PATH"},
        {"file:@/none", "No such file"},
        {"file:@/a", "No such file"},
        {"file:@/a,b", "unknown option 'b'"},
        {"file:@", "Is a directory"},
        {"file:@/empty", "past the end"},
        {"file:@/short", "no page"},
        {"file:/dev/null", "not a plain file"},
        {"file:@/ram,", "unknown option ''"},
        {"file:@/ram,foo=1", "unknown option 'foo=1'"},
        {"file:@/ram,gpa", "unknown option 'gpa'"},
        {"file:@/ram,GPA=0", "unknown option"},
        {"file:@/ram,gpa=", "multiple of 4096"},
        {"file:@/ram,gpa=1", "multiple of 4096"},
        {"file:@/ram,gpa=0xfff", "multiple of 4096"},
        {"file:@/ram,offset=2048", "multiple of 4096"},
        {"file:@/ram,size=4097", "multiple of 4096"},
        {"file:@/ram,size=-4096", "multiple of 4096"},
        {"file:@/ram,size=+4096", "multiple of 4096"},
        {"file:@/ram,size= 4096", "multiple of 4096"},
        {"file:@/ram,size=4096 ", "multiple of 4096"},
        {"file:@/ram,size=4x", "multiple of 4096"},
        {"file:@/ram,size=4kk", "multiple of 4096"},
        {"file:@/ram,size=0x", "multiple of 4096"},
        {"file:@/ram,gpa=18446744073709551616", "multiple of 4096"},
        {"file:@/ram,gpa=16777216T", "multiple of 4096"},
        {"file:@/ram,size=0x11000", "past the end"},
        {"file:@/ram,offset=0x10000", "past the end"},
        {"file:@/ram,offset=0x1000,size=0x10000", "past the end"},
        {"file:@/ram,offset=0xfffffffffffff000", "past the end"},
        {"file:@/ram,offset=0x1000,size=0xfffffffffffff000", "past the end"},
        {"file:@/uneven,offset=8k", "no page"},
        {"file:@/uneven,size=12k", "past the end"},
        {"file:@/ram,gpa=0xfffffffffffff000", "highest address"},
        {"file:@/ram,gpa=0xffffffffffff1000", "highest address"},
        {"fd:", "number of a file descriptor"},
        {"fd:x", "number of a file descriptor"},
        {"fd:-1", "number of a file descriptor"},
        {"fd:1k", "number of a file descriptor"},
        {"fd:4294967296", "number of a file descriptor"},
        {"fd:987654", "cannot be used"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        must_refuse(*state, bad[i].spec, bad[i].words);
    }
}

static void test_good_specs(void **state)
{
    static const struct {
        const char *spec, *ram;
    } good[] = {
        {"file:@/ram", "0x0-0xffff "},
        {"file:@/ram,gpa=4G", "0x100000000-0x10000ffff "},
        {"file:@/ram,gpa=0x100000000,offset=0xF000", "0x100000000-0x100000fff "},
        {"file:@/ram,offset=8k,size=4K,gpa=1M", "0x100000-0x100fff "},
        {"file:@/ram,size=8192,gpa=1T", "0x10000000000-0x10000001fff "},
        {"file:@/ram,gpa=0xffffffffffff0000,size=0xf000", "0xffffffffffff0000-0xffffffffffffefff "},
        {"file:@/ram,gpa=1G,gpa=2G", "0x80000000-0x8000ffff "}, /* the last one counts */
        {"file:@/a,,b", "0x0-0xffff "},
        {"file:@/uneven", "0x0-0x1fff "},
        {"file:@/read-only", "0x0-0xffff "},
    };
    Fixture *fixture = *state;

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autofree char *text = NULL;

        must_add(fixture, good[i].spec);
        text = migpage_memory_describe(fixture->memory);
        if (!g_str_has_prefix(text, good[i].ram)) {
            fail_msg("%s is %s", good[i].spec, text);
        }
        migpage_memory_free(fixture->memory);
        fixture->memory = migpage_memory_new();
    }
}

static void test_overlaps(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *text = NULL;

    must_add(fixture, "file:@/ram,gpa=64k");
    must_refuse(fixture, "file:@/ram,gpa=64k", "overlap");
    must_refuse(fixture, "file:@/a,,b,gpa=0x1f000", "overlap");
    must_refuse(fixture, "file:@/a,,b,gpa=0x1000", "overlap");
    must_refuse(fixture, "file:@/a,,b,gpa=68k,size=4k", "overlap");
    must_add(fixture, "file:@/a,,b,gpa=0");
    must_add(fixture, "file:@/ram,gpa=128k,offset=60k");
    must_refuse(fixture, "file:@/ram,gpa=0,size=4k", "overlap");
    text = migpage_memory_describe(fixture->memory);
    assert_non_null(strstr(text, "0x10000-0x1ffff (file:"));
    assert_non_null(strstr(text, "\n0x0-0xffff (file:"));
    assert_non_null(strstr(text, "\n0x20000-0x20fff (file:"));
}

/* ---- Addresses ------------------------------------------------------------------------------------- */

static void test_addresses(void **state)
{
    static const uint64_t inside[] = {0,           0x1000,      0xf000,
                                      0x100000000, 0x100001000, 0xffffffffffffe000};
    static const uint64_t outside[] = {
        0x10000,           0xfffff000, 0x100002000, 0x8000000000000000, 0xffffffffffffd000,
        0xfffffffffffff000};
    static const uint64_t unaligned[] = {1, 0x800, 0xfff, 0x10001, UINT64_MAX, 0xfffffffffffff800};
    Fixture *fixture = *state;

    must_add(fixture, "file:@/ram");
    must_add(fixture, "file:@/ram,gpa=4G,size=8k");
    must_add(fixture, "file:@/ram,gpa=0xffffffffffffe000,size=4k");
    for (size_t i = 0; i < G_N_ELEMENTS(inside); i++) {
        assert_true(migpage_memory_check(fixture->memory, inside[i], NULL));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(outside); i++) {
        g_autofree char *name = g_strdup_printf("0x%" G_GINT64_MODIFIER "x", outside[i]);
        g_autoptr(GError) error = NULL;

        assert_false(migpage_memory_check(fixture->memory, outside[i], &error));
        assert_true(g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE));
        assert_non_null(strstr(error->message, name));
        assert_non_null(strstr(error->message, "0x0-0xffff"));
        assert_non_null(strstr(error->message, "0x100000000-0x100001fff"));
        g_clear_error(&error);
        assert_null(migpage_memory_map(fixture->memory, outside[i], TRUE, &error));
        assert_non_null(error);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(unaligned); i++) {
        g_autoptr(GError) error = NULL;

        assert_false(migpage_address_check(unaligned[i], &error));
        assert_true(g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_INVALID));
        assert_non_null(strstr(error->message, "multiple of 4096"));
        assert_false(migpage_memory_check(fixture->memory, unaligned[i], NULL));
        assert_null(migpage_memory_map(fixture->memory, unaligned[i], FALSE, NULL));
    }
}

static void test_no_memory(void **state)
{
    Fixture *fixture = *state;
    g_autoptr(GError) error = NULL;
    g_autofree char *text = migpage_memory_describe(fixture->memory);

    assert_string_equal(text, "");
    assert_false(migpage_memory_check(fixture->memory, 0, &error));
    assert_non_null(strstr(error->message, "not given"));
}

/* ---- Mapping --------------------------------------------------------------------------------------- */

static void check_page_number(Fixture *fixture, uint64_t address, int number)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MigPageMapping) mapping = migpage_memory_map(fixture->memory, address, FALSE, &error);
    const guint8 *bytes;

    if (!mapping) {
        fail_msg("%s", error->message);
    }
    bytes = mapping->host;
    assert_int_equal(mapping->length, MIGPAGE_SIZE); /* the page and nothing else */
    for (size_t i = 0; i < MIGPAGE_SIZE; i++) {
        assert_int_equal(bytes[i], number);
    }
}

static void test_mapping_offsets(void **state)
{
    Fixture *fixture = *state;

    must_add(fixture, "file:@/ram,offset=4k,size=8k,gpa=0x3000");
    must_add(fixture, "file:@/ram,offset=36k,gpa=4G");
    check_page_number(fixture, 0x3000, 1);
    check_page_number(fixture, 0x4000, 2);
    check_page_number(fixture, 0x100000000, 9);
    check_page_number(fixture, 0x100006000, 15);
}

static void test_mapping_writes(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *path = path_of(fixture, "ram");
    MigPageMapping *mapping;
    guint8 bytes[FILE_SIZE];
    int fd;

    must_add(fixture, "file:@/ram,gpa=1G");
    mapping = migpage_memory_map(fixture->memory, 0x40003000, TRUE, NULL);
    assert_non_null(mapping);
    memset(mapping->host, 0xee, MIGPAGE_SIZE);
    migpage_mapping_free(mapping);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, bytes, sizeof(bytes)), FILE_SIZE);
    close(fd);
    for (size_t i = 0; i < FILE_SIZE; i++) {
        assert_int_equal(bytes[i], i / MIGPAGE_SIZE == 3 ? 0xee : (int)(i / MIGPAGE_SIZE));
    }
}

static void test_memfd(void **state)
{
    Fixture *fixture = *state;
    int fd = memfd_create("ram", MFD_CLOEXEC);
    g_autofree char *spec = g_strdup_printf("fd:%d,offset=4k,gpa=2M", fd);
    g_autoptr(MigPageMapping) mapping = NULL;
    guint8 byte = 0x77;

    assert_int_equal(ftruncate(fd, FILE_SIZE), 0);
    must_add(fixture, spec);
    assert_int_equal(pwrite(fd, &byte, 1, 2 * MIGPAGE_SIZE + 5), 1);
    close(fd); /* it has one of its own */
    mapping = migpage_memory_map(fixture->memory, 0x201000, TRUE, NULL);
    assert_non_null(mapping);
    assert_int_equal(((guint8 *)mapping->host)[5], 0x77);
}

static void test_wrong_descriptors(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *spec = NULL, *directory = NULL;
    int fds[2], fd = open(fixture->directory, O_RDONLY | O_CLOEXEC);

    assert_int_equal(pipe(fds), 0);
    spec = g_strdup_printf("fd:%d", fds[0]);
    directory = g_strdup_printf("fd:%d", fd);
    must_refuse(fixture, spec, "not a plain file");
    must_refuse(fixture, directory, "not a plain file");
    assert_int_equal(fcntl(fds[0], F_GETFD), 0); /* still open, and still the caller's */
    close(fds[0]);
    close(fds[1]);
    close(fd);
}

/* A descriptor that may only be read: enough to look, not enough to migrate. */
static void test_read_only(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *path = path_of(fixture, "ram");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    g_autofree char *spec = g_strdup_printf("fd:%d", fd);
    g_autoptr(GError) error = NULL;

    must_add(fixture, spec);
    close(fd);
    check_page_number(fixture, 0x2000, 2);
    assert_null(migpage_memory_map(fixture->memory, 0x2000, TRUE, &error));
    assert_true(g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE));
    assert_non_null(strstr(error->message, "Permission denied"));
}

/* A file that has become shorter since: an error, not a bus error at the first touch. */
static void test_file_shrank(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *path = path_of(fixture, "ram");
    g_autoptr(GError) error = NULL;

    must_add(fixture, "file:@/ram");
    assert_int_equal(truncate(path, 0x2800), 0);
    check_page_number(fixture, 0x1000, 1);
    assert_null(migpage_memory_map(fixture->memory, 0x2000, FALSE, &error));
    assert_true(g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE));
    assert_int_equal(truncate(path, 0), 0);
    assert_null(migpage_memory_map(fixture->memory, 0, FALSE, NULL));
}

/* ---- Numbers --------------------------------------------------------------------------------------- */

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        gboolean suffix, fine;
        uint64_t value;
    } cases[] = {
        {"0", FALSE, TRUE, 0},
        {"010", FALSE, TRUE, 10}, /* never octal */
        {"4096", FALSE, TRUE, 4096},
        {"0x1F", FALSE, TRUE, 31},
        {"0XfF", FALSE, TRUE, 255},
        {"18446744073709551615", FALSE, TRUE, UINT64_MAX},
        {"0xffffffffffffffff", FALSE, TRUE, UINT64_MAX},
        {"1k", TRUE, TRUE, 1024},
        {"1K", TRUE, TRUE, 1024},
        {"3M", TRUE, TRUE, 3 << 20},
        {"2G", TRUE, TRUE, UINT64_C(2) << 30},
        {"5T", TRUE, TRUE, UINT64_C(5) << 40},
        {"16777215T", TRUE, TRUE, UINT64_C(16777215) << 40},
        {"0x10k", TRUE, TRUE, 16 << 10},
        {"16777216T", TRUE, FALSE, 0},
        {"1k", FALSE, FALSE, 0},
        {"1m", TRUE, FALSE, 0},
        {"1P", TRUE, FALSE, 0},
        {"1kB", TRUE, FALSE, 0},
        {"", TRUE, FALSE, 0},
        {"k", TRUE, FALSE, 0},
        {"0x", TRUE, FALSE, 0},
        {"0x0x10", TRUE, FALSE, 0},
        {"-1", TRUE, FALSE, 0},
        {"+1", TRUE, FALSE, 0},
        {" 1", TRUE, FALSE, 0},
        {"0x-1", TRUE, FALSE, 0},
        {"0x 1", TRUE, FALSE, 0},
        {"1.5", TRUE, FALSE, 0},
        {"1e3", TRUE, FALSE, 0},
        {"18446744073709551616", TRUE, FALSE, 0},
        {"0x10000000000000000", TRUE, FALSE, 0},
    };

    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint64_t value = 0;
        gboolean fine = migpage_parse_number(cases[i].text, cases[i].suffix, &value);

        if (fine != cases[i].fine || (fine && value != cases[i].value)) {
            fail_msg("'%s': %d, 0x%" G_GINT64_MODIFIER "x", cases[i].text, fine, value);
        }
    }
}

#define MEMORY_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        MEMORY_TEST(test_bad_specs),         MEMORY_TEST(test_good_specs),
        MEMORY_TEST(test_overlaps),          MEMORY_TEST(test_addresses),
        MEMORY_TEST(test_no_memory),         MEMORY_TEST(test_mapping_offsets),
        MEMORY_TEST(test_mapping_writes),    MEMORY_TEST(test_memfd),
        MEMORY_TEST(test_wrong_descriptors), MEMORY_TEST(test_read_only),
        MEMORY_TEST(test_file_shrank),       cmocka_unit_test(test_numbers),
    };

    return cmocka_run_group_tests_name("guest-memory", tests, NULL, NULL);
}
