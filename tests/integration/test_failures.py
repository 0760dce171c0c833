#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that misbehave, peers that are not there, and starts that must be refused."""

import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from guest import COMPLETED, NONE, NOT_STARTED, READ, READY, RUNNING, wait_until  # noqa: E402
from qmp import QmpError  # noqa: E402
from relay import PAGE, PATIENCE, RelayTest, main  # noqa: E402

BLOCKS = 400


class PairTest(RelayTest):
    """Two brokers."""

    def make(self, source=None, destination=None, left=(), right=()):
        self.source = self.guest("source", **{"blocks": BLOCKS, "seed": 3, **(source or {})})
        self.destination = self.guest("destination", **(destination or {}))
        self.left, self.right = self.serve(self.source, *left), self.serve(self.destination, *right)

    def migrate(self, **options):
        self.left.outgoing(self.right.incoming(**options), **options)

    def wait_both(self, *statuses):
        return [side.qmp.wait_status(*statuses) for side in (self.left, self.right)]

    def wait_ends(self):
        return self.wait_both("completed", "failed", "cancelled")


class MisbehaviourTest(PairTest):
    def test_stopped_source(self):
        """It does nothing more: that is told, and nothing else happens, until a person decides."""
        self.make(source={"misbehave": "stop:0"}, left=("--stall-warning", "300"))
        self.migrate()
        event = self.left.qmp.wait_event("SNP_MIGRATION_STALLED")
        self.assertGreaterEqual(event["data"]["idle-time"], 300)
        info = self.left.qmp.execute("query-snp-migrate")
        self.assertEqual((info["status"], info["blocks"]), ("active", 0))
        self.assertGreaterEqual(info["guest-idle-time"], 300)
        self.left.wait_error("warning: the guest has done nothing for")
        self.left.qmp.execute("snp-migrate-cancel")
        self.assertEqual([info["status"] for info in self.wait_ends()], ["cancelled"] * 2)

    def test_stopped_destination(self):
        self.make(destination={"misbehave": "stop:0"}, right=("--stall-warning", "300"))
        self.migrate()
        self.right.qmp.wait_event("SNP_MIGRATION_STALLED")
        self.assertEqual(self.right.qmp.execute("query-snp-migrate")["blocks"], 0)
        self.right.qmp.execute("snp-migrate-cancel")
        self.assertEqual([info["status"] for info in self.wait_ends()], ["cancelled"] * 2)

    def test_no_stall_without_a_wait(self):
        """A destination's guest that waits for blocks has not stalled."""
        self.make(source={"misbehave": "stop:0"}, left=("--stall-warning", "300"),
                  right=("--stall-warning", "100"))
        self.migrate()
        self.left.qmp.wait_event("SNP_MIGRATION_STALLED")
        self.assertNotIn("done nothing", self.right.errors)

    def test_stall_is_told_once_each_time(self):
        self.make(source={"misbehave": "stop:0"}, left=("--stall-warning", "300"))
        self.migrate()
        self.left.qmp.wait_event("SNP_MIGRATION_STALLED")
        wait_until(lambda: self.left.qmp.execute("query-snp-migrate")["guest-idle-time"] > 1500,
                   PATIENCE, "idle time")
        self.assertEqual([event["event"] for event in self.left.qmp.events], [])

    def test_no_stall_warning(self):
        self.make(source={"misbehave": "stop:0"}, left=("--stall-warning", "0"))
        self.migrate()
        wait_until(lambda: self.left.qmp.execute("query-snp-migrate").get("guest-idle-time", 0) > 1000,
                   PATIENCE, "idle time")
        self.assertNotIn("done nothing", self.left.errors)

    def test_exited_guests(self):
        """A process that is gone looks as one that does nothing; its page is still there."""
        for role in ("source", "destination"):
            with self.subTest(role):
                self.make(**{role: {"misbehave": "exit:20"}}, left=("--stall-warning", "200"),
                          right=("--stall-warning", "200"))
                self.migrate()
                side = self.left if role == "source" else self.right
                side.qmp.wait_event("SNP_MIGRATION_STALLED")
                side.hmp.execute("snp_migrate_cancel")
                self.assertEqual([info["status"] for info in self.wait_ends()], ["cancelled"] * 2)

    def test_impossible_registers(self):
        for role, side in (("source", 0), ("destination", 1)):
            with self.subTest(role):
                self.make(**{role: {"misbehave": "registers:20"}})
                self.migrate()
                infos = self.wait_ends()
                self.assertEqual([info["status"] for info in infos], ["failed"] * 2)
                # Not always both: the relay may have answered in between, or looked in between.
                words = "impossible registers.*0x(77|99)"
                self.assertRegex(infos[side]["error-desc"], words)
                self.assertRegex(infos[1 - side]["error-desc"], f"the {role} gave up: .*{words}")
                self.assertNotIn("checksum", infos[0])
                event = self.left.qmp.wait_event("SNP_MIGRATION", status="failed")
                self.assertRegex(event["data"]["error-desc"], words)
                guest = self.source if role == "source" else self.destination
                self.assertEqual(guest.registers()[0], NOT_STARTED)
                broken = self.left if role == "source" else self.right
                with self.assertRaisesRegex(QmpError, "broken off"):
                    broken.outgoing("tcp:127.0.0.1:1")

    def test_reset_guests(self):
        """A guest that rebooted: this migration is lost, the next one can start."""
        for role, side in (("source", 0), ("destination", 1)):
            with self.subTest(role):
                cancellable = {"cancellable": True}
                options = {role: {"misbehave": "reset:20", "cancellable": True}}
                small = ("--window", "64k")  # neither guest gets to its end before the other's reset
                self.make(source=options.get("source", cancellable),
                          destination=options.get("destination", cancellable), left=small, right=small)
                self.migrate()
                infos = self.wait_ends()
                self.assertEqual([info["status"] for info in infos], ["failed"] * 2)
                self.assertRegex(infos[side]["error-desc"], "reset its migration page")
                self.assertRegex(infos[1 - side]["error-desc"], f"the {role} gave up: .*reset its")
                (self.source if role == "source" else self.destination).wait_line("^reset$", PATIENCE)
                for guest in (self.source, self.destination):
                    wait_until(lambda page=guest: page.registers() == (NOT_STARTED, NONE), PATIENCE,
                               "a fresh page")
                self.migrate()
                self.check_completed(self.source, self.destination, *self.wait_ends())

    def test_rewriting_source(self):
        """It writes while the relay copies: what was copied is what is summed up and what arrives."""
        for wire in ("native", "poc"):
            self.make(source={"misbehave": "rewrite:5"})
            self.left.set(wire=wire)
            self.migrate()
            infos = self.wait_ends()
            counted = self.destination.result(PATIENCE)
            for info in infos:
                self.assertEqual((info["status"], info["blocks"], info["checksum"]),
                                 ("completed", BLOCKS, counted.checksum))

    def test_rewriting_destination(self):
        """It writes into its own buffer: its own harm, and the rest of its page is left alone."""
        self.make(destination={"misbehave": "rewrite:5"})
        self.migrate()
        given = self.source.result(PATIENCE)
        for info in self.wait_ends():
            self.assertEqual((info["status"], info["checksum"]), ("completed", given.checksum))

    def test_late_complete(self):
        self.make(source={"misbehave": "late-complete"})
        self.migrate()
        self.check_completed(self.source, self.destination, *self.wait_ends())

    def test_completed_without_blocks_of_its_own(self):
        """A source that says *completed* at once, with a block in the buffer."""
        self.make()
        self.destination.kill()
        self.source.kill()
        self.source.page.data, self.source.page.status = NONE, NOT_STARTED
        self.destination.page.data, self.destination.page.status = NONE, NOT_STARTED
        uri = self.right.incoming()
        self.left.outgoing(uri)
        wait_until(lambda: self.source.registers() == (RUNNING, READ), PATIENCE, "the start")
        wait_until(lambda: self.destination.registers() == (1, READ), PATIENCE, "the start")
        self.source.page.fill(b"\x5a" * 2048)
        self.source.page.data = READY
        self.source.page.status = COMPLETED
        wait_until(lambda: self.destination.registers() == (1, READY), PATIENCE, "the block")
        self.assertEqual(self.destination.page.buffer(), b"\x5a" * 2048)
        self.assertEqual([side.qmp.execute("query-snp-migrate")["status"]
                          for side in (self.left, self.right)], ["active"] * 2)
        self.destination.page.data = READ
        self.assertEqual([info["status"] for info in self.wait_ends()], ["completed"] * 2)
        self.assertEqual(self.destination.registers(), (COMPLETED, READ))

    def test_nothing_but_the_page_is_written(self):
        """Registers and buffer; the reserved part, and the pages around it, stay as they are."""
        self.make()
        for page_number in (2, 4):
            with open(self.destination.memory, "r+b") as file:
                file.seek(page_number * 4096)
                file.write(bytes([page_number]) * 4096)
        self.destination.poke(2, b"\xa5" * 0x7FE)
        self.source.poke(2, b"\x5a" * 0x7FE)
        self.migrate()
        self.check_completed(self.source, self.destination, *self.wait_ends())
        self.assertEqual(self.destination.page.read()[2:0x800], b"\xa5" * 0x7FE)
        self.assertEqual(self.source.page.read()[2:0x800], b"\x5a" * 0x7FE)
        with open(self.destination.memory, "rb") as file:
            ram = file.read()
        self.assertEqual(ram[0x2000:0x3000], b"\2" * 4096)
        self.assertEqual(ram[0x4000:0x5000], b"\4" * 4096)


class NetworkTest(PairTest):
    def closed_port(self, host="127.0.0.1"):
        """Bound, but not listened on: refused, and nobody else gets it."""
        probe = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.addCleanup(probe.close)
        probe.bind((host, 0))
        return probe.getsockname()[1]

    def test_nobody_listens(self):
        source = self.guest("source", blocks=5)
        for wire in ("native", "poc"):
            for uri in (f"tcp:127.0.0.1:{self.closed_port()}", f"unix:{self.path('nobody')}",
                        f"tcp:[::1]:{self.closed_port('::1')}"):
                with self.subTest(wire=wire, uri=uri):
                    send = self.send(uri, source, "--wire", wire)
                    self.check_failed(send, "refused|No such file")
                    self.assertEqual(source.registers(), (NOT_STARTED, NONE), "the page stays fresh")

    def test_host_without_a_name(self):
        source = self.guest("source", blocks=5)
        send = self.send("tcp:no-such-host.invalid:4444", source, "--connect-timeout", "5")
        self.check_failed(send, "no-such-host.invalid")
        self.assertEqual(source.registers(), (NOT_STARTED, NONE))

    def test_address_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            destination = self.guest("destination")
            receive = self.receive(destination, uri="tcp:127.0.0.1:%d" % taken.getsockname()[1])
            self.assertEqual(receive.wait(), 1)
            self.assertRegex(receive.errors, "[Aa]ddress already in use")
            self.assertEqual(destination.registers(), (NOT_STARTED, NONE))

    def test_two_sources(self):
        """Both connect to each other's kind."""
        destination = self.guest("destination")
        receive = self.receive(destination)
        uri = receive.listening()
        first = self.guest("source", misbehave="stop:10", blocks=BLOCKS)
        send = self.send(uri, first)
        wait_until(lambda: destination.registers()[0] == 1, PATIENCE, "the first source")
        second = self.guest("source", blocks=BLOCKS)
        late = self.send(uri, second)
        self.check_failed(late, "refused: another migration is going on here")
        self.assertEqual(second.registers(), (NOT_STARTED, NONE))
        receive.wait_error("refused a connection")
        send.interrupt()
        self.assertEqual((send.wait(), receive.wait()), (3, 3))

    def test_poc_to_a_native_source(self):
        """The source's peer turns out to be another source: told apart by the first bytes."""
        destination = self.guest("destination")
        receive = self.receive(destination)
        source = self.guest("source", blocks=BLOCKS)
        send = self.send(receive.listening(), source, "--wire", "poc")
        self.assertEqual((send.wait(), receive.wait()), (0, 0), receive.errors)
        self.assertEqual(receive.json()["wire"], "poc")

    def test_killed_relays(self):
        """The process at the other end dies."""
        for victim in ("send", "receive"):
            with self.subTest(victim):
                source = self.guest("source", misbehave="stop:50", blocks=BLOCKS)
                destination = self.guest("destination")
                quick = ("--reconnect-timeout", "1")
                receive = self.receive(destination, *quick)
                send = self.send(receive.listening(), source, *quick)
                source.wait_line("stopped at block", PATIENCE)
                dead, alive = (send, receive) if victim == "send" else (receive, send)
                dead.kill()
                self.assertEqual(alive.wait(), 1, alive.errors)
                self.assertIn("paused", alive.errors)


class RefusalTest(PairTest):
    def test_second_migration(self):
        self.make(source={"misbehave": "stop:10"})
        self.migrate()
        self.left.qmp.wait_status("active")
        self.right.qmp.wait_status("active")
        for side in (self.left, self.right):
            with self.assertRaisesRegex(QmpError, r"already under way \(active\)") as caught:
                side.outgoing("tcp:127.0.0.1:1")
            self.assertEqual(caught.exception.error_class, "GenericError")
            with self.assertRaisesRegex(QmpError, "already under way"):
                side.incoming()
            self.assertRegex(side.hmp.execute(f"snp_migrate -d tcp:127.0.0.1:1 {PAGE}"),
                             "^Error: a migration is already under way")
        self.assertEqual(self.source.registers()[0], RUNNING, "and the first is not disturbed")
        self.left.qmp.execute("snp-migrate-cancel")
        self.wait_ends()

    def test_second_while_listening(self):
        self.make()
        uri = self.right.incoming()
        with self.assertRaisesRegex(QmpError, r"already under way \(setup\)"):
            self.right.incoming()
        self.left.outgoing(uri)
        self.check_completed(self.source, self.destination, *self.wait_ends())

    def test_strict_page(self):
        """A strict source that was broken off goes on from the middle: only force starts it again."""
        self.make(destination={"cancellable": True}, left=("--window", "64k", "--max-bandwidth", "20k"))
        self.migrate()
        wait_until(lambda: self.left.qmp.execute("query-snp-migrate")["blocks"] >= 20, PATIENCE, "blocks")
        self.left.qmp.execute("snp-migrate-cancel")
        infos = self.wait_ends()
        self.assertEqual([info["status"] for info in infos], ["cancelled"] * 2)
        taken = infos[0]["blocks"]
        self.assertEqual(self.source.registers()[0], NOT_STARTED)
        wait_until(lambda: self.destination.registers() == (NOT_STARTED, 0), PATIENCE, "a guest that starts over")
        uri = self.right.incoming()
        with self.assertRaisesRegex(QmpError, "broken off in mid-stream.*reset the guest, or use force"):
            self.left.outgoing(uri)
        self.assertRegex(self.left.hmp.execute(f"snp_migrate {uri} {PAGE:#x}"), "broken off")
        self.left.set(max_bandwidth=0)
        self.assertEqual(self.left.hmp.execute(f"snp_migrate -d -f {uri} {PAGE:#x}"), "")
        infos = self.wait_ends()
        self.assertEqual([info["status"] for info in infos], ["completed"] * 2)
        # What was in the buffer when it was cancelled is lost or taken, which nobody can know.
        self.assertIn(BLOCKS - infos[0]["blocks"], range(taken, taken + 3))
        self.assertEqual(infos[0]["checksum"], infos[1]["checksum"])

    def test_pages_in_every_state(self):
        """Fresh, or completed with no *ready*: only these start without force."""
        destination = self.guest("destination")
        destination.kill()
        serve = self.serve(destination)
        for status in (0, 1, 2, 3, 4, 255):
            for data in (0, 4, 5, 6, 255):
                with self.subTest(status=status, data=data):
                    destination.page.status, destination.page.data = status, data
                    if (status, data) in ((0, 0), (3, 0), (3, 5), (3, 6), (3, 255)):
                        serve.incoming()
                        serve.qmp.execute("snp-migrate-cancel")
                        serve.qmp.wait_status("cancelled")
                    else:
                        with self.assertRaisesRegex(QmpError, "broken off in mid-stream"):
                            serve.incoming()
                    self.assertEqual(destination.registers(), (status, data))

    def test_failed_start_harms_nothing(self):
        """After each refusal a good migration runs."""
        self.make()
        for uri in ("rdma:host:1", "tcp:", "nonsense", "unix:", "exec:true", "fd:nobody", "tcp:1.2.3.4"):
            with self.subTest(uri=uri):
                with self.assertRaises(QmpError):
                    self.left.outgoing(uri)
                with self.assertRaises(QmpError):
                    self.right.incoming(uri=uri)
        for side in (self.left, self.right):
            self.assertEqual(side.qmp.execute("query-snp-migrate"), {"status": "none"})
        self.migrate()
        self.check_completed(self.source, self.destination, *self.wait_ends())


if __name__ == "__main__":
    main()
