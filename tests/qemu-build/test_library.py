#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libsnprelay as a program finds it that embeds the relay: installed, and found by pkg-config.

    test_library.py CMAKE BUILD COMPILER
"""

import os
import subprocess
import sys
import tempfile
import unittest

CMAKE, BUILD, COMPILER = sys.argv[1:4]

# Starts a migration whose page is not there, and waits for the refusal.
PROGRAM = r"""
#include <snprelay/snprelay.h>
#include <stdio.h>

static void map_page(SnprelayMapRequest *request, uint64_t address, gpointer opaque)
{
    (void)opaque;
    snprelay_map_failed(request, g_error_new(SNPRELAY_ERROR, SNPRELAY_ERROR_PAGE,
                                             "no page at 0x%x", (unsigned)address));
}

static void on_ready(SnprelayRelay *relay, const GError *error, gpointer opaque)
{
    (void)relay;
    printf("%s: %s\n", snprelay_version(), error ? error->message : "started");
    g_main_loop_quit(opaque);
}

int main(void)
{
    const SnprelayCallbacks callbacks = {.map_page = map_page};
    GMainLoop *loop = g_main_loop_new(NULL, FALSE);
    SnprelayRelay *relay = snprelay_new(NULL, &callbacks, SNPRELAY_POLICY_DEFAULT, NULL);

    snprelay_migrate(relay, "tcp:127.0.0.1:1", 0x3000, SNPRELAY_FLAG_NONE, on_ready, loop);
    g_main_loop_run(loop);
    snprelay_free(relay);
    g_main_loop_unref(loop);
    return 0;
}
"""


def run(*arguments, **environment):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False,
                          env={**os.environ, **environment})
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


class LibraryTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        cls.prefix = os.path.join(cls.directory.name, "installed")
        run(CMAKE, "--install", BUILD, "--prefix", cls.prefix)
        cls.files = {name: os.path.join(folder, name)
                     for folder, _, names in os.walk(cls.prefix) for name in names}
        cls.source = os.path.join(cls.directory.name, "embedder.c")
        with open(cls.source, "w", encoding="ascii") as file:
            file.write(PROGRAM)

    def pkg_config(self, *options):
        folder = os.path.dirname(self.files["snprelay.pc"])
        return run("pkg-config", *options, "snprelay", PKG_CONFIG_PATH=folder).split()

    def symbols(self, name, *options):
        """The names of what a library defines for others."""
        lines = run("nm", "--defined-only", "--extern-only", "--format=posix", *options,
                    self.files[name]).splitlines()
        names = {line.split()[0].split("@")[0] for line in lines if not line.endswith(":")}
        return {symbol for symbol in names if not symbol.startswith("SNPRELAY_")}

    def declared(self):
        """The functions of the public header."""
        with open(self.files["snprelay.h"], encoding="utf-8") as file:
            words = file.read().replace("*", " ").replace("(", " ( ").split()
        return {word for word, following in zip(words, words[1:])
                if following == "(" and word.startswith("snprelay_")}

    def test_exports_what_the_header_declares_and_no_more(self):
        for name, options in (("libsnprelay.so", ["--dynamic"]), ("libsnprelay.a", [])):
            with self.subTest(name=name):
                symbols = self.symbols(name, *options)
                self.assertIn("snprelay_new", symbols)
                self.assertEqual(symbols, self.declared())

    def test_name_and_versions(self):
        header = run("objdump", "-p", self.files["libsnprelay.so"])
        self.assertRegex(header, r"SONAME\s+libsnprelay\.so\.\d+\n")
        self.assertRegex(header, r"SNPRELAY_\d+\n")
        self.assertNotIn("json-glib", header)

    def build(self, *options):
        program = os.path.join(self.directory.name, "embedder")
        run(COMPILER, "-Wall", "-Wextra", "-Werror", "-Wstrict-prototypes", "-o", program,
            self.source, *self.pkg_config("--cflags"), *options)
        return program

    def check(self, program, **environment):
        version = self.pkg_config("--modversion")[0]
        self.assertEqual(run(program, **environment), f"{version}: no page at 0x3000\n")

    def test_a_program_with_the_shared_library(self):
        program = self.build(*self.pkg_config("--libs"))
        self.check(program, LD_LIBRARY_PATH=os.path.dirname(self.files["libsnprelay.so"]))

    def test_a_program_with_the_static_library(self):
        libraries = [self.files["libsnprelay.a"] if word == "-lsnprelay" else word
                     for word in self.pkg_config("--static", "--libs")]
        self.check(self.build(*libraries))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
