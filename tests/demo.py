#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What ./demo shows: two guests, a relay beside each, two commands typed at two monitors, and two checksums."""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from guest import SimGuest, build_path  # noqa: E402
from vm import GuestVm  # noqa: E402

PROMPT = "(snprelay) "
QEMU_PROMPT = "(qemu) "


class Monitor:
    """A person at a human monitor: types a line, reads until the prompt is back."""

    def __init__(self, path, name):
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 20
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        self.socket.settimeout(120)
        self.read_answer()

    def read_answer(self):
        text = ""
        while not text.endswith((PROMPT, QEMU_PROMPT)):
            data = self.socket.recv(65536)
            if not data:
                raise SystemExit(f"the monitor of {self.name} went away")
            text += data.decode()
        return text[: text.rindex("(")].replace("\r", "").strip("\n")

    def type(self, line, show=True):
        self.socket.sendall(line.encode() + b"\n")
        answer = self.read_answer()
        if show:
            print(f"{self.name:12} {PROMPT}{line}")
            if answer:
                print("\n".join(f"{'':12} {text}" for text in answer.splitlines()))
        return answer


def fields(answer):
    """The lines "name: value" of `info snp_migrate`."""
    return dict(line.split(": ", 1) for line in answer.splitlines() if ": " in line)


class Side:
    """One host: a guest, and the relay that serves its page."""

    def __init__(self, role, directory, arguments):
        self.role = role
        self.path = os.path.join(directory, f"monitor-{role}")
        memory = os.path.join(directory, f"ram-{role}")
        stream = {"size": arguments.size, "seed": 1} if role == "source" else {}
        if arguments.qemu:
            qmp = os.path.join(directory, f"qmp-{role}")
            self.guest = GuestVm(role, memory="memfd", qmp=qmp, stay=True, **stream)
            self.address = self.guest.address
            where = f"qemu:{qmp}"
        else:
            self.guest = SimGuest(role, memory, 0x3000, create="64k", **stream)
            self.address = 0x3000
            where = f"file:{memory}"
        command = [build_path("relay", "program", "snprelay"), "serve", "--guest-memory", where,
                   "--hmp", f"unix:{self.path}", "--log-level", "warning"]
        print(f"$ snprelay serve --guest-memory {where} --hmp unix:{self.path} &")
        self.relay = subprocess.Popen(command)
        self.monitor = Monitor(self.path, role)

    def stop(self):
        self.relay.terminate()
        self.relay.wait()
        self.guest.kill()


def show_progress(monitor):
    """Asks until the migration is over, one line that is written over; returns the last answer."""
    while True:
        answer = monitor.type("info snp_migrate", show=False)
        now = fields(answer)
        status = now["Migration status"].split()[0]
        line = f"  {status:10} {now.get('transferred', ''):44} {now.get('throughput', '')}"
        print("\r\033[K" + line if sys.stdout.isatty() else line, end="", flush=True)
        if not sys.stdout.isatty():
            print()
        if status in ("completed", "failed", "cancelled", "paused"):
            if sys.stdout.isatty():
                print()
            return status, now
        time.sleep(0.25)


def migrate(source, destination, wire):
    destination.monitor.type(f"snp_migrate_incoming tcp:127.0.0.1:0 {destination.address:#x}")
    listening = fields(destination.monitor.type("info snp_migrate", show=False))["listening"]
    if wire != "native":
        source.monitor.type(f"snp_migrate_set_parameter wire {wire}")
    source.monitor.type(f"snp_migrate -d {listening} {source.address:#x}")
    status, _ = show_progress(source.monitor)
    source.monitor.type("info snp_migrate")
    return status


def main():
    parser = argparse.ArgumentParser(prog="demo")
    parser.add_argument("--qemu", action="store_true")
    parser.add_argument("--wire", choices=("native", "poc"), default="native")
    parser.add_argument("--size", default=None)
    arguments = parser.parse_args()
    arguments.size = arguments.size or ("64M" if arguments.qemu else "256M")

    kind = "two virtual machines" if arguments.qemu else "two simulated guests"
    print(f"\n{kind}, {arguments.size}, {arguments.wire} wire\n")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        sides = [Side(role, directory, arguments) for role in ("source", "destination")]
        source, destination = sides
        try:
            print()
            status = migrate(source, destination, arguments.wire)
            if status != "completed":
                raise SystemExit(f"the migration is {status}")
            results = [side.guest.result() for side in sides]
        finally:
            for side in sides:
                side.stop()
    print()
    for side, (blocks, size, checksum) in zip(sides, results):
        print(f"{side.role:12} guest: {blocks} blocks, {size} bytes, checksum {checksum}")
    if results[0] != results[1]:
        raise SystemExit("the two guests do NOT agree")
    print("The two guests agree.")


if __name__ == "__main__":
    main()
