#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The script that puts the extension into QEMU, on a stand-in for QEMU's source: only the lines that it looks for."""

import os
import re
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SCRIPT = os.path.join(TOP, "qmp", "qemu", "apply.py")
SCHEMA_WIDTH = 70  # QEMU's generator refuses longer lines of documentation

TREE = {
    "VERSION": "99.1.0\n",
    "meson.build": "subdir('disas')\nsubdir('migration')\nsubdir('monitor')\n",
    "qapi/meson.build": "x = [\n  'machine',\n  'migration',\n  'misc',\n]\n",
    "qapi/qapi-schema.json": "{ 'include': 'authz.json' }\n{ 'include': 'migration.json' }\n",
    "include/monitor/hmp.h": "void hmp_migrate_pause(Monitor *mon, const QDict *qdict);\n"
                             "void hmp_migrate(Monitor *mon, const QDict *qdict);\n#endif\n",
    "hmp-commands.hx": "ERST\n#endif\n",
    "hmp-commands-info.hx": "ERST",  # without an end of line
}


class ApplyTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.source = directory.name
        for name, text in TREE.items():
            self.write(name, text)

    def path(self, name):
        return os.path.join(self.source, name)

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def tree(self):
        """All files: name -> text."""
        return {os.path.relpath(os.path.join(folder, name), self.source):
                self.read(os.path.join(folder, name))
                for folder, _, names in os.walk(self.source) for name in names}

    def run_script(self, *arguments):
        return subprocess.run([sys.executable, SCRIPT, *arguments, self.source], capture_output=True,
                              text=True, timeout=30, check=False)

    def apply(self, *arguments):
        done = self.run_script(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("QEMU 99.1.0", done.stdout)

    def refused(self, *texts):
        before = self.tree()
        done = self.run_script()
        self.assertEqual(done.returncode, 1, done.stdout)
        for text in texts:
            self.assertIn(text, done.stderr)
        self.assertIn("Nothing was changed", done.stderr)
        self.assertEqual(self.tree(), before)

    def test_what_it_inserts(self):
        self.apply()
        self.assertIn("subdir('migration')\nsubdir('snprelay')\n", self.read("meson.build"))
        self.assertIn("  'migration',\n  'snp',\n", self.read("qapi/meson.build"))
        self.assertIn("{ 'include': 'migration.json' }\n{ 'include': 'snp.json' }\n",
                      self.read("qapi/qapi-schema.json"))
        self.assertRegex(self.read("include/monitor/hmp.h"),
                         r'void hmp_migrate\(.*\n#include "snprelay/snp-hmp.h"\n#endif')
        for name in ("hmp-commands", "hmp-commands-info"):
            self.assertEqual(self.read(f"{name}.hx").splitlines()[-1],
                             f'#include "snprelay/{name}.h.inc"')

    def test_every_file_that_is_named_is_there(self):
        self.apply()
        names = set(re.findall(r"snp-[a-z-]+\.c", self.read("snprelay/meson.build")))
        for name, text in self.tree().items():
            names.update(re.findall(r'#include "snprelay/([^"]+)"', text))
        self.assertGreater(len(names), 10)
        self.assertEqual({"meson.build", "snp-compat.h", *names},
                         set(os.listdir(self.path("snprelay"))))

    def test_schema(self):
        self.apply()
        text = self.read("qapi/snp.json")
        for name in ("snp-migrate", "snp-migrate-incoming", "snp-migrate-recover"):
            self.assertRegex(text, rf"'command': '{name}',\s+'coroutine': true,")
        self.assertRegex(text, r"'snp-migrate-set-parameters',\s+'boxed': true,")
        for number, line in enumerate(text.splitlines(), 1):
            self.assertLessEqual(len(line), SCHEMA_WIDTH, f"snp.json:{number}: {line}")

    def test_every_human_command_has_a_handler(self):
        self.apply()
        text = self.read("snprelay/hmp-commands.h.inc") + self.read("snprelay/hmp-commands-info.h.inc")
        declared = self.read("snprelay/snp-hmp.h")
        handlers = re.findall(r"\.cmd\s+= (\w+),", text)
        self.assertEqual(len(handlers), text.count(".name"))
        for handler in handlers:
            self.assertIn(f"void {handler}(Monitor *mon, const QDict *qdict);", declared)

    def test_twice_is_once(self):
        self.apply()
        once = self.tree()
        times = {name: os.stat(self.path(name)).st_mtime_ns for name in once}
        self.apply()
        self.assertEqual(self.tree(), once)
        self.assertEqual({name: os.stat(self.path(name)).st_mtime_ns for name in once}, times)

    def test_refreshes_what_is_old(self):
        self.apply()
        new = self.read("snprelay/snp-page.c")
        self.write("snprelay/snp-page.c", "old\n")
        self.apply()
        self.assertEqual(self.read("snprelay/snp-page.c"), new)

    def test_undo(self):
        self.apply()
        self.apply("--undo")
        # A missing end of line at the end of a file is the one thing that is not brought back.
        self.assertEqual(self.tree(), {**TREE, "hmp-commands-info.hx": "ERST\n"})
        self.assertFalse(os.path.exists(self.path("snprelay")))
        self.apply("--undo")
        self.apply()

    def test_moved_lines(self):
        for name in ("meson.build", "qapi/meson.build", "qapi/qapi-schema.json",
                     "include/monitor/hmp.h"):
            with self.subTest(name=name):
                self.write(name, "something else\n")
                self.refused("QEMU 99.1.0 has moved on", name, "0 lines like", "by hand")
                self.write(name, TREE[name] * 2)
                self.refused(name, "2 lines like")
                self.write(name, TREE[name])

    def test_a_line_inserted_by_hand(self):
        self.write("meson.build", "something else\nsubdir('snprelay')\n")
        self.apply()
        self.assertEqual(self.read("meson.build"), "something else\nsubdir('snprelay')\n")

    def test_missing_file(self):
        os.remove(self.path("hmp-commands.hx"))
        self.refused("it has no hmp-commands.hx")

    def test_no_qemu(self):
        os.remove(self.path("VERSION"))
        self.refused("is not QEMU's source")


if __name__ == "__main__":
    unittest.main()
