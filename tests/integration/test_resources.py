#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a relay uses: processor time while nothing happens, memory for a long stream, descriptors over many."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from guest import wait_until  # noqa: E402
from relay import NO_HELP, PATIENCE, RelayTest, main  # noqa: E402

MIB = 1 << 20
WATCHED_SECONDS = 3
IDLE_SHARE = 0.01
MIGRATIONS = 50


class IdleTest(RelayTest):
    """Processor time, which does not depend on what else runs on the machine."""

    def check_idle(self, *relays):
        before = [relay.cpu_seconds() for relay in relays]
        start = time.monotonic()
        time.sleep(WATCHED_SECONDS)  # nothing is waited for: this is what is measured
        passed = time.monotonic() - start
        for relay, used in zip(relays, before):
            self.assertLessEqual((relay.cpu_seconds() - used) / passed, IDLE_SHARE, relay.arguments)

    def start_pair(self, wire, source, destination):
        left, right = (self.serve(guest, "--stall-warning", "0", "--window", "64k")
                       for guest in (source, destination))
        left.set(wire=wire)
        left.outgoing(right.incoming())
        left.qmp.wait_status("active", "completed")
        return left, right

    def test_idle(self):
        """No migration; one that listens; one whose guest does nothing; one that is paused."""
        alone = self.serve(self.guest("source", blocks=1))
        alone.qmp.execute("query-status")
        listening = self.serve(self.guest("destination"))
        listening.incoming()
        pairs = []
        for wire in ("native", "poc"):
            pairs += self.start_pair(wire, self.guest("source", blocks=9, misbehave="stop:3"),
                                     self.guest("destination"))
            pairs += self.start_pair(wire, self.guest("source", blocks=99999),
                                     self.guest("destination", misbehave="stop:3"))
        paused = self.start_pair("native", self.guest("source", blocks=99999),
                                 self.guest("destination", misbehave="stop:3"))
        paused[0].qmp.execute("snp-migrate-pause")
        for side in paused:
            side.qmp.wait_status("paused")
        # What waits for a guest looks at it less and less often; what does not has a full or an empty window.
        for side in (*pairs, *paused):
            wait_until(lambda relay=side: relay.qmp.execute("query-snp-migrate")
                       .get("guest-idle-time", 9999) > 2000, PATIENCE, "an idle relay")
        self.check_idle(alone, listening, *pairs, *paused)

    def test_completed(self):
        source, destination = self.guest("source", blocks=9), self.guest("destination")
        left, right = self.start_pair("native", source, destination)
        self.check_completed(source, destination, left.qmp.wait_status("completed"),
                             right.qmp.wait_status("completed"))
        self.check_idle(left, right)


class MemoryTest(RelayTest):
    """The window and little more, however long the stream is: 512 MiB of it."""

    def check_long_stream(self, wire, *options, window=8):
        source = self.guest("source", size="512M", polite=False, seed=1)
        destination = self.guest("destination", polite=False)
        left, right = self.serve(source, *NO_HELP, *options), self.serve(destination, *NO_HELP, *options)
        left.set(wire=wire)
        left.outgoing(right.incoming())
        most = 0
        infos = []
        while len(infos) < 2:
            most = max(most, *(side.memory_bytes("RssAnon") for side in (left, right)))
            infos = [info for info in (side.qmp.execute("query-snp-migrate") for side in (left, right))
                     if info["status"] not in ("setup", "active")]
            time.sleep(0.02)
        self.assertEqual(self.check_completed(source, destination, *infos).bytes, 512 * MIB)
        self.assertLess(most, (window + 16) * MIB)
        for side in (left, right):  # with the program and the libraries
            self.assertLess(side.memory_bytes("VmHWM"), (window + 32) * MIB)

    def test_native(self):
        self.check_long_stream("native")

    def test_poc(self):
        self.check_long_stream("poc")

    def test_slow_destination(self):
        """A window that is full on both sides, and not more."""
        source = self.guest("source", size="64M")
        destination = self.guest("destination", misbehave="stop:3")
        for wire in ("native", "poc"):
            left, right = self.serve(source, "--window", "2M"), self.serve(destination, "--window", "2M")
            left.set(wire=wire)
            left.outgoing(right.incoming())
            wait_until(lambda relay=left: relay.qmp.execute("query-snp-migrate")
                       .get("guest-idle-time", 0) == 0
                       and relay.qmp.execute("query-snp-migrate")["bytes"] >= 2 * MIB, PATIENCE, "a full window")
            for side in (left, right):
                self.assertLess(side.memory_bytes("RssAnon"), 18 * MIB)
            for side in (left, right):
                side.qmp.execute("snp-migrate-cancel")
                side.qmp.wait_status("cancelled", "failed")
            source, destination = self.guest("source", size="64M"), self.guest("destination",
                                                                               misbehave="stop:3")


class LeakTest(RelayTest):
    def count(self, relay):
        """Descriptors and threads; those of a migration that has just ended may still be among them."""
        return relay.descriptors(), len(os.listdir(f"/proc/{relay.pid}/task"))

    def check_no_more(self, relay, before):
        wait_until(lambda: all(now <= then for now, then in zip(self.count(relay), before)), PATIENCE,
                   f"{before}, not {self.count(relay)}")

    def test_migrations(self):
        """After 50 migrations in one serve, as many descriptors and threads as after the second."""
        for wire in ("native", "poc"):
            source = self.guest("source", blocks=20, runs=MIGRATIONS)
            destination = self.guest("destination", runs=MIGRATIONS)
            left, right = self.serve(source, *NO_HELP), self.serve(destination, *NO_HELP)
            left.set(wire=wire)
            for number in range(MIGRATIONS):
                left.outgoing(right.incoming())
                for side in (left, right):
                    self.assertEqual(side.qmp.wait_status("completed", "failed")["status"], "completed")
                source.result(PATIENCE)
                destination.result(PATIENCE)
                if number == 2:
                    before = [self.count(side) for side in (left, right)]
                    memory = [side.memory_bytes("RssAnon") for side in (left, right)]
            for side, count, size in zip((left, right), before, memory):
                self.check_no_more(side, count)
                self.assertLess(side.memory_bytes("RssAnon"), size + 2 * MIB)

    def test_failures(self):
        """The same for starts that fail, cancels and clients that come and go."""
        guest = self.guest("destination")
        relay = self.serve(guest)
        self.assertTrue(relay.hmp.greeting)

        def fail_and_cancel():
            relay.outgoing(f"unix:{self.path('nobody')}")
            relay.qmp.wait_status("failed")
            relay.incoming()
            relay.qmp.execute("snp-migrate-cancel")
            relay.qmp.wait_status("cancelled")

        fail_and_cancel()
        before = self.count(relay)
        for _ in range(40):
            fail_and_cancel()
            relay.new_qmp().close()
            relay.new_hmp().close()
        self.check_no_more(relay, before)


if __name__ == "__main__":
    main()
