#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The native stream against a peer that is not ours, written from docs/wire-native.md, and every way to speak it wrongly.

Whatever a peer does wrong, the migration is `failed` with a text that says what happened, the peer is told the same in an
ERROR frame, and nothing is ever `completed`.
"""

import contextlib
import os
import select
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from guest import BLOCK_SIZE, COMPLETED, NONE, NOT_STARTED, READ, RUNNING, wait_until  # noqa: E402
from peer import (ACCEPT, ACK, CANCELLED, DATA, DONE, END, ERROR, FAILED, HELLO, KEEPALIVE, MAGIC,  # noqa: E402
                  PAUSE, REFUSED, RESUME, START, Listener, NativePeer, checksum, data, end, error, frame,
                  hello, make_blocks)
from relay import PATIENCE, RelayTest, main  # noqa: E402

BLOCKS = 300

# What is wrong with a hello, and what must be said about it.
WRONG_HELLOS = {
    "version": ({"versions": (2, 9)}, "versions 2 to 9 are offered, version 1"),
    "versions in the wrong order": ({"versions": (1, 0)}, "versions 1 to 0 are offered"),
    "layout": ({"layout": 2}, "page layout 2"),
    "pages": ({"pages": 2}, r"on 2 page\(s\)"),
    "block size": ({"block_size": 4096}, "blocks of 4096 bytes"),
    "feature": ({"features": 1 << 40}, "features 0x10000000000.* not known"),
    "must-know extension": ({"extensions": struct.pack(">HH", 0x8001, 0)}, "extension 0x8001"),
    "extension past the end": ({"extensions": struct.pack(">HH", 1, 5)}, "past its end"),
    "half an extension": ({"extensions": b"\0\1"}, "past its end"),
    "no window": ({"window": 0}, "malformed.*window 0"),
    "reserved bytes": ({"reserved": b"\0\0\0\0\0\0\1"}, "malformed"),
}

# Frames that nobody may send at any time.
WRONG_FRAMES = {
    "unknown type": (frame(99), "unknown frame.*type 99"),
    "type 0": (frame(0), "unknown frame.*type 0"),
    "flags": (frame(KEEPALIVE, flags=1), "unknown frame.*flags 0x01"),
    "too long": (frame(ERROR, b"\0\1", length=1 << 31), "type 7.*payload of 2147483648 bytes"),
    "short data": (frame(DATA, bytes(8)), "type 2.*payload of 8 bytes"),
    "65 blocks": (frame(DATA, length=8 + 65 * BLOCK_SIZE), f"type 2.*payload of {8 + 65 * BLOCK_SIZE}"),
    "half a block": (frame(DATA, length=8 + 1000), "type 2.*payload of 1008"),
    "long acknowledgement": (frame(ACK, bytes(9)), "type 3.*payload of 9 bytes"),
    "empty end": (frame(END), "type 4.*payload of 0 bytes"),
    "fat keepalive": (frame(KEEPALIVE, b"x"), "type 6.*payload of 1 bytes"),
    "second hello": (hello(START, bytes(16)), "type 1 cannot come"),
}


class NativePeerTest(RelayTest):
    def check_told(self, peer, reason, pattern):
        """The peer was told, in words."""
        given, text = peer.read_error()
        self.assertEqual(given, reason, text)
        self.assertRegex(text, pattern)
        peer.close()


class IncomingTest(NativePeerTest):
    """The peer is the source."""

    def listen(self, *options, **guest_options):
        self.destination = self.guest("destination", **guest_options)
        self.relay = self.receive(self.destination, *options)

    def connect(self):
        peer = NativePeer.connect(self.relay.listening())
        self.addCleanup(peer.close)
        return peer

    def start(self, *options, **guest_options):
        """A source that was accepted."""
        self.listen(*options, **guest_options)
        peer = self.connect()
        peer.start()
        return peer

    def finish(self, peer, blocks, given=False):
        """The rest of a good migration, from the blocks on."""
        if not given:
            peer.give(blocks)
        peer.send(end(END, len(blocks), checksum(blocks)))
        while True:
            kind, payload = peer.read_frame(ignore=(KEEPALIVE,))
            if kind == DONE:
                break
            self.assertEqual(kind, ACK)
        self.assertEqual(struct.unpack(">QQ", payload), (len(blocks), checksum(blocks)))
        counted = self.destination.result(PATIENCE)
        self.assertEqual((counted.blocks, counted.checksum), (len(blocks), f"{checksum(blocks):016x}"))
        self.assertEqual(self.destination.registers(), (COMPLETED, READ))
        peer.send(end(DONE, len(blocks), checksum(blocks)))
        self.assertIsNone(peer.read_frame(), "the relay says it once, and closes after the echo")
        self.assertEqual(self.relay.wait(), 0, self.relay.errors)
        info = self.relay.json()
        self.assertEqual((info["status"], info["wire"], info["checksum"]),
                         ("completed", "native", counted.checksum))

    def test_stream(self):
        for count in (0, 1, 64, 65, BLOCKS):
            with self.subTest(blocks=count):
                peer = self.start()
                answer = peer.their_hello
                self.assertEqual((answer.version_min, answer.version_max, answer.layout, answer.pages,
                                  answer.block_size, answer.features, answer.position, answer.kind),
                                 (1, 1, 1, 1, BLOCK_SIZE, 0, 0, ACCEPT))
                self.assertGreater(answer.window, 0)
                self.finish(peer, make_blocks(count))

    def test_deaf_source_after_the_end(self):
        """One that cannot be told that all is well is not tried to be told for ever."""
        self.destination = self.guest("destination")
        self.relay = self.receive(self.destination, "--reconnect-timeout", "600", uri=f"unix:{self.path('deaf')}")
        peer = self.connect()
        peer.start()
        peer.socket.shutdown(socket.SHUT_RD)
        peer.send(end(END, 0, checksum([])))
        closed = select.poll()
        closed.register(peer.socket, 0)  # POLLHUP always counts
        self.assertTrue(closed.poll(PATIENCE * 1000))
        self.assertEqual(self.destination.registers()[0], COMPLETED)
        self.relay.interrupt()
        self.assertEqual(self.relay.wait(), 0, self.relay.errors)

    def test_all_in_one_piece(self):
        """A block and the end in one segment, and no keep-alive that would help."""
        peer = self.start("--peer-timeout", "600")
        blocks = make_blocks(1)
        peer.send(data(0, blocks), end(END, 1, checksum(blocks)))
        while peer.read_frame(ignore=(ACK,))[0] != DONE:
            pass
        peer.send(end(DONE, 1, checksum(blocks)))
        self.assertEqual(self.relay.wait(), 0, self.relay.errors)

    def test_torn(self):
        peer = self.start()
        blocks = make_blocks(70)
        stream = data(0, blocks[:64]) + data(64, blocks[64:]) + end(END, 70, checksum(blocks))
        at = 0
        for length in (1, 6, 3, 7, 2047, 2, 2049, 4000, 131000, 1 << 20):
            peer.send(stream[at:at + length])
            at += length
        while peer.read_frame(ignore=(KEEPALIVE, ACK))[0] != DONE:
            pass
        peer.send(end(DONE, 70, checksum(blocks)))
        self.assertEqual(self.relay.wait(), 0, self.relay.errors)
        self.assertEqual(self.destination.result(PATIENCE).checksum, f"{checksum(blocks):016x}")

    def test_acknowledged_after_reading(self):
        """Not what arrived is acknowledged, but what the guest has read."""
        peer = self.start("--peer-timeout", "3", misbehave="stop:10")
        peer.give(make_blocks(50))
        last = 0
        while last < 10:
            kind, payload = peer.read_frame()
            self.assertIn(kind, (ACK, KEEPALIVE))
            last = struct.unpack(">Q", payload)[0] if kind == ACK else last
        for _ in range(2):  # a good while
            self.assertEqual(peer.read_frame(), (KEEPALIVE, b""))
            peer.send(frame(KEEPALIVE))
        self.assertEqual(last, 10)

    def come_back(self, peer, position):
        """The same source on a new connection; the relay's first acknowledgement on it is read, too."""
        peer.reset()
        again = self.connect()
        again.send(MAGIC, hello(RESUME, peer.session, position=position))
        again.read_hello()
        self.assertEqual(again.their_hello.kind, ACCEPT)
        return again

    def test_acknowledged_again_after_a_break(self):
        """The last acknowledgement may have gone down with the connection."""
        blocks = make_blocks(5)
        peer = self.start()
        peer.give(blocks[:3])
        while peer.read_frame(ignore=(KEEPALIVE,)) != (ACK, struct.pack(">Q", 3)):
            pass
        again = self.come_back(peer, 0)
        self.assertEqual(again.their_hello.position, 3)
        self.assertEqual(again.read_frame(), (ACK, struct.pack(">Q", 3)))
        again.give(blocks[3:], first=3)
        self.finish(again, blocks, given=True)

    def test_data_after_the_end_of_another_connection(self):
        blocks = make_blocks(4)
        peer = self.start(misbehave="stop:1")
        # In one piece: what is not read when a connection is reset would be lost.
        peer.send(data(0, blocks[:3]), end(END, 3, checksum(blocks[:3])))
        while peer.read_frame(ignore=(KEEPALIVE,)) != (ACK, struct.pack(">Q", 1)):
            pass
        again = self.come_back(peer, 1)
        again.send(data(again.their_hello.position, blocks[3:]))
        self.check_told(again, FAILED, "block 3 came after the end")
        self.check_failed(self.relay, "block 3 came after the end")

    def test_interrupted_while_it_waits_for_the_last_word(self):
        """Its guest has everything: that is completed, whether the source knows or not."""
        blocks = make_blocks(5)
        peer = self.start()
        peer.give(blocks)
        peer.send(end(END, 5, checksum(blocks)))
        while peer.read_frame(ignore=(KEEPALIVE,))[0] != DONE:
            pass
        self.destination.result(PATIENCE)
        self.relay.interrupt()
        self.assertEqual(self.relay.wait(), 0, self.relay.errors)
        self.assertEqual(self.relay.json()["status"], "completed")

    def test_the_port_of_the_last_migration(self):
        """It is listened on for a source that has not heard of the end, and free for the next migration at once."""
        blocks = make_blocks(5)
        guest = self.guest("destination")
        serve = self.serve(guest, "--reconnect-timeout", "3600")
        uri = serve.incoming()
        for _ in range(3):
            peer = NativePeer.connect(uri)
            peer.start()
            peer.give(blocks)
            peer.send(end(END, 5, checksum(blocks)))
            self.assertEqual(serve.qmp.wait_status("completed", "failed")["status"], "completed")
            peer.reset()
            self.assertEqual(guest.result(PATIENCE).blocks, 5)
            self.assertEqual(serve.incoming(uri=uri), uri)
            guest = self.guest("destination", memory=guest.memory, create=None)

    def test_optional_extension(self):
        """What a later version may add is passed over."""
        self.listen()
        peer = self.connect()
        peer.start(versions=(1, 3), extensions=struct.pack(">HH3s", 0x7001, 3, b"abc"))
        self.finish(peer, make_blocks(3))

    def test_wrong_hello(self):
        for name, (options, pattern) in WRONG_HELLOS.items():
            with self.subTest(name):
                self.listen()
                peer = self.connect()
                peer.greet(**options)
                peer.read_magic()
                self.check_told(peer, FAILED, pattern)
                self.check_failed(self.relay, pattern)
                self.assertEqual(self.destination.registers(), (NOT_STARTED, NONE))

    def test_wrong_kind_of_hello(self):
        for kind, pattern in ((ACCEPT, "destination's"), (0, "malformed"), (4, "malformed")):
            with self.subTest(kind=kind):
                self.listen()
                peer = self.connect()
                peer.send(MAGIC, hello(kind, peer.session))
                peer.read_magic()
                self.check_told(peer, FAILED, pattern)
                self.check_failed(self.relay, pattern)

    def test_no_hello_first(self):
        self.listen()
        peer = self.connect()
        peer.send(MAGIC, frame(KEEPALIVE))
        peer.read_magic()
        self.check_told(peer, FAILED, "no hello")
        self.check_failed(self.relay, "no hello")

    def test_wrong_magic(self):
        self.listen()
        peer = self.connect()
        peer.send(b"SNPRELAX", hello(START, peer.session))
        self.check_failed(self.relay, "no migration stream")
        self.assertEqual(self.destination.registers(), (NOT_STARTED, NONE))

    def test_unknown_session(self):
        """A source that wants to go on with what we do not have is refused, and harms nobody."""
        self.listen()
        for greeting in (hello(RESUME, bytes(16)), hello(START, bytes(16), position=7)):
            peer = self.connect()
            peer.send(MAGIC, greeting)
            peer.read_magic()
            self.check_told(peer, REFUSED, "session is not known")
        peer = self.connect()
        peer.start()
        self.finish(peer, make_blocks(3))

    def test_stranger(self):
        """Somebody else connects while a migration goes on."""
        peer = self.start()
        stranger = self.connect()
        stranger.greet()
        stranger.read_magic()
        self.check_told(stranger, REFUSED, "another migration")
        nonsense = self.connect()
        nonsense.send(b"GET / HTTP/1.1\r\n")
        self.assertEqual(nonsense.read_to_end(), b"")
        poc = self.connect()  # an orderly close alone would tell it that all is well
        poc.send(struct.pack(">Q", 5))
        self.assertRegex(poc.read_to_end(), b"^SNPRELAY.*another migration")
        self.finish(peer, make_blocks(3))

    def check_wrong(self, pattern, *parts, options=()):
        """PARTS, sent after two good blocks to a guest that reads only the first."""
        peer = self.start(*options, misbehave="stop:1")
        peer.give(make_blocks(2))
        peer.send(*parts)
        self.check_told(peer, FAILED, pattern)
        self.check_failed(self.relay, pattern)
        self.assertEqual(self.destination.registers()[0], NOT_STARTED)

    def test_wrong_frames(self):
        for name, (wrong, pattern) in WRONG_FRAMES.items():
            with self.subTest(name):
                self.check_wrong(pattern, wrong)

    def test_wrong_direction(self):
        self.check_wrong("type 3 cannot come from a source", frame(ACK, bytes(8)))
        self.check_wrong("confirmed an end", end(DONE, 2, 0))

    def test_wrong_number(self):
        for number in (0, 1, 3, 1 << 63):
            with self.subTest(number=number):
                self.check_wrong(f"block {number} came where block 2 was due",
                                 data(number, make_blocks(1)))

    def test_wrong_count(self):
        digest = checksum(make_blocks(2))
        self.check_wrong("speaks of 3 blocks.*but 2 ", end(END, 3, digest))
        self.check_wrong("speaks of 1 blocks.*but 2 ", end(END, 1, digest))

    def test_wrong_checksum(self):
        self.check_wrong("damaged.*checksum 0000000000000001", end(END, 2, 1))

    def test_data_after_the_end(self):
        blocks = make_blocks(3)
        self.check_wrong("block 2 came after the end", end(END, 2, checksum(blocks[:2])),
                         data(2, blocks[2:]))

    def test_too_many_blocks(self):
        """More than the window that was granted, while the guest reads nothing."""
        peer = self.start("--window", "64k", misbehave="stop:0")
        self.assertEqual(peer.their_hello.window, 32)
        peer.give(make_blocks(32))
        peer.send(data(32, make_blocks(10)))
        self.check_told(peer, FAILED, r"10 blocks came where .* had room \(window\)")
        self.check_failed(self.relay, "had room")

    def test_peer_gives_up(self):
        for reason, status, code in ((FAILED, "failed", 1), (CANCELLED, "cancelled", 3)):
            with self.subTest(status):
                peer = self.start()
                peer.give(make_blocks(2))
                peer.send(error(reason, b"the disk\x1b[31m is \xff full"))
                self.assertEqual(self.relay.wait(), code, self.relay.errors)
                info = self.relay.json()
                self.assertEqual(info["status"], status)
                self.assertRegex(info["error-desc"], r"the disk \[31m is . full")
                self.assertNotIn("\x1b", self.relay.errors)
                self.assertEqual(self.destination.registers()[0], NOT_STARTED)

    def test_silent_before_the_hello(self):
        for first in (b"", MAGIC[:3], MAGIC, MAGIC + hello(START, bytes(16))[:20]):
            with self.subTest(first=first):
                self.listen("--connect-timeout", "1")
                peer = self.connect()
                with contextlib.suppress(ConnectionError):  # its second may be over
                    peer.send(first)
                self.check_failed(self.relay, r"within 1 s \(connect-timeout\)")
                self.assertEqual(self.destination.registers(), (NOT_STARTED, NONE))

    def test_silent_in_mid_stream(self):
        """A source that is gone may come back: paused, until nobody came."""
        peer = self.start("--peer-timeout", "1", "--reconnect-timeout", "1")
        peer.give(make_blocks(2))
        self.relay.wait_error(r"paused: .* silent for 1 s \(peer-timeout\)")
        self.assertEqual(self.relay.wait(), 1)
        self.assertIn("stayed broken for longer than reconnect-timeout", self.relay.errors)

    def test_keep_alive(self):
        """A source whose guest does nothing, but that says so, is kept."""
        peer = self.start("--peer-timeout", "6")
        for _ in range(4):  # eight seconds
            self.assertEqual(peer.read_frame(), (KEEPALIVE, b""))
            peer.send(frame(KEEPALIVE))
        self.finish(peer, make_blocks(2))

    def test_port_probe(self):
        self.listen()
        for first in (b"", MAGIC[:5], MAGIC):
            probe = self.connect()
            probe.send(first)
            probe.close()
        peer = self.connect()
        peer.start()
        self.finish(peer, make_blocks(2))


class OutgoingTest(NativePeerTest):
    """The peer is the destination."""

    def connect(self, *options, **guest_options):
        self.listener = Listener(NativePeer)
        self.addCleanup(self.listener.close)
        self.source = self.guest("source", **{"blocks": BLOCKS, **guest_options})
        self.relay = self.send(self.listener.uri, self.source, *options)
        peer = self.listener.accept()
        self.addCleanup(peer.close)
        return peer

    def start(self, *options, **guest_options):
        peer = self.connect(*options, **guest_options)
        peer.accept()
        return peer

    def finish(self, peer):
        blocks, (count, digest) = peer.take()
        self.assertEqual((len(blocks), count, digest), (BLOCKS, BLOCKS, checksum(blocks)))
        self.assertIsNone(self.relay.process.poll(), "completed before the destination said so")
        peer.send(end(DONE, count, digest))
        self.assertEqual(peer.read_frame(ignore=(KEEPALIVE,)),
                         (DONE, struct.pack(">QQ", count, digest)))
        self.assertIsNone(peer.read_frame(), "the relay closes after its echo")
        self.assertEqual(self.relay.wait(), 0, self.relay.errors)
        self.assertEqual(self.source.result(PATIENCE).checksum, f"{digest:016x}")
        self.assertEqual(self.relay.json()["checksum"], f"{digest:016x}")
        self.assertEqual(self.source.registers(), (COMPLETED, READ))

    def test_stream(self):
        peer = self.start()
        theirs = peer.their_hello
        self.assertEqual((theirs.version_min, theirs.version_max, theirs.layout, theirs.pages,
                          theirs.block_size, theirs.features, theirs.position, theirs.kind),
                         (1, 1, 1, 1, BLOCK_SIZE, 0, 0, START))
        self.assertNotEqual(theirs.session, bytes(16))
        self.finish(peer)

    def test_small_window(self):
        """Not one block more than the destination takes."""
        peer = self.connect()
        peer.accept(window=3)
        got = 0
        while got < 3:
            kind, payload = peer.read_frame()
            self.assertEqual(kind, DATA)
            got += (len(payload) - 8) // BLOCK_SIZE
        self.assertEqual(got, 3)
        peer.send(frame(ACK, struct.pack(">Q", 1)))
        kind, payload = peer.read_frame()
        self.assertEqual((kind, payload[:8], len(payload)), (DATA, struct.pack(">Q", 3), 8 + BLOCK_SIZE))

    def test_comes_back_with_a_smaller_window(self):
        """What is not acknowledged is more than the new window: that is no credit at all."""
        peer = self.start()
        got = 0
        while got < 100:
            kind, payload = peer.read_frame()
            self.assertEqual(kind, DATA)
            got += (len(payload) - 8) // BLOCK_SIZE
        peer.close()
        again = self.listener.accept()
        self.addCleanup(again.close)
        wait_until(lambda: self.source.page.status == COMPLETED, PATIENCE, "all blocks in the window")
        again.accept(window=10, position=got)
        again.send(frame(ACK, struct.pack(">Q", got - 5)))
        kind, payload = again.read_frame()
        self.assertEqual((kind, payload[:8]), (DATA, struct.pack(">Q", got)))
        self.assertLessEqual(len(payload), 8 + 5 * BLOCK_SIZE)

    def test_optional_extension(self):
        peer = self.connect()
        peer.accept(versions=(1, 2), extensions=struct.pack(">HH", 0x1234, 0))
        self.finish(peer)

    def test_wrong_hello(self):
        wrong = {"session": ({"session": bytes(16)}, "not for this session"),
                 "position": ({"position": 1}, "wants block 1"),
                 **WRONG_HELLOS}
        for name, (options, pattern) in wrong.items():
            with self.subTest(name):
                peer = self.connect()
                peer.accept(**options)
                self.check_told(peer, FAILED, pattern)
                self.check_failed(self.relay, pattern)
                self.assertEqual(self.source.registers(), (NOT_STARTED, NONE))

    def test_wrong_magic(self):
        peer = self.connect()
        peer.read_hello()
        peer.send(b"HTTP/1.1 400 Bad Request\r\n")
        self.check_failed(self.relay, "does not speak the native stream")
        self.assertEqual(self.source.registers(), (NOT_STARTED, NONE))

    def test_no_hello_first(self):
        peer = self.connect()
        peer.read_hello()
        peer.send(MAGIC, frame(KEEPALIVE))
        self.check_told(peer, FAILED, "no hello")
        self.check_failed(self.relay, "no hello")

    def test_refused(self):
        peer = self.connect()
        peer.read_hello()
        peer.send(MAGIC, error(REFUSED, b"we are full"))
        self.check_failed(self.relay, "we are full")
        self.assertEqual(self.source.registers(), (NOT_STARTED, NONE))

    def check_wrong(self, pattern, *parts, **guest_options):
        """PARTS, sent to a source in mid-stream."""
        peer = self.start(**{"misbehave": "stop:10", **guest_options})
        got = 0
        while got < 10:
            got += (len(peer.read_frame()[1]) - 8) // BLOCK_SIZE
        peer.send(*parts)
        self.check_told(peer, FAILED, pattern)
        self.check_failed(self.relay, pattern)
        self.assertEqual(self.source.registers()[0], NOT_STARTED)

    def test_wrong_frames(self):
        for name, (wrong, pattern) in WRONG_FRAMES.items():
            with self.subTest(name):
                self.check_wrong(pattern, wrong)

    def test_wrong_direction(self):
        self.check_wrong("type 2 cannot come from a destination", data(0, make_blocks(1)))
        self.check_wrong("type 4 cannot come from a destination", end(END, 0, 0))

    def test_wrong_acknowledgement(self):
        self.check_wrong("acknowledged 11 blocks; 10 were sent", frame(ACK, struct.pack(">Q", 11)))
        self.check_wrong("acknowledged 18446744073709551615 blocks", frame(ACK, b"\xff" * 8))
        self.check_wrong("acknowledged 4 blocks", frame(ACK, struct.pack(">Q", 5)),
                         frame(ACK, struct.pack(">Q", 4)))

    def test_done_too_early(self):
        self.check_wrong("confirmed another stream", end(DONE, 10, 0))

    def test_wrong_done(self):
        for count, digest in ((BLOCKS - 1, None), (BLOCKS + 1, None), (BLOCKS, 1)):
            with self.subTest(count=count, digest=digest):
                peer = self.start()
                _, (_, right) = peer.take()
                peer.send(end(DONE, count, right if digest is None else digest))
                self.check_told(peer, FAILED, "confirmed another stream")
                self.check_failed(self.relay, "confirmed another stream")

    def test_peer_gives_up(self):
        for reason, status, code in ((FAILED, "failed", 1), (CANCELLED, "cancelled", 3)):
            with self.subTest(status):
                peer = self.start(misbehave="stop:10")
                peer.send(error(reason, b"no more room"))
                self.assertEqual(self.relay.wait(), code, self.relay.errors)
                info = self.relay.json()
                self.assertEqual(info["status"], status)
                self.assertIn("no more room", info["error-desc"])
                self.assertEqual(self.source.registers()[0], NOT_STARTED)

    def test_no_answer_to_the_hello(self):
        peer = self.connect("--connect-timeout", "1")
        self.check_failed(self.relay, r"within 1 s \(connect-timeout\)")
        peer.close()
        self.assertEqual(self.source.registers(), (NOT_STARTED, NONE))

    def test_silent_in_mid_stream(self):
        self.start("--peer-timeout", "1", "--reconnect-timeout", "0")
        self.relay.wait_error(r"paused: .* silent for 1 s \(peer-timeout\)")
        self.assertEqual(self.relay.wait(), 1)

    def test_pause_from_the_peer(self):
        peer = self.start("--reconnect-timeout", "5", misbehave="stop:10")
        peer.send(frame(PAUSE))
        self.relay.wait_error("paused: paused at the destination")
        self.assertEqual(self.source.registers()[0], RUNNING)
        self.assertEqual(self.relay.wait(), 1)
        self.assertIn("stayed broken for longer than reconnect-timeout", self.relay.errors)

    def test_keep_alive(self):
        peer = self.start("--peer-timeout", "6", misbehave="stop:0")
        for _ in range(4):
            self.assertEqual(peer.read_frame(), (KEEPALIVE, b""))
            peer.send(frame(KEEPALIVE))
        self.assertIsNone(self.relay.process.poll())

    def test_half_an_answer_for_ever(self):
        """A hello that drips: the time for it is bounded all the same."""
        peer = self.connect("--connect-timeout", "1")
        peer.read_hello()
        peer.send(MAGIC, frame(HELLO, bytes(10), length=56))
        self.check_failed(self.relay, r"\(connect-timeout\)")


if __name__ == "__main__":
    main()
