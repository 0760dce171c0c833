#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The proof of concept's stream against a peer that is not ours: a few lines of Python, both directions."""

import contextlib
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from guest import BLOCK_SIZE, COMPLETED, NONE, NOT_STARTED, READ, wait_until  # noqa: E402
from peer import POC_BLOCK, POC_END, Listener, PocPeer, checksum, make_blocks  # noqa: E402
from relay import PATIENCE, RelayTest, main  # noqa: E402

BLOCKS = 300


class PocPeerTest(RelayTest):
    def start_receive(self, *options, transport="tcp", **guest_options):
        """A relay that listens, and a peer that is connected to it."""
        self.destination = self.guest("destination", **guest_options)
        self.relay = self.receive(self.destination, *options, uri=self.new_uri(transport))
        peer = PocPeer.connect(self.relay.listening())
        self.addCleanup(peer.close)
        return peer

    def start_send(self, *options, transport="tcp", **guest_options):
        """A relay that sends, and the peer that it is connected to."""
        listener = Listener(PocPeer, self.path("peer") if transport == "unix" else None)
        self.addCleanup(listener.close)
        self.source = self.guest("source", **{"blocks": BLOCKS, "seed": 9, **guest_options})
        self.relay = self.send(listener.uri, self.source, "--wire", "poc", *options)
        peer = listener.accept()
        self.addCleanup(peer.close)
        return peer

    def check_received(self, blocks):
        self.assertEqual(self.relay.wait(), 0, self.relay.errors)
        counted = self.destination.result(PATIENCE)
        self.assertEqual(counted.blocks, len(blocks))
        self.assertEqual(counted.checksum, f"{checksum(blocks):016x}")
        info = self.relay.json()
        self.assertEqual((info["status"], info["wire"], info["checksum"]),
                         ("completed", "poc", counted.checksum))
        self.assertEqual(self.destination.registers(), (COMPLETED, READ))

    def check_gave_up(self):
        """A guest that was given blocks must hear that no more will come."""
        self.assertEqual(self.destination.registers()[0], NOT_STARTED)


class IncomingTest(PocPeerTest):
    def test_stream(self):
        for transport in ("tcp", "unix"):
            with self.subTest(transport=transport):
                peer = self.start_receive(transport=transport)
                blocks = make_blocks(BLOCKS)
                peer.give(blocks)
                peer.send(POC_END)
                self.assertEqual(peer.read(1), b"", "nothing is answered, and the relay closes")
                self.check_received(blocks)

    def test_peer_closes_at_once(self):
        """As the proof of concept's source does, while the guest is still reading."""
        peer = self.start_receive(interval=1000)
        blocks = make_blocks(100)
        peer.give(blocks)
        peer.send(POC_END)
        peer.close()
        self.check_received(blocks)

    def test_torn(self):
        """What comes in pieces of odd lengths."""
        peer = self.start_receive()
        blocks = make_blocks(40)
        stream = b"".join(POC_BLOCK + block for block in blocks) + POC_END
        at = 0
        for length in (1, 3, 7, 8, 5, 2047, 2048, 2049, 1, 4000, 9, 16, 1 << 20):
            peer.send(stream[at:at + length])
            at += length
        self.check_received(blocks)

    def test_cut(self):
        """The stream ends in the middle: of a header, of a block, between two, before the first."""
        for cut in (8 + 5, (8 + BLOCK_SIZE) * 2 + 3, (8 + BLOCK_SIZE) * 2 + 8 + 1000,
                    (8 + BLOCK_SIZE) * 3):
            with self.subTest(cut=cut):
                peer = self.start_receive()
                stream = b"".join(POC_BLOCK + block for block in make_blocks(5))
                peer.send(stream[:cut])
                peer.close()
                whole = cut // (8 + BLOCK_SIZE)
                self.check_failed(self.relay, f"the stream ended after {whole} blocks.* end mark")
                self.assertEqual(self.destination.registers()[0], NOT_STARTED)

    def test_cut_by_a_crash(self):
        peer = self.start_receive()
        peer.give(make_blocks(3))
        wait_until(lambda: self.destination.registers() == (1, READ), PATIENCE, "the blocks")
        peer.reset()
        self.check_failed(self.relay, "broke|reset|ended")
        self.check_gave_up()

    def test_wrong_header(self):
        for header in (0, 7, 5 << 56, 1 << 63):
            with self.subTest(header=header):
                peer = self.start_receive()
                peer.give(make_blocks(3))
                peer.send(struct.pack(">Q", header), bytes(BLOCK_SIZE))
                self.check_failed(self.relay, f"unknown header 0x{header:016x} after block 3")
                self.assertEqual(peer.read_to_end(), b"")
                self.check_gave_up()

    def test_wrong_first_header(self):
        """Not a stream of ours at all: the page stays as it was."""
        for first in (b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\x05" + bytes(7)):
            with self.subTest(first=first):
                peer = self.start_receive()
                peer.send(first)
                self.check_failed(self.relay, 'no migration stream.*"SNPRELAY".*5 or 6')
                self.assertEqual(self.destination.registers(), (NOT_STARTED, NONE))

    def test_more_after_the_end(self):
        peer = self.start_receive(misbehave="stop:1")
        peer.send(POC_BLOCK, bytes(BLOCK_SIZE), POC_BLOCK, bytes(BLOCK_SIZE), POC_END, b"more")
        self.check_failed(self.relay, "more bytes came after the end")

    def test_silent_before_the_stream(self):
        peer = self.start_receive("--connect-timeout", "1")
        self.check_failed(self.relay, r"did not say who it is within 1 s \(connect-timeout\)")
        self.assertEqual(peer.read_to_end(), b"")
        self.assertEqual(self.destination.registers(), (NOT_STARTED, NONE))

    def test_silent_in_mid_stream(self):
        peer = self.start_receive("--peer-timeout", "1")
        with contextlib.suppress(ConnectionError):  # its second may be over
            peer.give(make_blocks(3))
        self.check_failed(self.relay, r"sent nothing for 1 s \(peer-timeout")
        self.assertEqual(peer.read_to_end(), b"")
        self.check_gave_up()

    def test_sends_for_ever(self):
        """A guest that reads nothing and a peer that sends all it can: bounded, and can be cancelled."""
        peer = self.start_receive("--window", "1M", misbehave="stop:1")
        peer.socket.settimeout(1)
        with self.assertRaises(TimeoutError):
            for _ in range(64):
                peer.give(make_blocks(1024))
        self.assertLess(self.relay.memory_bytes("RssAnon"), (1 + 16) << 20)
        self.relay.interrupt()
        self.assertEqual(self.relay.wait(), 3, self.relay.errors)
        self.check_gave_up()

    def test_second_connection_is_refused(self):
        """Once a source is there, nobody else can connect."""
        peer = self.start_receive()
        peer.give(make_blocks(1))
        wait_until(lambda: self.destination.registers() == (1, READ), PATIENCE, "the block")
        with self.assertRaises(OSError):
            PocPeer.connect(self.relay.listening())
        peer.send(POC_END)
        self.check_received(make_blocks(1))

    def test_port_probe(self):
        """Somebody connects and closes before the source comes."""
        self.start_receive().close()
        uri = self.relay.listening()
        PocPeer.connect(uri).reset()
        self.relay.wait_error("went away before")
        self.assertEqual(self.destination.registers(), (NOT_STARTED, NONE))
        peer = PocPeer.connect(uri)
        self.addCleanup(peer.close)
        peer.give(make_blocks(2))
        peer.send(POC_END)
        self.check_received(make_blocks(2))


class OutgoingTest(PocPeerTest):
    def check_sent(self, blocks):
        counted = self.source.result(PATIENCE)
        self.assertEqual(len(blocks), BLOCKS)
        self.assertEqual(counted.checksum, f"{checksum(blocks):016x}")
        self.assertEqual(self.relay.wait(), 0, self.relay.errors)
        info = self.relay.json()
        self.assertEqual((info["status"], info["wire"], info["blocks"], info["checksum"]),
                         ("completed", "poc", BLOCKS, counted.checksum))
        self.assertEqual(self.source.registers(), (COMPLETED, READ))

    def test_stream(self):
        for transport in ("tcp", "unix"):
            with self.subTest(transport=transport):
                peer = self.start_send(transport=transport)
                blocks = peer.take()
                self.assertEqual(peer.read(1), b"", "nothing follows the end")
                self.assertIsNone(self.relay.process.poll(), "completed before the peer has closed")
                peer.close()
                self.check_sent(blocks)

    def test_peer_closes_after_the_end(self):
        """As the proof of concept's destination does, without waiting for our close."""
        peer = self.start_send()
        blocks = peer.take()
        peer.close()
        self.check_sent(blocks)

    def test_no_close(self):
        """Whether a peer that does not close has everything is not known."""
        peer = self.start_send("--peer-timeout", "1")
        peer.take()
        self.check_failed(self.relay, r"did not close the connection within 1 s .*not known")

    def test_closes_early(self):
        peer = self.start_send(blocks=100000)
        peer.read((8 + BLOCK_SIZE) * 20)
        peer.shutdown()
        self.check_failed(self.relay, "closed the connection in mid-stream")
        self.assertEqual(self.source.registers()[0], NOT_STARTED)

    def test_reset_after_the_end(self):
        """A host that crashes after it got the end has not closed in an orderly way."""
        peer = self.start_send()
        peer.take()
        peer.reset()
        self.check_failed(self.relay, "broke|reset")

    def test_reset_in_mid_stream(self):
        peer = self.start_send(blocks=100000)
        peer.read(10000)
        peer.reset()
        self.check_failed(self.relay, "broke|reset")
        self.assertEqual(self.source.registers()[0], NOT_STARTED)

    def test_answers(self):
        peer = self.start_send(blocks=100000, interval=100)
        peer.read(8)
        peer.send(b"SNPRELAY")
        self.check_failed(self.relay, "answered on the poc wire")

    def test_takes_nothing(self):
        """A peer that reads nothing: the window fills, and the peer's time is up."""
        self.start_send("--peer-timeout", "1", "--window", "64k", blocks=100000)
        self.check_failed(self.relay, r"taken nothing for 1 s \(peer-timeout\)")
        self.assertEqual(self.source.registers()[0], NOT_STARTED)

    def test_slow_guest_is_no_silent_peer(self):
        """The peer's time does not run while our own guest does nothing."""
        peer = self.start_send("--peer-timeout", "3", blocks=3, interval=2000000)
        self.assertEqual(len(peer.take()), 3)
        peer.close()
        self.assertEqual(self.relay.wait(), 0, self.relay.errors)


if __name__ == "__main__":
    main()
