#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The monitor on a terminal: a person types, and nothing that is typed stops the program."""

import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from guest import NONE, NOT_STARTED, wait_until  # noqa: E402
from qmp import Qmp  # noqa: E402
from relay import PAGE, PATIENCE, RelayTest, main, program_path  # noqa: E402

PROMPT = r"\n\(snprelay\) "  # a new one, none that was only drawn again


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *arguments):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen([program_path(), *arguments], stdin=slave, stdout=slave, stderr=slave,
                                        start_new_session=True, env={**os.environ, "TERM": "dumb", "LC_ALL": "C.UTF-8"},
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self._text = ""  # the reader's to change
        self._seen = 0   # so much of it was waited for
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            while data := os.read(self.master, 4096):
                self._text += data.decode(errors="replace")
        except OSError:
            pass  # the program has ended

    def type(self, keys):
        os.write(self.master, keys if isinstance(keys, bytes) else keys.encode())

    def find(self, pattern):
        """PATTERN in what was printed behind all that was waited for."""
        return re.compile(pattern).search(self._text, self._seen)

    def wait_text(self, pattern):
        """Waits until PATTERN has been printed."""
        self._seen = wait_until(lambda: self.find(pattern), PATIENCE, pattern).end()

    def kill(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


class TerminalTest(RelayTest):
    def setUp(self):
        super().setUp()
        self.source = self.guest("source", blocks=100000000, cancellable=True)
        self.qmp_path = self.path("qmp")
        self.terminal = Terminal("serve", "--hmp", "stdio", "--qmp", f"unix:{self.qmp_path}", "--guest-memory",
                                 f"file:{self.source.memory}")
        self.addCleanup(self.terminal.kill)
        self.terminal.wait_text(PROMPT)
        self.qmp = Qmp(f"unix:{self.qmp_path}")
        self.addCleanup(self.qmp.close)

    def migrate(self):
        receive = self.receive(self.guest("destination"))
        self.terminal.type(f"snp_migrate {receive.listening()} {PAGE:#x}\n")
        self.qmp.wait_status("active")

    def check_ends(self, number):
        self.terminal.process.send_signal(number)
        self.assertEqual(self.terminal.process.wait(PATIENCE), 0)
        self.assertFalse(os.path.exists(self.qmp_path))

    def test_interrupted_wait(self):
        """A Ctrl-C stops the waiting, not the migration, and not the program."""
        self.migrate()
        self.terminal.type("\x03")
        self.terminal.wait_text("The command goes on")
        self.terminal.wait_text(PROMPT)
        self.assertEqual(self.qmp.execute("query-snp-migrate")["status"], "active")
        self.terminal.type("snp_migrate_cancel\n")
        self.qmp.wait_status("cancelled")
        self.terminal.wait_text(PROMPT)
        self.terminal.type("half a line")
        self.terminal.wait_text("half a line")
        self.terminal.type("\x03")
        self.terminal.wait_text(PROMPT)
        self.terminal.type("quit\n")
        self.assertEqual(self.terminal.process.wait(PATIENCE), 0)

    def test_terminated_after_a_line(self):
        self.terminal.type("info snp_migrate\n")
        self.terminal.wait_text("Migration status: none")
        self.terminal.wait_text(PROMPT)
        self.check_ends(signal.SIGTERM)

    def test_terminated_in_mid_stream(self):
        self.migrate()
        self.check_ends(signal.SIGTERM)
        wait_until(lambda: self.source.registers() == (NOT_STARTED, NONE), PATIENCE, "a fresh page")

    def test_no_key_stops_the_program(self):
        """Keys of which the library wants more before it goes on."""
        for keys in ("\x1b", "\x12", "\x16", "\x18", b"\xc3", "\u00e4", b"\xff"):
            with self.subTest(keys=keys):
                self.terminal.type(keys)
                self.assertEqual(self.qmp.execute("query-snp-migrate")["status"], "none")
        self.terminal.type("\x03")
        self.terminal.wait_text(PROMPT)
        self.terminal.type("info snp_migrate\n")
        self.terminal.wait_text("Migration status: none")
        self.check_ends(signal.SIGTERM)

    def test_end_of_input(self):
        """The program serves on; a Ctrl-C ends it, as without a monitor on the terminal."""
        def ended():
            self.terminal.type("\x04")  # again, should it have come before the library had the terminal
            time.sleep(0.02)
            return self.terminal.find("\n")
        wait_until(ended, PATIENCE, "a new line")
        self.assertEqual(self.qmp.execute("query-snp-migrate")["status"], "none")
        self.check_ends(signal.SIGINT)


if __name__ == "__main__":
    main()
