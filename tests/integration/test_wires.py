#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Does every byte of every stream arrive: both wires, every transport of a host, every length that matters?"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from guest import COMPLETED, NONE, NOT_STARTED, READ, READY  # noqa: E402
from qmp import QmpError  # noqa: E402
from relay import NO_HELP, PAGE, PATIENCE, RelayTest, main  # noqa: E402

WIRES = ("native", "poc")
# Around a frame of 64 blocks, and around the end of a window.
LENGTHS = (0, 1, 2, 63, 64, 65, 4097)
RUNS = 100


class LengthTest(RelayTest):
    """`send` and `receive`."""

    def check_lengths(self, wire, transport, *options, lengths=LENGTHS):
        for blocks in lengths:
            with self.subTest(blocks=blocks):
                source = self.guest("source", blocks=blocks, seed=blocks)
                destination = self.guest("destination")
                counted = self.run_pair(source, destination, wire, transport, options)
                self.assertEqual(counted.blocks, blocks)

    def test_native_tcp(self):
        self.check_lengths("native", "tcp")

    def test_native_unix(self):
        self.check_lengths("native", "unix")

    def test_poc_tcp(self):
        self.check_lengths("poc", "tcp")

    def test_poc_unix(self):
        self.check_lengths("poc", "unix")

    def test_ipv6(self):
        for wire in WIRES:
            self.run_pair(self.guest("source", blocks=65), self.guest("destination"), wire, "tcp6")

    def test_64_mib(self):
        """With guests that spin, as real ones do."""
        for wire in WIRES:
            for transport in ("tcp", "unix"):
                with self.subTest(wire=wire, transport=transport):
                    source = self.guest("source", size="64M", seed=7, polite=False)
                    destination = self.guest("destination", polite=False)
                    self.run_pair(source, destination, wire, transport)

    def test_small_window(self):
        for wire in WIRES:
            source = self.guest("source", blocks=4097)
            destination = self.guest("destination")
            receive = self.receive(destination, "--window", "64k", *NO_HELP)
            send = self.send(receive.listening(), source, "--wire", wire, "--window", "128k",
                             *NO_HELP)
            self.assertEqual((send.wait(), receive.wait()), (0, 0), send.errors + receive.errors)
            self.check_completed(source, destination, send.json(), receive.json())

    def test_different_windows(self):
        """The source must not send more than the destination has room for."""
        source = self.guest("source", blocks=9000)
        destination = self.guest("destination")
        receive = self.receive(destination, "--window", "64k", *NO_HELP)
        send = self.send(receive.listening(), source, "--window", "8M", *NO_HELP)
        self.assertEqual((send.wait(), receive.wait()), (0, 0), send.errors + receive.errors)
        self.check_completed(source, destination, send.json(), receive.json())

    def test_busy_poll(self):
        """With a page thread, however few processors there are; where there are few, each block is a wait for one."""
        for wire in WIRES:
            self.check_lengths(wire, "tcp", "--poll", "busy", lengths=LENGTHS[:-1])


class ServeTest(RelayTest):
    """Two brokers, their guests and their monitors."""

    def make(self, runs=1, blocks=300):
        self.source = self.guest("source", blocks=blocks, runs=runs)
        self.destination = self.guest("destination", runs=runs)
        self.left = self.serve(self.source, *NO_HELP)
        self.right = self.serve(self.destination, *NO_HELP)

    def check_end(self):
        infos = [side.qmp.wait_status("completed", "failed") for side in (self.left, self.right)]
        return self.check_completed(self.source, self.destination, *infos)

    def test_hmp(self):
        for wire in WIRES:
            with self.subTest(wire=wire):
                self.make()
                left, right = self.left.hmp, self.right.hmp
                self.assertEqual(left.execute(f"snp_migrate_set_parameter wire {wire}"), "")
                address = f"{PAGE:#x}" if wire == "native" else str(PAGE)
                self.assertEqual(right.execute(f"snp_migrate_incoming tcp:127.0.0.1:0 {address}"), "")
                uri = right.info()["listening"]
                # The prompt comes back when all is over.
                self.assertEqual(left.execute(f"snp_migrate {uri} {address}"), "")
                self.assertEqual(left.info()["Migration status"], "completed")
                self.assertEqual(left.info()["wire"], wire)
                right.wait_status("completed")
                self.assertEqual(left.info()["checksum"], right.info()["checksum"])
                self.check_end()

    def test_hmp_detached(self):
        self.make()
        uri = self.right.incoming(uri=self.new_uri("unix"))
        self.assertEqual(self.left.hmp.execute(f"snp_migrate -d {uri} {PAGE:#x}"), "")
        self.left.hmp.wait_status("completed")
        self.check_end()

    def test_qmp(self):
        for wire in WIRES:
            for transport in ("tcp", "unix"):
                with self.subTest(wire=wire, transport=transport):
                    self.make()
                    self.left.set(wire=wire)
                    uri = self.right.incoming(uri=self.new_uri(transport))
                    self.left.outgoing(uri)
                    for side, words in ((self.left, ("setup", "active", "completed")),
                                        (self.right, ("active", "completed"))):
                        for status in words:
                            side.qmp.wait_event("SNP_MIGRATION", status=status)
                    self.check_end()
                    info = self.left.qmp.execute("query-snp-migrate")
                    self.assertEqual((info["direction"], info["wire"], info["address"], info["uri"]),
                                     ("outgoing", wire, PAGE, uri))
                    info = self.right.qmp.execute("query-snp-migrate")
                    self.assertEqual((info["direction"], info["wire"]), ("incoming", wire))
                    self.assertNotIn("listening", info)

    def test_there_and_back(self):
        """Each side is a source and then a destination: two pages in the same RAM."""
        for wire in WIRES:
            self.make()
            self.left.set(wire=wire)
            self.right.set(wire=wire)
            self.left.outgoing(self.right.incoming())
            self.check_end()
            # The same hosts, new guests at the same pages.
            memory, other = self.source.memory, self.destination.memory
            self.assertEqual((self.source.wait(), self.destination.wait()), (0, 0))
            self.source = self.guest("source", memory=other, blocks=99, seed=5)
            self.destination = self.guest("destination", memory=memory)
            self.right.outgoing(self.left.incoming())
            self.check_end()

    def run_many(self, wire, blocks):
        self.make(runs=RUNS, blocks=blocks)
        self.left.set(wire=wire)
        seen = set()
        for _ in range(RUNS):
            self.left.outgoing(self.right.incoming())
            counted = self.check_end()
            self.assertEqual(counted.blocks, blocks)
            seen.add(counted.checksum)
        self.assertEqual(len(seen), RUNS)
        self.assertEqual((self.source.wait(), self.destination.wait()), (0, 0))

    def test_last_block_native(self):
        """*completed* follows the only block at once, run after run in the same boot."""
        self.run_many("native", 1)

    def test_last_block_poc(self):
        self.run_many("poc", 1)

    def test_last_block_of_two(self):
        self.run_many("native", 2)


class LeftOverTest(RelayTest):
    """What an earlier run left on the page is no block of this one."""

    def run_forced(self, destination, wire):
        source = self.guest("source", blocks=3)
        left, right = self.serve(source, *NO_HELP), self.serve(destination, *NO_HELP)
        before = destination.registers()
        with self.assertRaisesRegex(QmpError, "broken off in mid-stream.*force"):
            right.incoming()
        self.assertEqual(destination.registers(), before)
        left.set(wire=wire)
        left.outgoing(right.incoming(force=True))
        infos = [side.qmp.wait_status("completed", "failed") for side in (left, right)]
        self.assertEqual(self.check_completed(source, destination, *infos).blocks, 3)

    def test_ready_and_completed(self):
        for wire in WIRES:
            destination = self.guest("destination")
            destination.poke(1, READY)
            destination.poke(0, COMPLETED)
            self.run_forced(destination, wire)

    def test_early_ready(self):
        for wire in WIRES:
            destination = self.guest("destination", misbehave="early-ready")
            self.assertEqual(destination.registers(), (NOT_STARTED, READY))
            self.run_forced(destination, wire)

    def test_source_page_with_ready(self):
        """A source's page: *ready* of an earlier run is not sent on."""
        source = self.guest("source", blocks=3, misbehave="early-ready")
        destination = self.guest("destination")
        receive = self.receive(destination)
        uri = receive.listening()
        send = self.send(uri, source)
        self.assertEqual(send.wait(), 1, "a page with a *ready* needs force")
        self.assertIn("broken off in mid-stream", send.errors)
        send = self.send(uri, source, "--force")
        self.assertEqual((send.wait(), receive.wait()), (0, 0), send.errors + receive.errors)
        self.check_completed(source, destination, send.json(), receive.json())

    def test_refused_destination_page_stays(self):
        """A destination that was listened for and never came is as fresh as before."""
        destination = self.guest("destination")
        receive = self.receive(destination)
        receive.listening()
        self.assertEqual(destination.registers(), (NOT_STARTED, NONE))
        receive.interrupt()
        self.assertEqual(receive.wait(), 3)
        self.assertEqual(destination.registers(), (NOT_STARTED, NONE))

    def test_completed_page_is_startable(self):
        source = self.guest("source", blocks=5, runs=2)
        destination = self.guest("destination", runs=2)
        for _ in range(2):
            self.run_pair(source, destination)
        self.assertEqual(source.registers(), (COMPLETED, READ))
        self.assertEqual(source.wait(PATIENCE), 0)


if __name__ == "__main__":
    main()
