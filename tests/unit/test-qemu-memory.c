/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What QEMU's human monitor and /proc/PID/maps say, and what is read from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "migpage/qemu-maps.h"
#include "qmp/qemu-memory.h"
#include "snprelay/snprelay.h"

static const char flat_view[] =
    "FlatView #0\r\n"
    " AS \"cpu-smm-0\", root: memory\r\n"
    " Root memory region: memory\r\n"
    "  0000000000000000-ffffffffffffffff (prio 0, ram): smram\r\n"
    "\r\n"
    "FlatView #1\r\n"
    " AS \"memory\", root: system\r\n"
    " AS \"cpu-memory-0\", root: system\r\n"
    " Root memory region: system\r\n"
    "  0000000000000000-00000000000bffff (prio 0, ram): ram KVM\r\n"
    "  00000000000c0000-00000000000dffff (prio 1, rom): pc.rom\r\n"
    "  0000000000100000-0000000003ffffff (prio 0, ram): ram @0000000000100000\r\n"
    "  00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic\r\n"
    "  00000000fee00000-00000000feefffff (prio -1, i/o): apic (msi): x\r\n"
    "  00000000ffc00000-00000000ffffffff (prio 0, romd): flash\r\n"
    "  0000000100000000-00000001000007ff (prio 0, ram): half\r\n"
    "  0000000200000000-0000000200000fff (prio 0, ramd): vfio\r\n"
    "\r\n"
    "FlatView #2\r\n"
    " AS \"I/O\", root: io\r\n"
    "  0000000300000000-0000000300000fff (prio 0, ram): elsewhere\r\n";

static gboolean judge(uint64_t address, const char *answer, QmpQemuPage *page, GError **error)
{
    return qmp_qemu_judge_page(address, answer, flat_view, page, error);
}

static void refused(uint64_t address, const char *text)
{
    g_autofree char *answer = g_strdup_printf(
        "Host virtual address for 0x%" G_GINT64_MODIFIER "x (x) is 0x7f0000000000\r\n", address);
    g_autoptr(GError) error = NULL;
    QmpQemuPage page = {0};

    assert_false(judge(address, answer, &page, &error));
    assert_true(g_error_matches(error, SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE));
    assert_non_null(strstr(error->message, text));
}

static void test_ram(void **state G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    QmpQemuPage page = {0};

    assert_true(judge(
        0x3fff000, "Host virtual address for 0x3fff000 (odd (name) is 0x1) is 0x7f4f10fff000\r\n",
        &page, &error));
    assert_true(page.hva == 0x7f4f10fff000);
    assert_string_equal(page.block, "odd (name) is 0x1");
    qmp_qemu_page_clear(&page);
}

static void test_no_ram(void **state G_GNUC_UNUSED)
{
    refused(0xc0000, "read-only memory (pc.rom)");
    refused(0xffc00000, "read-only memory (flash)");
    refused(0xfec00000, "a device (ioapic)");
    refused(0xfee01000, "a device (apic (msi): x)");
    refused(0x80000000, "no memory");
    refused(0x80000000, "0x0-0xbffff, 0x100000-0x3ffffff");
    refused(0x100000000, "only a part");
    refused(0x200000000, "a device's memory (vfio, ramd)");
    refused(0x300000000, "no memory"); /* of another address space */
    refused(0xfffffffffffff000, "no memory");
}

static void test_strange_answers(void **state G_GNUC_UNUSED)
{
    static const char *const answers[] = {
        "",
        "unknown command: 'gpa2hva'\r\n",
        "No memory is mapped at address 0x1000\r\n",
        "Host virtual address for 0x2000 (ram) is 0x7f0000000000\r\n",
        "Host virtual address for 0x1000 (ram) is (nil)\r\n",
        "Host virtual address for 0x1000 (ram) is 0x0\r\n",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(answers); i++) {
        g_autoptr(GError) error = NULL;
        QmpQemuPage page = {0};

        assert_false(judge(0x1000, answers[i], &page, &error));
        assert_non_null(strstr(error->message, "gpa2hva"));
        assert_null(page.block);
    }
}

static void test_strange_flat_views(void **state G_GNUC_UNUSED)
{
    static const char *const views[] = {
        "",
        "unknown command: 'info mtree -f'\r\n",
        "FlatView #0\r\n AS \"memory\", root: system\r\n  No rendered FlatView\r\n",
        "FlatView #0\r\n AS \"memory\", root: system\r\n  zzz-yyy (prio 0, ram): ram\r\n",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(views); i++) {
        g_autoptr(GError) error = NULL;
        QmpQemuPage page = {0};

        assert_false(qmp_qemu_judge_page(0x1000,
                                         "Host virtual address for 0x1000 (ram) is 0x7f0000000000",
                                         views[i], &page, &error));
        assert_non_null(strstr(error->message, "info mtree -f"));
    }
}

/* ---- /proc/PID/maps
 * --------------------------------------------------------------------------------- */

static const char maps[] =
    "55d0c0a00000-55d0c0b00000 r-xp 00001000 fe:01 1234                       /usr/bin/qemu x\n"
    "7f0000000000-7f0004000000 rw-s 00200000 00:01 77                         "
    "/memfd:memory-backend-memfd (deleted)\n"
    "7f0004000000-7f0008000000 rw-p 00000000 00:00 0 \n"
    "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]";

static void test_maps(void **state G_GNUC_UNUSED)
{
    g_auto(MigPageVma) vma = {0};

    assert_true(migpage_vma_find(maps, 0x7f0003fff000, &vma));
    assert_true(vma.start == 0x7f0000000000 && vma.end == 0x7f0004000000);
    assert_true(vma.shared && vma.writable);
    assert_int_equal(vma.offset, 0x200000);
    assert_int_equal(vma.major, 0);
    assert_int_equal(vma.minor, 1);
    assert_int_equal(vma.inode, 77);
    assert_string_equal(vma.path, "/memfd:memory-backend-memfd (deleted)");
}

static void test_maps_private(void **state G_GNUC_UNUSED)
{
    g_auto(MigPageVma) anonymous = {0}, program = {0}, stack = {0};

    assert_true(migpage_vma_find(maps, 0x7f0004000000, &anonymous));
    assert_true(!anonymous.shared && anonymous.writable);
    assert_string_equal(anonymous.path, "");
    assert_true(migpage_vma_find(maps, 0x55d0c0a00000, &program));
    assert_false(program.writable);
    assert_string_equal(program.path, "/usr/bin/qemu x");
    assert_true(migpage_vma_find(maps, 0x7ffd00020fff, &stack));
    assert_string_equal(stack.path, "[stack]");
    assert_false(migpage_vma_is_same_file(&anonymous, &stack)); /* neither is a file */
    assert_false(migpage_vma_is_same_file(&program, &stack));
    assert_true(migpage_vma_is_same_file(&program, &program));
}

static void test_maps_none(void **state G_GNUC_UNUSED)
{
    static const char *const strange[] = {
        "",         "\n\n", "1000-2000\n", "1000-2000 rw-s 0 0:0\n", "1000-2000 rw 0 0:0 5 x\n",
        "garbage\n"};
    MigPageVma vma = {0};

    assert_false(migpage_vma_find(maps, 0x1000, &vma));
    assert_false(migpage_vma_find(maps, 0x7ffd00021000, &vma));
    for (size_t i = 0; i < G_N_ELEMENTS(strange); i++) {
        assert_false(migpage_vma_find(strange[i], 0x1000, &vma));
        assert_null(vma.path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ram),
        cmocka_unit_test(test_no_ram),
        cmocka_unit_test(test_strange_answers),
        cmocka_unit_test(test_strange_flat_views),
        cmocka_unit_test(test_maps),
        cmocka_unit_test(test_maps_private),
        cmocka_unit_test(test_maps_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
