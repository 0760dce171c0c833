# SPDX-License-Identifier: LGPL-2.1-or-later
"""Native migrations whose connection breaks: nothing is lost, nothing comes twice, strangers change nothing."""

import json
import os
import random
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import relay
from guest import COMPLETED, NOT_STARTED, BLOCK_SIZE, wait_until
from peer import REFUSED, RESUME, START, MAGIC, NativePeer, hello
from proxy import BACK, Plan, Proxy
from qmp import QmpError
from relay import PAGE, PATIENCE

FINAL = ("completed", "failed", "cancelled")
HELLO_BYTES = 8 + 8 + 56
BROKEN_OFF = "broken off in mid-stream"
SLOW = {"size": "2M"}
HELD = ("--window", "64k", "--max-bandwidth", "400k")  # in mid-stream for five seconds; finish() lets it go


class ResumeTest(relay.RelayTest):
    """Two brokers, and a proxy between them."""

    def proxy(self, target, plans=(), unix=False):
        path = self.path(self.new_name("proxy")) if unix else None
        proxy = Proxy(target, path, plans)
        self.addCleanup(proxy.close)
        return proxy

    def start(self, plans=(), unix=False, source=None, destination=None, reader=None, **guest):
        """Starts a migration through a proxy. SOURCE and DESTINATION: options of the programs; READER: of the destination's guest."""
        self.source_guest = self.guest("source", **(guest or SLOW))
        self.destination_guest = self.guest("destination", **(reader or {}))
        self.source = self.serve(self.source_guest, *(() if guest else HELD), *(source or ()))
        self.destination = self.serve(self.destination_guest, *(destination or ()))
        uri = self.destination.incoming(uri=self.new_uri("unix" if unix else "tcp"))
        self.proxy1 = self.proxy(uri, plans, unix)
        self.source.outgoing(self.proxy1.uri)

    def wait_blocks(self, count=100):
        wait_until(lambda: self.destination.qmp.execute("query-snp-migrate").get("blocks", 0) >= count,
                   PATIENCE, f"{count} blocks")

    def finish(self, reconnects=None):
        """Both must complete; returns how often the source connected again."""
        self.source.set(max_bandwidth=0)
        infos = [side.qmp.wait_status(*FINAL) for side in (self.source, self.destination)]
        self.check_completed(self.source_guest, self.destination_guest, *infos)
        if reconnects is not None:
            self.assertEqual(infos[0]["reconnects"], reconnects)
        return infos[0]["reconnects"]

    def paused(self, side, pattern):
        """Waits until SIDE is paused for this reason."""
        def there():
            info = side.qmp.execute("query-snp-migrate")
            self.assertNotIn(info["status"], FINAL, info)
            return info["status"] == "paused" and info
        info = wait_until(there, PATIENCE, "paused")
        self.assertRegex(info["error-desc"], pattern)
        return info

    def resume(self):
        """As a person does. A destination that did not see in time that its pause was heard refuses once."""
        self.source.set(max_bandwidth=0)

        def there():
            status = self.source.qmp.execute("query-snp-migrate")["status"]
            if status == "paused":
                self.source.outgoing(self.proxy1.uri, resume=True)
            return status in ("active", *FINAL)
        wait_until(there, PATIENCE, "the destination to take it back")

    def stays_paused(self, side, seconds=1.2):
        """Nothing must happen by itself, for longer than the waits between attempts to connect."""
        connections = self.proxy1.connections
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.assertEqual(side.qmp.execute("query-snp-migrate")["status"], "paused")
            time.sleep(0.05)
        self.assertEqual(self.proxy1.connections, connections)


class CutTest(ResumeTest):
    """The proxy breaks connections."""

    def random_plans(self, count, mean):
        seed = int(os.environ.get("SNPRELAY_TEST_SEED", random.randrange(1 << 32)))
        print(f"SNPRELAY_TEST_SEED={seed}", file=sys.stderr)
        rng = random.Random(seed)
        for _ in range(count):
            action = rng.choice(("close", "reset", "half"))
            kind = rng.random()
            if kind < 0.8:
                yield Plan(action, rng.randrange(2 * mean))
            elif kind < 0.9:
                yield Plan(action, rng.randrange(300))
            else:
                yield Plan(action, rng.randrange(120), BACK)

    def check_cuts(self, plans, unix, size, least, *options):
        self.start(plans, unix, options, options, size=size)
        self.finish()
        self.assertGreaterEqual(self.proxy1.cuts, least)
        infos = [side.qmp.execute("query-snp-migrate") for side in (self.source, self.destination)]
        # A break in the hello is no reconnection, and the destination may be a hello behind.
        self.assertGreater(infos[0]["reconnects"], least // 2)
        self.assertLess(infos[0]["reconnects"], self.proxy1.connections)
        self.assertLess(infos[1]["reconnects"], self.proxy1.connections)

    def test_hundred_cuts(self):
        self.check_cuts(self.random_plans(150, 1 << 17), False, "32M", 100)

    def test_cuts_unix(self):
        self.check_cuts(self.random_plans(40, 1 << 18), True, "32M", 25)

    def test_cuts_busy_poll(self):
        """With a page thread, however few processors there are."""
        self.check_cuts(self.random_plans(20, 1 << 16), False, "3M", 12, "--poll", "busy")

    def test_breaks_again_in_the_hello(self):
        plans = [Plan("reset", 200000)]
        plans += [Plan("close", at) for at in (0, 7, 8, 40, HELLO_BYTES - 1)]
        plans += [Plan("reset", at, BACK) for at in (0, 8, HELLO_BYTES - 1)]
        self.start(plans, size="4M")
        self.finish(reconnects=1)
        self.assertEqual(self.proxy1.cuts, len(plans))

    def test_breaks_before_the_first_block(self):
        plans = [Plan("close", 0), Plan("reset", 20), Plan("half", HELLO_BYTES - 1),
                 Plan("close", HELLO_BYTES), Plan("close", 10, BACK)]
        self.start(plans, size="1M")
        self.finish()
        self.assertEqual(self.proxy1.cuts, len(plans))

    def check_end(self, at, *options):
        source = self.guest("source", blocks=3)
        destination = self.guest("destination")
        receive = self.receive(destination, *options)
        proxy = self.proxy(receive.listening(), [Plan("close", at)])
        send = self.send(proxy.uri, source, "--max-bandwidth", "40k")  # each block in a frame of its own
        self.assertEqual(send.wait(), 0, send.errors)
        self.assertEqual(receive.wait(), 0, receive.errors)
        self.assertEqual(proxy.cuts, 1)
        self.check_completed(source, destination, send.json(), receive.json())

    def test_breaks_in_the_end(self):
        self.check_end(HELLO_BYTES + 3 * (16 + BLOCK_SIZE) + 23)

    def test_breaks_in_the_last_echo(self):
        self.check_end(HELLO_BYTES + 3 * (16 + BLOCK_SIZE) + 24 + 23, "--reconnect-timeout", "2")

    def test_destination_notices_first(self):
        self.start(source=("--peer-timeout", "9"), destination=("--peer-timeout", "3"))
        self.wait_blocks()
        self.proxy1.freeze()
        self.paused(self.destination, r"silent for 3 s \(peer-timeout\)")
        self.assertGreaterEqual(self.finish(), 1)

    def test_source_notices_first(self):
        self.start(source=("--peer-timeout", "3"))
        self.wait_blocks()
        self.proxy1.freeze()
        self.assertGreaterEqual(self.finish(), 1)
        self.assertGreaterEqual(self.proxy1.connections, 2)

    def test_half_a_connection_left(self):
        """The destination's side is closed, the source's is not: it hears nothing any more."""
        self.start([Plan("truncate", 100000)], source=("--peer-timeout", "3"))
        self.proxy1.wait(lambda proxy: proxy.cuts == 1)
        self.paused(self.destination, "closed the connection|broke")
        self.assertGreaterEqual(self.finish(), 1)

    def test_proxy_stops_reading(self):
        """One way only is dead: what the source sends is stuck, the destination's words arrive."""
        self.start([Plan("deaf", 100000)], destination=("--peer-timeout", "3"), size="16M")
        self.assertGreaterEqual(self.finish(), 1)


class PauseTest(ResumeTest):
    """Connections that are broken on purpose, or cannot be made again."""

    def test_pause_at_the_source(self):
        self.start()
        self.wait_blocks()
        self.assertEqual(self.source.hmp.execute("snp_migrate_pause"), "")
        self.paused(self.source, "paused by command")
        self.paused(self.destination, "paused at the source")
        self.stays_paused(self.source)
        self.source.set(max_bandwidth=0)
        self.source.hmp.execute("snp_migrate -r")
        self.finish(reconnects=1)

    def test_pause_at_the_destination(self):
        self.start()
        self.wait_blocks()
        self.destination.qmp.execute("snp-migrate-pause")
        self.paused(self.destination, "paused by command")
        self.paused(self.source, "paused at the destination")
        self.stays_paused(self.source)
        self.source.hmp.execute(f"snp_migrate -d -r {self.proxy1.uri} {PAGE:#x}")
        self.resume()
        self.finish(reconnects=1)

    def test_pause_that_the_source_does_not_hear(self):
        """It comes back by itself, is told, and waits for a person as well. Blocks are read meanwhile."""
        self.start(source=("--peer-timeout", "3", "--window", "512k", "--max-bandwidth", "400k"), reader={"interval": 1000},
                   size="2M")
        self.wait_blocks()
        self.proxy1.freeze()
        self.destination.qmp.execute("snp-migrate-pause")
        # It is paused for a moment as soon as it hears nothing, and again when it was refused.
        wait_until(lambda: "paused at" in self.source.qmp.execute("query-snp-migrate").get("error-desc", ""), PATIENCE,
                   "the refusal")
        self.paused(self.source, "paused at the destination")
        self.paused(self.destination, "paused by command")
        self.stays_paused(self.source)
        self.stays_paused(self.destination)
        self.source.qmp.execute("snp-migrate", uri=self.proxy1.uri, address=PAGE, resume=True)
        self.finish(reconnects=1)

    def test_another_address(self):
        self.start()
        self.wait_blocks()
        self.source.qmp.execute("snp-migrate-pause")
        self.paused(self.source, "paused by command")
        self.paused(self.destination, "paused at the source")
        path = self.path("elsewhere")
        self.assertNotIn("rror", self.destination.hmp.execute(f"snp_migrate_recover unix:{path}"))
        self.assertEqual(self.destination.qmp.execute("query-snp-migrate")["listening"],
                         [f"unix:{path}"])
        self.source.outgoing(f"unix:{path}", resume=True)
        self.finish(reconnects=1)
        self.assertEqual(self.source.qmp.execute("query-snp-migrate")["uri"], f"unix:{path}")
        self.assertEqual(self.proxy1.connections, 1)

    def test_file_in_place_of_the_peer(self):
        """A file answers nothing, so nobody can go on with one."""
        self.start()
        self.wait_blocks()
        self.source.qmp.execute("snp-migrate-pause")
        self.paused(self.source, "paused by command")
        self.paused(self.destination, "paused at the source")
        uri = f"file:{self.path('stream')}"
        with self.assertRaisesRegex(QmpError, "answers nothing"):
            self.source.outgoing(uri, resume=True)
        with self.assertRaisesRegex(QmpError, "answers nothing"):
            self.destination.qmp.execute("snp-migrate-recover", uri=uri)
        self.source.outgoing(self.proxy1.uri, resume=True)
        self.finish(reconnects=1)

    def test_another_address_over_qmp(self):
        self.start()
        self.wait_blocks()
        self.destination.qmp.execute("snp-migrate-pause")
        self.paused(self.source, "paused at the destination")
        self.destination.qmp.execute("snp-migrate-recover", uri="tcp:127.0.0.1:0")
        uri, = self.destination.qmp.execute("query-snp-migrate")["listening"]
        self.assertNotEqual(uri, self.proxy1.target)
        self.source.set(max_bandwidth=0)
        self.assertNotIn("rror", self.source.hmp.execute(f"snp_migrate -r {uri}"))
        self.finish(reconnects=1)

    def test_recover_to_the_same_address(self):
        """Where it listens already."""
        for unix in (False, True):
            with self.subTest(unix=unix):
                self.start(unix=unix)
                self.wait_blocks()
                self.source.qmp.execute("snp-migrate-pause")
                self.paused(self.destination, "paused at the source")
                before = self.destination.qmp.execute("query-snp-migrate")["listening"]
                self.destination.qmp.execute("snp-migrate-recover", uri=before[0])
                self.assertEqual(self.destination.qmp.execute("query-snp-migrate")["listening"], before)
                self.paused(self.source, "paused by command")
                self.resume()
                self.finish(reconnects=1)

    def test_descriptor_of_a_cancelled_resume(self):
        """Who has its other end hears that nobody will use it."""
        self.start()
        self.wait_blocks()
        self.source.qmp.execute("snp-migrate-pause")
        self.paused(self.source, "paused by command")
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        ours.settimeout(PATIENCE)
        with theirs:
            self.source.qmp.execute("getfd", fdname="x", fds=[theirs.fileno()])
        arguments = {"uri": "fd:x", "address": PAGE, "resume": True}
        self.source.qmp.send_raw(json.dumps({"execute": "snp-migrate", "arguments": arguments}).encode() +
                                 b'{"execute": "snp-migrate-cancel"}')
        while ours.recv(4096):
            pass  # until the end; perhaps a hello comes first

    def test_recover_to_a_wrong_address(self):
        self.start()
        self.wait_blocks()
        self.destination.qmp.execute("snp-migrate-pause")
        self.paused(self.source, "paused at the destination")
        with self.assertRaisesRegex(QmpError, "192.0.2.1"):
            self.destination.qmp.execute("snp-migrate-recover", uri="tcp:192.0.2.1:7000")
        with self.assertRaisesRegex(QmpError, "0x3000"):
            self.source.outgoing(self.proxy1.uri, 0x4000, resume=True)
        self.resume()
        self.finish(reconnects=1)

    def test_nothing_to_resume(self):
        self.start()
        self.wait_blocks()
        with self.assertRaisesRegex(QmpError, "no paused.*state is active"):
            self.source.outgoing(self.proxy1.uri, resume=True)
        with self.assertRaisesRegex(QmpError, "no paused incoming"):
            self.destination.qmp.execute("snp-migrate-recover", uri="tcp:127.0.0.1:0")
        with self.assertRaisesRegex(QmpError, "no paused outgoing"):
            self.destination.outgoing(self.proxy1.uri, resume=True)
        self.finish(reconnects=0)

    def test_reconnect_timeout(self):
        self.start(source=("--reconnect-timeout", "3"))
        self.wait_blocks()
        target, self.proxy1.target = self.proxy1.target, f"unix:{self.path('nobody')}"
        self.proxy1.cut()
        self.paused(self.destination, "closed the connection|broke")
        self.proxy1.wait(lambda proxy: proxy.connections > 2)
        counts = [0]

        def is_quiet():
            counts.append(self.proxy1.connections)
            time.sleep(0.1)
            return len(set(counts[-25:])) == 1 and len(counts) > 25
        wait_until(is_quiet, PATIENCE, "the end of the attempts")
        self.paused(self.source, "connect|hello|closed")
        self.proxy1.target = target
        self.stays_paused(self.source)
        self.source.set(max_bandwidth=0)
        self.source.hmp.execute("snp_migrate -r")
        self.finish(reconnects=1)

    def test_memory_stays_bounded(self):
        self.start(source=("--window", "1M", "--max-bandwidth", "2M"), size="16M")
        self.wait_blocks()
        self.destination.qmp.execute("snp-migrate-pause")
        self.paused(self.source, "paused at the destination")

        def is_full():
            info = self.source.qmp.execute("query-snp-migrate")
            return info["bytes"] - info["acked-bytes"] >= 1 << 20
        wait_until(is_full, PATIENCE, "the window to be full")
        before = self.source.qmp.execute("query-snp-migrate")
        memory = self.source.memory_bytes("VmRSS")
        self.stays_paused(self.source)
        info = self.source.qmp.execute("query-snp-migrate")
        self.assertEqual(info["blocks"], before["blocks"])
        self.assertEqual(info["bytes"] - info["acked-bytes"], 1 << 20)
        self.assertLess(self.source.memory_bytes("VmRSS") - memory, 1 << 20)
        self.resume()
        self.finish(reconnects=1)


class StrangerTest(ResumeTest):
    """Whoever connects in between is refused and disturbs nothing."""

    def start_and_pause(self, **options):
        self.start(**options)
        self.wait_blocks()
        self.source.qmp.execute("snp-migrate-pause")
        self.paused(self.source, "paused by command")
        self.paused(self.destination, "paused at the source")
        return self.destination.qmp.execute("query-snp-migrate")["blocks"]

    def check_refused(self, kind, position, pattern):
        stranger = NativePeer.connect(self.proxy1.target)
        self.addCleanup(stranger.close)
        stranger.send(MAGIC, hello(kind, os.urandom(16), position=position))
        stranger.read_magic()
        reason, text = stranger.read_error()
        self.assertEqual(reason, REFUSED)
        self.assertRegex(text, pattern)
        stranger.close()

    def test_strangers_while_paused(self):
        self.start_and_pause()
        silent = NativePeer.connect(self.proxy1.target)
        self.addCleanup(silent.close)
        garbage = NativePeer.connect(self.proxy1.target)
        garbage.send(b"GET / HTTP/1.0\r\n\r\n")
        garbage.read_to_end()
        garbage.close()
        self.check_refused(RESUME, 0, "another migration")
        self.check_refused(START, 0, "another migration")
        other = self.guest("source", blocks=10)
        send = self.send(self.proxy1.target, other)
        self.check_failed(send, "refused: another migration is going on here")
        self.assertEqual(other.registers(), (NOT_STARTED, 0))
        self.source.outgoing(self.proxy1.uri, resume=True)
        self.finish(reconnects=1)

    def limit(self, rate):
        """Slow enough for what a test does meanwhile; 0: no limit."""
        self.source.qmp.execute("snp-migrate-set-parameters", **{"max-bandwidth": rate})

    def test_strangers_while_active(self):
        self.start()
        self.limit(200000)
        self.wait_blocks()
        self.check_refused(RESUME, 0, "another migration")
        for _ in range(20):  # more than are listened to at a time
            stranger = NativePeer.connect(self.proxy1.target)
            self.addCleanup(stranger.close)
        garbage = NativePeer.connect(self.proxy1.target)
        garbage.send(bytes(range(256)))
        garbage.close()
        self.limit(0)
        self.finish(reconnects=0)

    def test_destination_restarted(self):
        self.start_and_pause()
        self.destination.kill()
        again = self.serve(self.destination_guest)
        with self.assertRaisesRegex(QmpError, BROKEN_OFF):
            again.incoming()
        uri = again.incoming(force=True)
        self.source.outgoing(uri, resume=True)
        self.paused(self.source, "refused: this session is not known here")
        self.assertIn("this session is not known", self.source.hmp.execute("info snp_migrate"))
        self.assertEqual(again.qmp.execute("query-snp-migrate")["status"], "setup")
        self.source.qmp.execute("snp-migrate-cancel")
        self.assertEqual(self.source.qmp.wait_status(*FINAL)["status"], "cancelled")
        self.assertEqual(self.source_guest.page.status, NOT_STARTED)

    def test_page_of_a_cancelled_strict_guest(self):
        self.start_and_pause()
        self.source.qmp.execute("snp-migrate-cancel")
        self.source.qmp.wait_status("cancelled")
        with self.assertRaisesRegex(QmpError, BROKEN_OFF):
            self.source.outgoing(self.proxy1.uri)
        self.source.kill()
        again = self.serve(self.source_guest)
        with self.assertRaisesRegex(QmpError, f"{BROKEN_OFF}.*force"):
            again.outgoing(self.proxy1.uri)
        self.assertEqual(self.source_guest.page.status, NOT_STARTED)

    def test_source_killed(self):
        self.start()
        self.wait_blocks()
        self.source.kill()
        self.paused(self.destination, "closed the connection|broke")
        self.destination.qmp.execute("snp-migrate-cancel")
        info = self.destination.qmp.wait_status(*FINAL)
        self.assertEqual(info["status"], "cancelled")
        self.assertNotEqual(self.destination_guest.page.status, COMPLETED)
        self.assertEqual(self.destination_guest.page.status, NOT_STARTED)
        with self.assertRaisesRegex(QmpError, BROKEN_OFF):
            self.destination.incoming()

    def test_cancellable_guests_give_up(self):
        self.start_and_pause(source=HELD, cancellable=True, **SLOW)
        self.source.qmp.execute("snp-migrate-cancel")
        self.source.qmp.wait_status("cancelled")
        wait_until(lambda: self.source_guest.registers() == (NOT_STARTED, 0), PATIENCE, "a fresh page")
        # The destination was not connected, so nobody could tell it.
        self.paused(self.destination, "paused at the source")


if __name__ == "__main__":
    relay.main()
