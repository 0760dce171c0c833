# SPDX-License-Identifier: LGPL-2.1-or-later
"""The processes of one measurement: started, read from, timed, and ended with it however that goes."""

import collections
import contextlib
import ctypes
import itertools
import os
import re
import select
import signal
import subprocess
import time

PAGE = 0x3000  # where a guest's page is
MEMORY_SIZE = 0x10000

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class BenchError(Exception):
    """A program of a measurement did not do what it should."""

    def __init__(self, text):
        super().__init__(text)
        self.text = text

    def __str__(self):
        return self.text

    def add_note_of(self, processes):
        """Adds what those PROCESSES said that have failed."""
        for process in processes:
            if process.wait(0) and process.status not in (0, 3) and str(process) not in self.text:
                self.text += f"; {process}: exit status {process.status}: {process.output.strip()[-200:]}"


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A program whose output is one stream of lines. Made by Rig.start()."""

    def __init__(self, arguments, pass_fds, patience):
        self.arguments = [str(argument) for argument in arguments]
        self.patience = patience
        self.status = None  # exit status, negative for a signal
        self.cpu_seconds = None  # user and system, once it has ended
        self._text = b""
        self._open = True
        self._process = subprocess.Popen(
            self.arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=pass_fds, preexec_fn=_die_with_parent)
        self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid)

    def __str__(self):
        return f"{os.path.basename(self.arguments[0])} {' '.join(self.arguments[1:])}"

    @property
    def output(self):
        return self._text.decode(errors="replace")

    def _read(self, timeout):
        """Reads what comes within TIMEOUT. False: nothing came."""
        if not self._open or not select.select([self._process.stdout], [], [], max(timeout, 0))[0]:
            return False
        data = os.read(self._process.stdout.fileno(), 65536)
        self._open = bool(data)
        self._text += data
        return True

    def wait_line(self, pattern, timeout=None):
        """Waits for a whole line in which PATTERN is found; returns the match."""
        deadline = time.monotonic() + (timeout or self.patience)
        expression = re.compile(pattern)
        while True:
            for line in self.output.split("\n")[:-1]:
                match = expression.search(line)
                if match:
                    return match
            if not self._read(deadline - time.monotonic()):
                why = "in time" if self._open else "before the end"
                raise BenchError(f"{self}: no '{pattern}' {why}: {self.output.strip()[-400:]}")

    def wait(self, timeout=None):
        """Waits for the end. False: it goes on."""
        if self.status is None:
            timeout = self.patience if timeout is None else timeout
            if not select.select([self._pidfd], [], [], max(timeout, 0))[0]:
                return False
            _, status, usage = os.wait4(self.pid, 0)
            self.status = self._process.returncode = os.waitstatus_to_exitcode(status)
            self.cpu_seconds = usage.ru_utime + usage.ru_stime
            while self._read(0):
                pass
        return True

    def finish(self, *right):
        """Waits for the end, which must come with one of these exit statuses (0)."""
        if not self.wait():
            raise BenchError(f"{self} does not end: {self.output.strip()[-400:]}")
        if self.status not in (right or (0,)):
            raise BenchError(f"{self}: exit status {self.status}: {self.output.strip()[-400:]}")

    def interrupt(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGINT)

    def kill(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            if self._pidfd >= 0:
                self.wait()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        self._process.stdin.close()
        self._process.stdout.close()

    def running_ns(self):
        """The processor time of all its threads that live, in ns."""
        total = 0
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(f"/proc/{self.pid}/task/{task}/schedstat", encoding="ascii") as file:
                    total += int(file.read().split()[0])
        return total

    def memory_bytes(self):
        """Its anonymous memory."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(r"^RssAnon:\s+(\d+) kB", file.read(), re.M)[1]) * 1024


Memory = collections.namedtuple("Memory", "fd path spec")


class Rig:
    """Everything that one measurement starts. Usable in a with statement, which ends it all."""

    _numbers = itertools.count()

    def __init__(self, build, patience):
        self.build = build
        self.patience = patience
        self._processes = []
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, BenchError):
            # What went wrong first explains more than who waited for it in vain.
            error.add_note_of(self._processes)
        self._stack.close()

    def memory(self, size=MEMORY_SIZE):
        """A guest's RAM: a memory file without a name, so that nothing of it can stay behind."""
        fd = os.memfd_create("bench")
        self._stack.callback(os.close, fd)
        os.ftruncate(fd, size)
        return Memory(fd, f"/proc/self/fd/{fd}", f"fd:{fd}")

    def address(self, transport):
        """Where to listen: an abstract name, or a free port."""
        if transport == "tcp":
            return "tcp:127.0.0.1:0"
        return f"unix:@snprelay-bench-{os.getpid()}-{next(self._numbers)}"

    def start(self, program, *arguments, memory=None):
        """PROGRAM is a path in the build directory."""
        process = Process([os.path.join(self.build, program), *arguments],
                          [memory.fd] if memory else [], self.patience)
        self._processes.append(process)
        self._stack.callback(process.kill)
        return process

    def bench(self, name, *arguments, memory=None):
        return self.start(f"tests/bench/bench-{name}", *arguments, memory=memory)

    def wait_begun(self, memory, relay):
        """Waits until RELAY has told the guest to start (or has ended)."""
        deadline = time.monotonic() + self.patience
        while os.pread(memory.fd, 1, PAGE) == b"\0" and not relay.wait(0.002):
            if time.monotonic() > deadline:
                raise BenchError(f"{relay} does not begin: {relay.output.strip()[-400:]}")

    def guest(self, role, memory, *options):
        """A simulated guest; its page may be used when this returns."""
        guest = self.start("tests/guest/snprelay-guest", role, "--memory", memory.path, "--address",
                           hex(PAGE), "--no-checksum", *options, memory=memory)
        guest.wait_line("^page at")
        return guest

    def relay(self, command, address, memory, *options, page=PAGE):
        """`snprelay send` or `snprelay receive`."""
        return self.start("relay/program/snprelay", command, address, hex(page), "--guest-memory",
                          memory.spec, "--json", "--log-level", "error", *options, memory=memory)


def listening(process):
    """The address that a program says that it listens on."""
    address = process.wait_line(r"listening on (\S+)")[1]
    if address.endswith(",abstract=on"):  # the other way to write it
        address = address.replace("unix:", "unix:@").removesuffix(",abstract=on")
    return address
