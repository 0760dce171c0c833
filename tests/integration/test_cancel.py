#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cancel, from every place and in every state, and what it leaves on the pages."""

import os
import signal
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from guest import COMPLETED, INCOMING, NONE, NOT_STARTED, READ, RUNNING, wait_until  # noqa: E402
from peer import Listener, NativePeer, Peer  # noqa: E402
from relay import PAGE, PATIENCE, RelayTest, main  # noqa: E402

FRESH = (NOT_STARTED, NONE)


class CancelTest(RelayTest):
    def by_qmp(self, serve):
        self.assertEqual(serve.qmp.execute("snp-migrate-cancel"), {})

    def by_hmp(self, serve):
        self.assertEqual(serve.hmp.execute("snp_migrate_cancel"), "")

    def ways(self):
        """Each way by which a person cancels a broker's migration."""
        for name in ("qmp", "hmp"):
            with self.subTest(by=name):
                yield getattr(self, f"by_{name}")

    def black_hole(self, path=None):
        """A listening socket that is full: who connects waits for ever."""
        listener = Listener(Peer, path, backlog=0)
        self.addCleanup(listener.close)
        for _ in range(16):  # as many as the kernel takes
            connection = socket.socket(listener.socket.family)
            self.addCleanup(connection.close)
            connection.setblocking(False)
            try:
                connection.connect(listener.socket.getsockname())
            except OSError:
                pass
        return listener.uri

    def check_cancelled(self, serve, words="cancelled by command"):
        info = serve.qmp.wait_status("cancelled")
        self.assertIn(words, info["error-desc"])
        self.assertNotIn("checksum", info)
        return info


class SetupTest(CancelTest):
    """Nobody was reached yet: the page stays fresh."""

    def check_black_hole(self, uri):
        for cancel in self.ways():
            source = self.guest("source", blocks=5)
            left = self.serve(source, "--connect-timeout", "600")
            left.outgoing(uri)
            self.assertEqual(left.qmp.wait_status("setup")["blocks"], 0)
            cancel(left)
            self.check_cancelled(left)
            self.assertEqual(source.registers(), FRESH)

    def test_connecting_tcp(self):
        self.check_black_hole(self.black_hole())

    def test_connecting_unix(self):
        self.check_black_hole(self.black_hole(self.path("full")))

    def test_connecting_times_out(self):
        source = self.guest("source", blocks=5)
        send = self.send(self.black_hole(), source, "--connect-timeout", "1")
        self.check_failed(send, "no answer within the time allowed")
        self.assertEqual(source.registers(), FRESH)

    def test_waiting_for_the_hello(self):
        for cancel in self.ways():
            listener = Listener(NativePeer)
            self.addCleanup(listener.close)
            source = self.guest("source", blocks=5)
            left = self.serve(source, "--connect-timeout", "600")
            left.outgoing(listener.uri)
            peer = listener.accept()
            self.addCleanup(peer.close)
            peer.read_hello()
            cancel(left)
            self.assertEqual(peer.read_error()[0], 2, "the peer is told")
            peer.close()
            self.check_cancelled(left)
            self.assertEqual(source.registers(), FRESH)

    def test_listening(self):
        for cancel in self.ways():
            destination = self.guest("destination")
            right = self.serve(destination)
            uri = right.incoming()
            cancel(right)
            self.check_cancelled(right)
            self.assertEqual(destination.registers(), FRESH)
            with self.assertRaises(OSError, msg="nobody listens any more"):
                Peer.connect(uri)
            right.qmp.wait_event("SNP_MIGRATION", status="cancelling")
            right.qmp.wait_event("SNP_MIGRATION", status="cancelled")
            # And on the same page, at the same address.
            right.incoming(uri=uri)

    def test_listening_with_a_silent_peer(self):
        destination = self.guest("destination")
        right = self.serve(destination)
        peer = Peer.connect(right.incoming())
        self.addCleanup(peer.close)
        self.by_qmp(right)
        self.check_cancelled(right)
        self.assertEqual(peer.read_to_end(), b"")
        self.assertEqual(destination.registers(), FRESH)

    def test_signals(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number):
                source, destination = self.guest("source", blocks=5), self.guest("destination")
                send = self.send(self.black_hole(), source, "--connect-timeout", "600")
                receive = self.receive(destination)
                receive.listening()
                wait_until(lambda program=send: self.is_ready(program), PATIENCE, "send to begin")
                for program, guest in ((send, source), (receive, destination)):
                    program.interrupt(number)
                    self.assertEqual(program.wait(), 3, program.errors)
                    self.assertEqual(program.json()["status"], "cancelled")
                    self.assertRegex(program.errors, "cancelled: cancelled by")
                    self.assertEqual(guest.registers(), FRESH)

    def test_nohup(self):
        """Started so that it survives its terminal."""
        source, destination = self.guest("source", blocks=5), self.guest("destination")
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            receive = self.receive(destination)
        finally:
            signal.signal(signal.SIGHUP, before)
        uri = receive.listening()
        receive.interrupt(signal.SIGHUP)
        send = self.send(uri, source)
        self.assertEqual((send.wait(), receive.wait()), (0, 0), send.errors + receive.errors)

    def test_signal_before_the_page_is_found(self):
        """The page is asked for at a QEMU that says nothing."""
        path = self.path("silent")
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(path)
            silent.listen()
            for command in ("send", "receive"):
                program = self.run_program(command, "tcp:127.0.0.1:0", hex(PAGE), "--guest-memory",
                                           f"qemu:{path}", "--json")
                wait_until(lambda started=program: self.is_ready(started), PATIENCE, "its begin")
                program.interrupt()
                self.assertEqual(program.wait(), 3, program.errors)
                info = program.json()
                self.assertEqual((info["status"], info["address"]), ("cancelled", PAGE))
                self.assertRegex(program.errors, "error: cancelled: ")

    @staticmethod
    def is_ready(program):
        """Whether it handles signals: SIGHUP, bit 0 of those that are caught, is the last one."""
        with open(f"/proc/{program.pid}/status", encoding="ascii") as file:
            caught = next(line.split()[1] for line in file if line.startswith("SigCgt"))
        return int(caught, 16) & 1


class StreamTest(CancelTest):
    """In mid-stream: both sides give up, and both guests can hear it."""

    def make(self, wire="native", relay=("--window", "64k"), **options):
        self.source = self.guest("source", **{"blocks": 100000000, **options})
        self.destination = self.guest("destination", cancellable=options.get("cancellable", False))
        self.left, self.right = self.serve(self.source, *relay), self.serve(self.destination)
        self.left.set(wire=wire)
        self.left.outgoing(self.right.incoming())
        wait_until(lambda: self.right.qmp.execute("query-snp-migrate").get("blocks", 0) > 50, PATIENCE,
                   "blocks")

    def check_strict_pages(self):
        """The status is back; the data register is as the guest or the relay left it last."""
        for guest in (self.source, self.destination):
            status, data = guest.registers()
            self.assertEqual(status, NOT_STARTED)
            self.assertNotEqual(data, NONE)

    def test_active(self):
        for side in ("left", "right"):
            for cancel in self.ways():
                self.make()
                serve, other = (self.left, self.right) if side == "left" else (self.right, self.left)
                cancel(serve)
                self.check_cancelled(serve)
                self.check_cancelled(other, "cancelled: ")
                self.check_strict_pages()

    def test_active_poc(self):
        """Nothing can be told on this wire: the other side sees a stream that was cut."""
        for side in ("left", "right"):
            with self.subTest(side):
                self.make("poc")
                serve, other = (self.left, self.right) if side == "left" else (self.right, self.left)
                self.by_qmp(serve)
                self.check_cancelled(serve)
                self.assertEqual(other.qmp.wait_status("failed", "completed")["status"], "failed")
                self.check_strict_pages()

    def test_poc_with_a_full_window(self):
        """A destination whose guest does nothing, and that has no room to read on, notices it too."""
        source = self.guest("source", blocks=1000000)
        destination = self.guest("destination", misbehave="stop:3")
        left, right = self.serve(source), self.serve(destination, "--window", "64k")
        left.set(wire="poc")
        left.outgoing(right.incoming())
        # No longer busy: both windows, and what is between them, are full.
        wait_until(lambda: "guest-idle-time" not in left.qmp.execute("query-snp-migrate")
                   and left.qmp.execute("query-snp-migrate")["bytes"] > 8 << 20, PATIENCE, "a full window")
        self.by_qmp(left)
        self.check_cancelled(left)
        self.assertEqual(right.qmp.wait_status("failed", "cancelled", "completed")["status"], "failed")

    def test_signals(self):
        for who in ("send", "receive"):
            with self.subTest(who):
                source = self.guest("source", blocks=1000000)
                destination = self.guest("destination")
                receive = self.receive(destination)
                send = self.send(receive.listening(), source)
                wait_until(lambda page=destination: page.registers()[0] == INCOMING, PATIENCE, "a start")
                (send if who == "send" else receive).interrupt()
                self.assertEqual((send.wait(), receive.wait()), (3, 3), send.errors + receive.errors)
                for program in (send, receive):
                    self.assertEqual(program.json()["status"], "cancelled")

    def test_before_the_first_block(self):
        """A destination that gave nothing puts its page back as it was."""
        self.source = self.guest("source", blocks=100, misbehave="stop:0")
        self.destination = self.guest("destination")
        self.left, self.right = self.serve(self.source), self.serve(self.destination)
        self.left.outgoing(self.right.incoming())
        wait_until(lambda: self.destination.registers() == (INCOMING, READ), PATIENCE, "the start")
        self.by_qmp(self.right)
        self.check_cancelled(self.right)
        self.check_cancelled(self.left, "cancelled: ")
        self.assertEqual(self.destination.registers(), FRESH)
        self.assertEqual(self.source.registers(), (NOT_STARTED, READ))

    def test_cancellable_guests(self):
        """They give up too, and the next run in the same boot is a whole one."""
        for wire in ("native", "poc"):
            with self.subTest(wire):
                self.make(wire, cancellable=True, blocks=5000, relay=("--window", "64k", "--max-bandwidth", "1M"))
                self.by_qmp(self.left)
                self.check_cancelled(self.left)
                self.right.qmp.wait_status("cancelled", "failed")
                for guest in (self.source, self.destination):
                    guest.wait_line(r"^cancelled at block \d+", PATIENCE)
                    self.assertEqual(guest.registers(), FRESH)
                self.left.set(max_bandwidth=0)
                self.left.outgoing(self.right.incoming())
                infos = [side.qmp.wait_status("completed", "failed") for side in (self.left, self.right)]
                self.assertEqual(self.check_completed(self.source, self.destination, *infos).blocks, 5000)

    def pause(self):
        self.make()
        self.left.qmp.execute("snp-migrate-pause")
        for side in (self.left, self.right):
            self.assertEqual(side.qmp.wait_status("paused")["status"], "paused")
        # Paused is kept as it is: the guests' pages go on saying that a migration runs.
        self.assertEqual(self.source.registers()[0], RUNNING)
        self.assertEqual(self.destination.registers()[0], INCOMING)

    def test_paused(self):
        for cancel in self.ways():
            self.pause()
            for side in (self.left, self.right):
                cancel(side)
                self.check_cancelled(side)
            self.check_strict_pages()

    def test_paused_destination_tells_a_source_that_comes_back(self):
        self.pause()
        self.by_qmp(self.right)
        self.check_cancelled(self.right)
        self.left.qmp.execute("snp-migrate", uri=self.left.qmp.execute("query-snp-migrate")["uri"],
                              address=PAGE, resume=True)
        self.assertEqual(self.left.qmp.wait_status("paused", "recovering")["blocks"] > 50, True)
        self.by_qmp(self.left)
        self.check_cancelled(self.left)

    def test_recovering(self):
        """The source is connected to somebody who does not answer."""
        for cancel in self.ways():
            listener = Listener(NativePeer)
            self.addCleanup(listener.close)
            self.pause()
            self.left.qmp.execute("snp-migrate", uri=listener.uri, address=PAGE, resume=True)
            peer = listener.accept()
            self.addCleanup(peer.close)
            peer.read_hello()
            self.assertEqual(peer.their_hello.kind, 2)
            self.left.qmp.wait_status("recovering")
            cancel(self.left)
            self.assertEqual(peer.read_error()[0], 2)
            peer.close()
            self.check_cancelled(self.left)

    def test_recovering_in_a_black_hole(self):
        self.pause()
        self.left.qmp.execute("snp-migrate", uri=self.black_hole(), address=PAGE, resume=True)
        self.left.qmp.wait_status("recovering")
        self.by_qmp(self.left)
        self.check_cancelled(self.left)
        self.assertEqual(self.source.registers()[0], NOT_STARTED)

    def test_twice(self):
        self.make()
        client = self.left.new_qmp()
        for _ in range(5):
            self.by_qmp(self.left)
            client.execute("snp-migrate-cancel")
        self.check_cancelled(self.left)

    def test_during_a_waiting_hmp(self):
        """A person waits at one monitor, another cancels."""
        self.make()
        self.by_qmp(self.left)
        self.check_cancelled(self.left)
        source = self.guest("source", blocks=1000000)
        left = self.serve(source)
        right = self.serve(self.guest("destination"))
        left.hmp.send(f"snp_migrate {right.incoming()} {PAGE:#x}")
        left.qmp.wait_status("active")
        left.new_hmp().execute("snp_migrate_cancel")
        self.assertRegex(left.hmp.read_prompt(), "Error: the migration is cancelled: cancelled by command")

    def test_quit(self):
        """The broker's end is a cancel, too."""
        for how in ("quit", "signal"):
            with self.subTest(how):
                self.make()
                if how == "quit":
                    self.left.qmp.execute("quit")
                else:
                    self.left.interrupt(signal.SIGTERM)
                self.assertEqual(self.left.wait(), 0, self.left.errors)
                self.check_cancelled(self.right, "cancelled: ")
                self.check_strict_pages()


class EndTest(CancelTest):
    def test_nothing_runs(self):
        serve = self.serve(self.guest("source", blocks=1))
        for cancel in self.ways():
            cancel(serve)
            self.assertEqual(serve.qmp.execute("query-snp-migrate"), {"status": "none"})

    def test_completed(self):
        """What is completed stays so."""
        source, destination = self.guest("source", blocks=70), self.guest("destination")
        left, right = self.serve(source), self.serve(destination)
        left.outgoing(right.incoming())
        for side in (left, right):
            side.qmp.wait_status("completed")
            for cancel in self.ways():
                cancel(side)
                self.assertEqual(side.qmp.execute("query-snp-migrate")["status"], "completed")
        self.assertEqual(source.registers(), (COMPLETED, READ))
        self.assertEqual(destination.registers(), (COMPLETED, READ))

    def test_race_with_the_end(self):
        """Whatever comes first, both sides agree on whether it was completed."""
        for turn in range(25):
            with self.subTest(turn=turn):
                source = self.guest("source", blocks=turn * 3, cancellable=True)
                destination = self.guest("destination", cancellable=True)
                left, right = self.serve(source), self.serve(destination)
                left.outgoing(right.incoming())
                left.qmp.wait_status("active", "completed")
                self.by_qmp(left if turn % 2 else right)
                ends = [side.qmp.wait_status("completed", "cancelled", "failed")["status"]
                        for side in (left, right)]
                # Only the source may not have heard that the destination completed.
                self.assertIn(ends, (["completed"] * 2, ["cancelled"] * 2, ["cancelled", "completed"]))
                if ends[0] == "completed":
                    self.assertEqual(source.result(PATIENCE), destination.result(PATIENCE))


if __name__ == "__main__":
    main()
