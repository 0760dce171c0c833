#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The test guests themselves: does each play its side of the page, and misbehave as it is told to?"""

import os
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import vm  # noqa: E402
from guest import (BLOCK_SIZE, COMPLETED, INCOMING, NONE, NOT_STARTED, READ, READY, RUNNING,  # noqa: E402
                   PageRelay, SimGuest, free_huge_pages, wait_until)

ADDRESS = 0x3000
BLOCKS = 200
# Pinned: XXH3 over the first 200 blocks of seed 1. Both kinds of guest, on every machine, must agree.
CHECKSUM_SEED_1 = "90f4ee1739ae07e4"


class GuestTest(unittest.TestCase):
    """Gives each test a file of RAM on tmpfs, as QEMU would."""

    def setUp(self):
        folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
        directory = tempfile.TemporaryDirectory(dir=folder)
        self.addCleanup(directory.cleanup)
        self.memory = os.path.join(directory.name, "ram")

    def start(self, role, **options):
        options.setdefault("timeout", 60)
        guest = SimGuest(role, self.memory, ADDRESS, create="64k", **options)
        self.addCleanup(guest.kill)
        return guest, PageRelay(guest.page)

    def source_blocks(self, **options):
        guest, relay = self.start("source", **options)
        relay.start(RUNNING)
        blocks = relay.take()
        self.assertEqual(guest.wait(), 0)
        return blocks


class SourceTest(GuestTest):
    def test_stream_and_registers(self):
        guest, relay = self.start("source", blocks=BLOCKS, seed=1)
        self.assertEqual(guest.registers(), (NOT_STARTED, NONE))
        relay.start(RUNNING)
        blocks = relay.take()
        self.assertEqual(len(blocks), BLOCKS)
        self.assertEqual(len(set(blocks)), BLOCKS)
        self.assertEqual(guest.result(), (BLOCKS, BLOCKS * BLOCK_SIZE, CHECKSUM_SEED_1))
        self.assertEqual(guest.wait(), 0)
        self.assertEqual(guest.registers(), (COMPLETED, READ))

    def test_completed_does_not_wait_for_the_last_block(self):
        guest, relay = self.start("source", blocks=1)
        relay.start(RUNNING)
        guest.result()
        self.assertEqual(guest.registers(), (COMPLETED, READY))
        self.assertEqual(len(relay.take()), 1)

    def test_empty_stream(self):
        self.assertEqual(self.source_blocks(size=0), [])

    def test_size_with_suffix(self):
        self.assertEqual(len(self.source_blocks(size="64k")), 32)

    def test_several_runs_in_one_boot(self):
        guest, relay = self.start("source", blocks=20, runs=3)
        streams = []
        for _ in range(3):
            relay.start(RUNNING)
            streams.append(b"".join(relay.take()))
            self.assertEqual(guest.result().blocks, 20)
        self.assertEqual(guest.wait(), 0)
        self.assertEqual(len(set(streams)), 3)

    def test_strict_guest_ignores_a_cancel(self):
        guest, relay = self.start("source", blocks=BLOCKS)
        relay.start(RUNNING)
        relay.take(10)
        guest.page.status = NOT_STARTED
        self.assertEqual(len(relay.take()), BLOCKS - 10)

    def test_cancellable_guest_gives_up_and_starts_anew(self):
        guest, relay = self.start("source", blocks=BLOCKS, seed=1, cancellable=True)
        relay.start(RUNNING)
        relay.take(10)
        guest.page.status = NOT_STARTED
        guest.wait_line(r"^cancelled at block 1[01]$")
        self.assertEqual(guest.registers(), (NOT_STARTED, NONE))
        relay.start(RUNNING)
        self.assertEqual(len(relay.take()), BLOCKS)
        self.assertEqual(guest.result().checksum, CHECKSUM_SEED_1)

    def test_term_prints_what_there_is(self):
        guest, relay = self.start("source", blocks=BLOCKS, polite=True)
        relay.start(RUNNING)
        relay.take(7)
        wait_until(lambda: guest.page.data == READY, what="the eighth block")
        self.assertEqual(guest.terminate(), 128 + signal.SIGTERM)
        self.assertEqual(guest.result().blocks, 8)

    def test_timeout(self):
        guest, _ = self.start("source", blocks=1, timeout=1)
        self.assertEqual(guest.wait(), 1)
        self.assertIn("not done after 1 seconds", guest.errors)

    def test_keep_page(self):
        with open(self.memory, "wb") as file:
            file.write(b"\5" * 0x10000)
        guest, _ = self.start("source", blocks=1, keep_page=True)
        self.assertEqual(guest.page.read(), b"\5" * 4096)

    def test_page_is_zeroed_first(self):
        with open(self.memory, "wb") as file:
            file.write(b"\5" * 0x10000)
        guest, _ = self.start("source", blocks=1)
        self.assertEqual(guest.page.read(), bytes(4096))

    def test_usage_errors(self):
        for options in ({}, {"size": 100}, {"size": "4q"}, {"blocks": 1, "misbehave": "sulk"},
                        {"blocks": 1, "verify": True}, {"blocks": 1, "runs": -1}):
            guest = SimGuest("source", self.memory, ADDRESS, wait=False, create="64k", **options)
            with guest:
                self.assertEqual(guest.wait(), 2, options)
                self.assertTrue(guest.errors.startswith("snprelay-guest: "), guest.errors)

    def test_page_outside_the_file(self):
        with SimGuest("source", self.memory, 0x10000, wait=False, create="64k", blocks=1) as guest:
            self.assertEqual(guest.wait(), 1)
            self.assertIn("0x10000", guest.errors)


class DestinationTest(GuestTest):
    def setUp(self):
        super().setUp()
        self.blocks = self.source_blocks(blocks=BLOCKS, seed=1)

    def give(self, stream, **options):
        guest, relay = self.start("destination", **options)
        relay.start(INCOMING)
        relay.give(stream)
        relay.complete()
        return guest

    def test_stream_and_registers(self):
        guest = self.give(self.blocks, verify=True, seed=1, blocks=BLOCKS)
        self.assertEqual(guest.result(), (BLOCKS, BLOCKS * BLOCK_SIZE, CHECKSUM_SEED_1))
        self.assertEqual(guest.wait(), 0)
        self.assertEqual(guest.registers(), (COMPLETED, READ))

    def test_completed_right_after_ready_loses_nothing(self):
        guest, relay = self.start("destination")
        relay.start(INCOMING)
        relay.give(self.blocks[:-1])
        wait_until(lambda: guest.page.data == READ, what="the last block but one to be read")
        os.kill(guest.pid, signal.SIGSTOP)  # so that it wakes up to both
        relay.give(self.blocks[-1:])
        guest.page.status = COMPLETED
        os.kill(guest.pid, signal.SIGCONT)
        self.assertEqual(guest.result().checksum, CHECKSUM_SEED_1)

    def test_two_runs_in_one_boot(self):
        guest, relay = self.start("destination", runs=2)
        for count in (BLOCKS, 3):
            relay.start(INCOMING)
            relay.give(self.blocks[:count])
            relay.complete()
            self.assertEqual(guest.result().blocks, count)
        self.assertEqual(guest.wait(), 0)

    def wrong(self, blocks, number):
        guest = self.give(blocks, verify=True, seed=1)
        self.assertEqual(guest.wait(), 1)
        guest.wait_line(f"^wrong block {number}$")
        self.assertNotEqual(guest.result().checksum, CHECKSUM_SEED_1)

    def test_lost_block(self):
        self.wrong(self.blocks[:50] + self.blocks[51:], 50)

    def test_doubled_block(self):
        self.wrong(self.blocks[:50] + self.blocks[49:], 50)

    def test_swapped_blocks(self):
        swapped = list(self.blocks)
        swapped[7], swapped[8] = swapped[8], swapped[7]
        self.wrong(swapped, 7)

    def test_torn_block(self):
        torn = list(self.blocks)
        torn[9] = torn[9][:1024] + torn[10][1024:]
        self.wrong(torn, 9)

    def test_too_few_blocks(self):
        guest = self.give(self.blocks[:-1], verify=True, seed=1, blocks=BLOCKS)
        self.assertEqual(guest.wait(), 1)
        guest.wait_line(f"^expected {BLOCKS} blocks$")

    def test_cancellable_guest_gives_up(self):
        guest, relay = self.start("destination", cancellable=True)
        relay.start(INCOMING)
        relay.give(self.blocks[:5])
        guest.page.status = NOT_STARTED
        guest.wait_line(r"^cancelled at block [45]$")
        self.assertEqual(guest.registers(), (NOT_STARTED, NONE))

    def test_latency_is_measured(self):
        blocks = self.source_blocks(blocks=BLOCKS, pattern="latency", interval=50)
        guest = self.give(blocks, latency=True)
        match = guest.wait_line(r"^latency median ([0-9.]+) us p99 ([0-9.]+) us blocks 200$")
        self.assertGreater(float(match[1]), 0)
        self.assertGreaterEqual(float(match[2]), float(match[1]))


class MisbehaviourTest(GuestTest):
    def test_stop(self):
        guest, relay = self.start("source", blocks=BLOCKS, misbehave="stop:50")
        relay.start(RUNNING)
        self.assertEqual(len(relay.take(50)), 50)
        guest.wait_line("^stopped at block 50$")
        self.assertEqual(guest.registers(), (RUNNING, READ))
        self.assertEqual(guest.terminate(), 143)
        self.assertEqual(guest.result().blocks, 50)

    def test_stop_of_a_destination(self):
        guest, relay = self.start("destination", misbehave="stop:3")
        relay.start(INCOMING)
        relay.give([bytes(BLOCK_SIZE)] * 4)
        guest.wait_line("^stopped at block 3$")
        self.assertEqual(guest.registers(), (INCOMING, READY))
        self.assertEqual(guest.terminate(), 143)
        self.assertEqual(guest.result().blocks, 3)

    def test_exit(self):
        guest, relay = self.start("source", blocks=BLOCKS, misbehave="exit:50")
        relay.start(RUNNING)
        self.assertEqual(len(relay.take(50)), 50)
        guest.wait_line("^exit at block 50$")
        self.assertEqual(guest.wait(), 1)

    def test_rewrite(self):
        honest = self.source_blocks(blocks=BLOCKS, seed=1)
        guest, relay = self.start("source", blocks=BLOCKS, seed=1, misbehave="rewrite:50")
        relay.start(RUNNING)
        blocks = relay.take()
        self.assertTrue(blocks[:50] == honest[:50])
        self.assertFalse(blocks[50:] == honest[50:])
        self.assertEqual(guest.result(), (BLOCKS, BLOCKS * BLOCK_SIZE, CHECKSUM_SEED_1))
        self.assertEqual(guest.wait(), 0)

    def test_rewrite_of_a_destination(self):
        guest, relay = self.start("destination", misbehave="rewrite:0", verify=True)
        relay.start(INCOMING)
        relay.give([bytes(BLOCK_SIZE)] * BLOCKS)
        relay.complete()
        self.assertEqual(guest.result().blocks, BLOCKS)

    def test_registers(self):
        guest, relay = self.start("source", blocks=BLOCKS, misbehave="registers:5")
        relay.start(RUNNING)
        relay.take(5)
        guest.wait_line("^impossible registers at block 5$")
        status, data = guest.registers()
        self.assertNotIn(status, (NOT_STARTED, INCOMING, RUNNING, COMPLETED))
        self.assertNotIn(data, (NONE, READY, READ))

    def test_reset(self):
        guest, relay = self.start("source", blocks=BLOCKS, seed=1, misbehave="reset:50")
        relay.start(RUNNING)
        relay.take(50)
        guest.wait_line("^reset$")
        self.assertEqual(guest.page.read(), bytes(4096))
        relay.start(RUNNING)
        self.assertEqual(len(relay.take()), BLOCKS)
        self.assertEqual(guest.result().checksum, CHECKSUM_SEED_1)

    def test_early_ready(self):
        guest, relay = self.start("destination", misbehave="early-ready")
        self.assertEqual(guest.registers(), (NOT_STARTED, READY))
        guest.page.status = INCOMING  # before "read" is stored, as the proof of concept did: a phantom
        relay.complete()
        self.assertEqual(guest.result().blocks, 1)

    def test_late_complete(self):
        guest, relay = self.start("source", blocks=10, misbehave="late-complete")
        relay.start(RUNNING)
        relay.take(10)
        self.assertEqual(guest.page.status, RUNNING)
        self.assertEqual(relay.take(), [])
        self.assertEqual(guest.wait(), 0)


class HugePageTest(GuestTest):
    def test_page_inside_a_huge_page(self):
        with open("/proc/mounts", encoding="utf-8") as file:
            mounts = [line.split()[1] for line in file if line.split()[2] == "hugetlbfs"]
        if not mounts or not free_huge_pages()[0]:
            self.skipTest("no hugetlbfs with a free page")
        path = os.path.join(mounts[0], f"snprelay-guest-{os.getpid()}")
        self.addCleanup(os.unlink, path)
        with SimGuest("source", path, ADDRESS, create=free_huge_pages()[1], blocks=BLOCKS, seed=1,
                      timeout=60) as guest:
            relay = PageRelay(guest.page)
            relay.start(RUNNING)
            relay.take()
            self.assertEqual(guest.result().checksum, CHECKSUM_SEED_1)


class VirtualMachineTest(GuestTest):
    """The bare-metal guest, with every accelerator that works here."""

    PAGE = 0x2000000

    def setUp(self):
        super().setUp()
        if not vm.accelerators():
            self.skipTest("no qemu-system-x86_64 that runs the bare-metal guest")

    def each_accelerator(self):
        for accel in vm.accelerators():
            with self.subTest(accel=accel):
                yield accel

    def test_source_then_destination(self):
        for accel in self.each_accelerator():
            with vm.GuestVm("source", self.PAGE, path=self.memory, accel=accel,
                            size=BLOCKS * BLOCK_SIZE, seed=1) as guest:
                relay = PageRelay(guest.page())
                relay.start(RUNNING)
                blocks = relay.take()
                self.assertEqual(guest.result(), (BLOCKS, BLOCKS * BLOCK_SIZE, CHECKSUM_SEED_1))
                self.assertEqual(guest.wait(), vm.EXIT_DONE)
            with vm.GuestVm("destination", self.PAGE, path=self.memory, accel=accel) as guest:
                relay = PageRelay(guest.page())
                relay.start(INCOMING)
                relay.give(blocks)
                relay.complete()
                self.assertEqual(guest.result(), (BLOCKS, BLOCKS * BLOCK_SIZE, CHECKSUM_SEED_1))
                self.assertEqual(guest.wait(), vm.EXIT_DONE)

    def test_last_block_is_waited_for(self):
        with vm.GuestVm("source", self.PAGE, path=self.memory, size=BLOCK_SIZE) as guest:
            relay = PageRelay(guest.page())
            relay.start(RUNNING)
            guest.result()
            with self.assertRaises(subprocess.TimeoutExpired):
                guest.process.wait(0.5)
            self.assertEqual(len(relay.take()), 1)
            self.assertEqual(guest.wait(), vm.EXIT_DONE)

    def test_page_above_4_gib(self):
        for accel in self.each_accelerator():
            with vm.GuestVm("source", 0x140000000, path=self.memory, accel=accel, ram="4G",
                            size=BLOCKS * BLOCK_SIZE, seed=1) as guest:
                relay = PageRelay(guest.page(0x140000000 - 0x100000000 + 0x80000000))
                relay.start(RUNNING)
                relay.take()
                self.assertEqual(guest.result().checksum, CHECKSUM_SEED_1)

    def test_cancellable_and_runs(self):
        with vm.GuestVm("source", self.PAGE, path=self.memory, size=20 * BLOCK_SIZE, runs=2,
                        cancellable=True) as guest:
            relay = PageRelay(guest.page())
            relay.start(RUNNING)
            relay.take(5)
            relay.page.status = NOT_STARTED
            guest.wait_line("^cancelled at block [56]$")
            wait_until(lambda: relay.page.data == NONE, what="the guest to give up")
            for _ in range(2):
                relay.start(RUNNING)
                self.assertEqual(len(relay.take()), 20)
                self.assertEqual(guest.result().blocks, 20)
            self.assertEqual(guest.wait(), vm.EXIT_DONE)

    def test_stay(self):
        with vm.GuestVm("destination", self.PAGE, path=self.memory, stay=True) as guest:
            relay = PageRelay(guest.page())
            for _ in range(3):
                relay.start(INCOMING)
                relay.give([bytes(BLOCK_SIZE)] * 2)
                relay.complete()
                self.assertEqual(guest.result().blocks, 2)

    def test_wrong_options(self):
        for options in ({"speed": 3}, {"size": "x"}):
            with vm.GuestVm("source", self.PAGE, path=self.memory, wait=False, **options) as guest:
                guest.wait_line("^error: ")
                self.assertEqual(guest.wait(), vm.EXIT_FAILED)

    def test_page_that_is_no_ram(self):
        with vm.GuestVm("source", 0x40000000, path=self.memory, wait=False) as guest:
            guest.wait_line("^error: page=: no RAM there")
            self.assertEqual(guest.wait(), vm.EXIT_FAILED)

    def test_every_kind_of_memory_boots(self):
        for memory in vm.MEMORY_KINDS:
            with self.subTest(memory=memory):
                if not vm.can_have(memory):
                    self.skipTest("no free huge pages")
                with vm.GuestVm("source", self.PAGE, memory=memory, path=self.memory, size="4k"):
                    pass


if __name__ == "__main__":
    if "SNPRELAY_BUILD" not in os.environ:
        sys.exit("set SNPRELAY_BUILD to cmake's binary directory")
    unittest.main()
