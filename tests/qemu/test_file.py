#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two virtual machines under a stock QEMU, their RAM in files, and a relay beside each."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import vm  # noqa: E402
from guest import COMPLETED, NONE, NOT_STARTED, READ, wait_until  # noqa: E402
from relay import PATIENCE, RelayTest  # noqa: E402

SIZES = {"kvm": "64M", "tcg": "64M"}


class FileTest(RelayTest):
    """Bare-metal guests, for which nothing between them and the relay is simulated."""

    def machine(self, accel, role, **options):
        path = self.path(self.new_name("ram"))
        machine = vm.GuestVm(role, path=path, accel=accel, **options)
        self.addCleanup(machine.kill)
        machine.memory = path
        return machine

    def make(self, accel, runs=1, **options):
        self.source = self.machine(accel, "source", runs=runs, **options)
        cancellable = {"cancellable": options.get("cancellable")}
        self.destination = self.machine(accel, "destination", runs=runs, **cancellable)
        self.left, self.right = self.serve(self.source), self.serve(self.destination)

    def migrate(self, wire):
        """As two people at two monitors do it."""
        address = f"{self.source.address:#x}"
        self.assertEqual(self.left.hmp.execute(f"snp_migrate_set_parameter wire {wire}"), "")
        self.assertEqual(self.right.hmp.execute(f"snp_migrate_incoming tcp:127.0.0.1:0 {address}"), "")
        uri = self.right.hmp.info()["listening"]
        self.assertEqual(self.left.hmp.execute(f"snp_migrate -d {uri} {address}"), "")

    def check_end(self):
        infos = [side.hmp.wait_status("completed", "failed") for side in (self.left, self.right)]
        given, taken = self.source.result(PATIENCE), self.destination.result(PATIENCE)
        self.assertEqual(given, taken)
        for info in infos:
            self.assertEqual(info["Migration status"], "completed")
            self.assertEqual(info["checksum"], given.checksum)
            self.assertEqual(info["transferred"], f"{given.bytes} bytes in {given.blocks} blocks")
        for machine in (self.source, self.destination):
            self.assertEqual(machine.page().registers(), (COMPLETED, READ))
        return given

    def accelerators(self):
        for accel in vm.accelerators():
            with self.subTest(accel=accel):
                yield accel

    def test_64_mib(self):
        for accel in self.accelerators():
            for wire in ("native", "poc"):
                with self.subTest(wire=wire):
                    self.make(accel, size=SIZES[accel], seed=3)
                    self.assertEqual(self.source.page().registers(), (NOT_STARTED, NONE))
                    self.migrate(wire)
                    self.assertEqual(self.check_end().bytes, 64 << 20)

    def test_several_runs_in_one_boot(self):
        for accel in self.accelerators():
            self.make(accel, size="256k", runs=4)
            for wire in ("native", "poc", "native", "poc"):
                self.migrate(wire)
                self.check_end()

    def test_cancel(self):
        """Guests that can give up do, and the next run is a whole one."""
        for accel in self.accelerators():
            self.make(accel, size="64M", cancellable=True)
            self.left.set(max_bandwidth=1 << 20)
            self.migrate("native")
            self.left.qmp.wait_status("active")
            wait_until(lambda: self.right.qmp.execute("query-snp-migrate")["blocks"] > 10, PATIENCE, "blocks")
            self.assertEqual(self.left.hmp.execute("snp_migrate_cancel"), "")
            for side, machine in ((self.left, self.source), (self.right, self.destination)):
                side.qmp.wait_status("cancelled")
                wait_until(lambda page=machine.page(): page.registers() == (NOT_STARTED, NONE), PATIENCE,
                           "a guest that gave up")
            self.left.set(max_bandwidth=0)
            self.migrate("native")
            self.assertEqual(self.check_end().bytes, 64 << 20)

    def test_inspect(self):
        machine = self.machine(vm.accelerators()[0], "source", size="64k")
        program = self.run_program("inspect", hex(machine.address), "--guest-memory", f"file:{machine.memory}")
        self.assertEqual(program.wait(), 0, program.errors)
        self.assertIn("migration can start: yes", program.output)


if __name__ == "__main__":
    if not vm.accelerators():
        print("no QEMU here that runs the bare-metal guest")
        sys.exit(77)
    unittest.main(verbosity=2)
