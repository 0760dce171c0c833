# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starts the simulated guest, and reaches the migration page that a guest shares through a file.

The programs are found through the environment variable SNPRELAY_BUILD, cmake's binary directory.
"""

import collections
import ctypes
import mmap
import os
import re
import subprocess
import threading
import time

PAGE_SIZE = 4096
BLOCK_SIZE = 2048
BUFFER_OFFSET = 2048
NOT_STARTED, INCOMING, RUNNING, COMPLETED = 0, 1, 2, 3
NONE, READY, READ = 0, 4, 5

_RESULT = re.compile(r"^blocks (\d+) bytes (\d+)(?: checksum ([0-9a-f]{16}))?$")

Result = collections.namedtuple("Result", "blocks bytes checksum")


class GuestError(Exception):
    """A guest did not do what was waited for."""


def build_path(*parts):
    """The path of a file in the binary directory."""
    return os.path.join(os.environ["SNPRELAY_BUILD"], *parts)


def wait_until(condition, timeout=10, what="a condition"):
    """Polls CONDITION until it returns something true, and returns that."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise GuestError(f"waited {timeout} s in vain for {what}")
        time.sleep(0.001)


class Page:
    """A migration page, mapped from the file that holds a guest's RAM."""

    def __init__(self, path, offset):
        descriptor = os.open(path, os.O_RDWR)
        try:
            block = os.fstatvfs(descriptor).f_bsize
            unit = max(block, PAGE_SIZE) if block > 65536 else PAGE_SIZE  # huge pages: whole ones
            self._map = mmap.mmap(descriptor, unit, offset=offset // unit * unit)
        finally:
            os.close(descriptor)
        view = (ctypes.c_uint8 * PAGE_SIZE).from_buffer(self._map, offset % unit)
        self._bytes = view
        self._buffer = ctypes.addressof(view) + BUFFER_OFFSET

    @property
    def status(self):
        return self._bytes[0]

    @status.setter
    def status(self, value):
        self._bytes[0] = value

    @property
    def data(self):
        return self._bytes[1]

    @data.setter
    def data(self, value):
        self._bytes[1] = value

    def registers(self):
        return self._bytes[0], self._bytes[1]

    def read(self):
        """The whole page."""
        return bytes(self._bytes)

    def buffer(self):
        """A copy of the data buffer."""
        return ctypes.string_at(self._buffer, BLOCK_SIZE)

    def fill(self, block):
        ctypes.memmove(self._buffer, bytes(block), BLOCK_SIZE)

    def poke(self, offset, data):
        """Writes DATA (bytes, or one byte's value) at OFFSET of the page."""
        data = bytes([data]) if isinstance(data, int) else bytes(data)
        if offset + len(data) > PAGE_SIZE:
            raise ValueError("outside the page")
        for index, value in enumerate(data):
            self._bytes[offset + index] = value


class PageRelay:
    """Plays the host's side of a page in plain Python: slow, and simple enough to be believed."""

    def __init__(self, page, timeout=20):
        self.page = page
        self.timeout = timeout

    def _spin(self, condition, what):
        deadline = time.monotonic() + self.timeout
        turns = 0
        while not condition():
            turns += 1
            if turns % 64 == 0:
                os.sched_yield()
                if time.monotonic() > deadline:
                    raise GuestError(f"waited {self.timeout} s in vain for {what}; the registers are "
                                     f"{self.page.registers()}")

    def start(self, status):
        self.page.data = READ
        self.page.status = status

    def take(self, most=None):
        """Takes one run from a source that was started; MOST blocks at most. Returns the blocks."""
        blocks = []
        while most is None or len(blocks) < most:
            status = RUNNING

            def turn():
                nonlocal status
                status = self.page.status  # before the data register: the last block must not get lost
                return self.page.data == READY or status == COMPLETED

            self._spin(turn, f"block {len(blocks)}")
            if self.page.data == READY:
                blocks.append(self.page.buffer())
                self.page.data = READ
            elif status == COMPLETED:
                break
        return blocks

    def give(self, blocks):
        """Gives BLOCKS to a destination that was started."""
        for number, block in enumerate(blocks):
            self._spin(lambda: self.page.data == READ, f"block {number} to be read")
            self.page.fill(block)
            self.page.data = READY

    def complete(self):
        """Ends a destination's run once its last block was read."""
        self._spin(lambda: self.page.data == READ, "the last block to be read")
        self.page.status = COMPLETED


class LineProgram:
    """A child process whose standard output is read line by line. A context manager that kills it."""

    def __init__(self, arguments):
        self.arguments = [str(argument) for argument in arguments]
        self.lines = []
        self._changed = threading.Condition()
        self._closed = False
        self._results_end = 0  # the line after the last result that was asked for
        self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._errors = []
        self._readers = [threading.Thread(target=self._read_lines, daemon=True),
                         threading.Thread(target=self._read_errors, daemon=True)]
        for reader in self._readers:
            reader.start()

    def _read_lines(self):
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.decode(errors="replace").rstrip("\r\n"))
                self._changed.notify_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _read_errors(self):
        for line in self.process.stderr:
            self._errors.append(line.decode(errors="replace"))

    @property
    def pid(self):
        return self.process.pid

    @property
    def errors(self):
        """What it wrote to standard error so far."""
        return "".join(self._errors)

    def wait_line(self, pattern, timeout=20, start=0):
        """Waits for a line, from line number START on, in which PATTERN is found. Returns the match."""
        deadline = time.monotonic() + timeout
        expression = re.compile(pattern)
        position = start
        with self._changed:
            while True:
                while position < len(self.lines):
                    match = expression.search(self.lines[position])
                    position += 1
                    if match:
                        return match
                left = deadline - time.monotonic()
                if self._closed or left <= 0:
                    why = "it ended" if self._closed else f"{timeout} s passed"
                    raise GuestError(f"no line with '{pattern}', {why}: {self.lines} {self.errors} "
                                     f"({' '.join(self.arguments)})")
                self._changed.wait(left)

    def result(self, timeout=60):
        """Waits for the result of the next run that was not asked for yet."""
        match = self.wait_line(_RESULT.pattern, timeout, self._results_end)
        self._results_end = self.lines.index(match.string, self._results_end) + 1
        return Result(int(match[1]), int(match[2]), match[3])

    def wait(self, timeout=20):
        """Waits for the end and returns the exit status."""
        status = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(timeout)
        return status

    def terminate(self, timeout=20):
        """Sends SIGTERM and returns the exit status."""
        self.process.terminate()
        return self.wait(timeout)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.kill()


class SimGuest(LineProgram):
    """A simulated guest. Options are those of snprelay-guest: misbehave="stop:10", cancellable=True."""

    def __init__(self, role, memory, address, offset=0, wait=True, **options):
        self.address = address
        self.memory = memory
        self._offset = offset
        self._page = None
        arguments = [build_path("tests", "guest", "snprelay-guest"), role,
                     "--memory", f"{memory},offset={offset}" if offset else memory,
                     "--address", hex(address)]
        for name, value in options.items():
            name = "--" + name.replace("_", "-")
            if value is True:
                arguments.append(name)
            elif value is not False and value is not None:
                arguments += [name, str(value)]
        super().__init__(arguments)
        if wait:
            self.wait_page()

    def wait_page(self, timeout=20):
        """Waits until the page may be used; what is written into it before that is lost."""
        self.wait_line(r"^page at 0x[0-9a-f]+$", timeout)

    @property
    def page(self):
        if self._page is None:
            self._page = Page(self.memory, self._offset + self.address)
        return self._page

    def registers(self):
        """The status and the data register."""
        return self.page.registers()

    def poke(self, offset, data):
        self.page.poke(offset, data)


def free_huge_pages():
    """The number of free huge pages of the default size, and their size in bytes."""
    with open("/proc/meminfo", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    return (int(fields.get("HugePages_Free", "0")),
            int(fields.get("Hugepagesize", "0 kB").split()[0]) * 1024)
