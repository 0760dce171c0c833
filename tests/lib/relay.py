# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starts snprelay as users do, and talks to it over its monitors.

RelayTest is the test case that everything about running relays is built on: it makes guests and relays
in a directory of its own, and ends them with the test, however that goes.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

import hmp
from guest import COMPLETED, READ, GuestError, SimGuest, build_path, wait_until
from qmp import Qmp

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the programs inherit it; the tests may run under nohup

# Generous: tests wait for conditions, and other work may go on beside them.
PATIENCE = 60
PAGE = 0x3000
# A relay that forgot to wake up must not be saved by its keep-alive.
NO_HELP = ("--peer-timeout", "600")


class RelayError(Exception):
    """A relay did not do what was waited for."""


def program_path():
    return build_path("relay", "program", "snprelay")


class Hmp(hmp.Hmp):
    """A person at the human monitor: types a line and reads until the prompt is back."""

    def info(self):
        """The fields of `info snp_migrate`."""
        lines = self.execute("info snp_migrate").splitlines()
        return dict(line.split(": ", 1) for line in lines if ": " in line)

    def wait_status(self, *statuses):
        info = None

        def there():
            nonlocal info
            info = self.info()
            return info["Migration status"].split(" ")[0] in statuses

        try:
            wait_until(there, self.deadline, " or ".join(statuses))
        except GuestError as error:
            raise RelayError(f"{error}: {info}") from error
        return info


class Program:
    """A running snprelay, its output in files."""

    def __init__(self, arguments, directory, stdin=subprocess.DEVNULL, pass_fds=()):
        self.arguments = [program_path()] + [argument if isinstance(argument, bytes) else str(argument)
                                             for argument in arguments]
        handle, self._out = tempfile.mkstemp(".out", dir=directory)
        with os.fdopen(handle, "wb") as out, open(self._out[:-3] + "err", "wb") as err:
            self.process = subprocess.Popen(self.arguments, stdin=stdin, stdout=out, stderr=err,
                                            pass_fds=pass_fds)

    @property
    def pid(self):
        return self.process.pid

    @property
    def output(self):
        with open(self._out, encoding="utf-8", errors="replace") as file:
            return file.read()

    @property
    def errors(self):
        with open(self._out[:-3] + "err", encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_error(self, pattern):
        """Waits until PATTERN is found in standard error; returns the match."""

        def there():
            match = re.search(pattern, self.errors)
            if not match and self.process.poll() is not None and not re.search(pattern, self.errors):
                raise RelayError(f"no '{pattern}' and the end, {self.process.poll()}: {self.errors}")
            return match

        try:
            return wait_until(there, PATIENCE, pattern)
        except GuestError as error:
            raise RelayError(f"{error}: {self.errors}") from error

    def listening(self):
        """The URI that a `receive` listens on."""
        return self.wait_error(r"listening on (\S+)\n")[1]

    def json(self):
        """What --json printed."""
        return json.loads(self.output)

    def wait(self, timeout=PATIENCE):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise RelayError(f"{' '.join(self.arguments)} does not end: {self.errors}") from error

    def interrupt(self, number=signal.SIGINT):
        self.process.send_signal(number)

    def cpu_seconds(self):
        """The processor time that it has used."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory_bytes(self, name):
        """A figure of /proc/PID/status, such as VmHWM."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(rf"^{name}:\s+(\d+) kB", file.read(), re.M)[1]) * 1024

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Serve(Program):
    """A running `snprelay serve`, with a client at its QMP and its HMP monitor."""

    def __init__(self, directory, arguments, name):
        self.qmp_path = os.path.join(directory, f"{name}.qmp")
        self.hmp_path = os.path.join(directory, f"{name}.hmp")
        super().__init__(["serve", "--qmp", f"unix:{self.qmp_path}", "--hmp", f"unix:{self.hmp_path}",
                          *arguments], directory)
        self._clients = contextlib.ExitStack()
        self._qmp = self._hmp = None

    def new_qmp(self, **options):
        client = Qmp(f"unix:{self.qmp_path}", deadline=PATIENCE, **options)
        self._clients.callback(client.close)
        return client

    def new_hmp(self):
        client = Hmp(f"unix:{self.hmp_path}", deadline=PATIENCE)
        self._clients.callback(client.close)
        return client

    @property
    def qmp(self):
        self._qmp = self._qmp or self.new_qmp()
        return self._qmp

    @property
    def hmp(self):
        self._hmp = self._hmp or self.new_hmp()
        return self._hmp

    def incoming(self, address=PAGE, uri="tcp:127.0.0.1:0", **options):
        """Starts an incoming migration; returns the URI that it listens on."""
        self.qmp.execute("snp-migrate-incoming", uri=uri, address=address, **options)
        return self.qmp.execute("query-snp-migrate")["listening"][0]

    def outgoing(self, uri, address=PAGE, **options):
        self.qmp.execute("snp-migrate", uri=uri, address=address, **options)

    def set(self, **parameters):
        self.qmp.execute("snp-migrate-set-parameters", **parameters)

    def kill(self):
        self._clients.close()
        super().kill()


class RelayTest(unittest.TestCase):
    """A directory on tmpfs for guests' RAM, and everything in it ends with the test."""

    maxDiff = None

    def setUp(self):
        folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.directory = tempfile.mkdtemp(dir=folder)
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self._count = 0

    def path(self, name):
        return os.path.join(self.directory, name)

    def new_name(self, prefix):
        self._count += 1
        return f"{prefix}{self._count}"

    def guest(self, role, memory=None, **options):
        """A simulated guest with RAM of its own. polite=False: it spins, as a real one does."""
        options = {"polite": True, "timeout": 250, "create": "64k", **options}
        guest = SimGuest(role, memory or self.path(self.new_name(role)), PAGE, **options)
        self.addCleanup(guest.kill)
        return guest

    def run_program(self, *arguments, **options):
        program = Program(arguments, self.directory, **options)
        self.addCleanup(program.kill)
        return program

    def transfer(self, command, uri, guest, *options):
        """A `snprelay send` or `snprelay receive` at a guest's page."""
        return self.run_program(command, uri, hex(guest.address), "--guest-memory",
                                f"file:{guest.memory}", *options)

    def send(self, uri, guest, *options):
        return self.transfer("send", uri, guest, "--json", *options)

    def receive(self, guest, *options, uri="tcp:127.0.0.1:0"):
        return self.transfer("receive", uri, guest, "--json", *options)

    def serve(self, guest, *options):
        """A `snprelay serve` for a guest's RAM."""
        serve = Serve(self.directory, ["--guest-memory", f"file:{guest.memory}", *options],
                      self.new_name("serve"))
        self.addCleanup(serve.kill)
        return serve

    def new_uri(self, transport):
        """A URI to listen on."""
        if transport == "unix":
            return f"unix:{self.path(self.new_name('socket'))}"
        return {"tcp": "tcp:127.0.0.1:0", "tcp6": "tcp:[::1]:0"}[transport]

    def check_completed(self, source, destination, *infos):
        """Both guests and all SnpMigrationInfos must agree, and both pages be at their end."""
        given = source.result(PATIENCE)
        self.assertEqual(destination.result(PATIENCE), given)
        for info in infos:
            self.assertEqual(info["status"], "completed", info)
            self.assertEqual((info["blocks"], info["bytes"], info["checksum"]), given)
            self.assertNotIn("error-desc", info)
        for guest in (source, destination):
            self.assertEqual(guest.registers(), (COMPLETED, READ))
        return given

    def check_failed(self, program, pattern):
        """A `send` or `receive` must have failed for this reason, and say so twice."""
        self.assertEqual(program.wait(), 1, program.errors)
        info = program.json()
        self.assertEqual(info["status"], "failed", info)
        self.assertRegex(info["error-desc"], pattern)
        self.assertRegex(program.errors, pattern)
        self.assertNotIn("checksum", info)
        return info

    def run_pair(self, source, destination, wire="native", transport="tcp", options=()):
        """One migration by `receive` and `send`, which must complete; returns what the guests counted."""
        receive = self.receive(destination, *NO_HELP, *options, uri=self.new_uri(transport))
        send = self.send(receive.listening(), source, "--wire", wire, *NO_HELP, *options)
        self.assertEqual(send.wait(), 0, send.errors + receive.errors)
        self.assertEqual(receive.wait(), 0, send.errors + receive.errors)
        self.assertEqual((send.json()["wire"], receive.json()["wire"]), (wire, wire))
        return self.check_completed(source, destination, send.json(), receive.json())


def main():
    """Runs the tests of a file."""
    unittest.main(verbosity=2)
