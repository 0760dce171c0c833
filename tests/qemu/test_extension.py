#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Monitors in front of running, unmodified QEMUs: their clients see QEMU's own monitor, and ours in it."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

from extension import MIB, PAGE, SKIPPED, ExtensionTest  # finds the modules that follow, too

import test_netns
import vm
from guest import INCOMING, RUNNING, wait_until
from qmp import Qmp, QmpError
from relay import PATIENCE, main, program_path

PROMPT = 60  # seconds within which the end of a guest must be noticed, on a loaded machine, too
SNP_COMMANDS = {"snp-migrate", "snp-migrate-incoming", "snp-migrate-cancel", "snp-migrate-pause",
                "snp-migrate-recover", "snp-migrate-set-parameters", "query-snp-migrate",
                "query-snp-migrate-parameters", "snp_migrate", "snp_migrate_incoming",
                "snp_migrate_cancel"}
IDS = (1, -7, 2**53 + 1, 2**63 - 1, 2**64 - 1, 1.5, "text", "é \U0001f600 \" \\", True, None, [],
       [1, ["x", None]], {}, {"a": {"b": [1, 2.5]}})


class MigrationTest(ExtensionTest):
    """64 MiB between two machines, over a network where one can be made."""

    def setUp(self):
        super().setUp()
        self.sides, self.uri = {}, "tcp:127.0.0.1:0"
        if test_netns.is_possible():
            network = test_netns.NetworkTest()
            network.setUp()
            self.addCleanup(network.doCleanups)
            self.sides = {"source": network.left, "destination": network.right}
            self.uri = "tcp:10.0.0.2:0"

    def start(self, wire, **options):
        self.guests = [self.machine("source", size=64 * MIB, seed=3, stay=True, **options),
                       self.machine("destination", stay=True, **options)]
        self.relays = []
        for role, choice in (("source", ("--wire", wire)), ("destination", ())):
            with contextlib.ExitStack() as stack:
                if self.sides:
                    stack.enter_context(test_netns.inside(self.sides[role]))
                self.relays.append(self.extend(role, *choice))
        return self.relays

    def finish(self, wire):
        infos = [relay.qmp.wait_status("completed", "failed", "cancelled") for relay in self.relays]
        results = [guest.result(300) for guest in self.guests]
        self.assertEqual(results[0], results[1])
        self.assertEqual(results[0].bytes, 64 * MIB)
        for info in infos:
            self.assertEqual(info["status"], "completed", info)
            self.assertEqual(info["wire"], wire)
            self.assertEqual((info["blocks"], info["bytes"], info["checksum"]), results[0])

    def typed(self, wire, **options):
        source, destination = self.start(wire, **options)
        self.assertEqual(destination.hmp.execute(f"snp_migrate_incoming {self.uri} {PAGE:#x}"), "")
        listening = destination.hmp.info()["listening"]
        self.assertEqual(source.hmp.execute(f"snp_migrate {listening} {PAGE:#x}", deadline=240), "")
        self.assertEqual(source.hmp.info()["Migration status"], "completed")
        self.finish(wire)

    def sent(self, wire, **options):
        source, destination = self.start(wire, **options)
        events = self.client(source)
        uri = destination.incoming(PAGE, self.uri)
        events.execute("snp-migrate-set-parameters", **{"max-bandwidth": 8 * MIB})
        source.outgoing(uri, PAGE)
        # What QEMU tells and what the relay tells come in one stream, while the migration goes on.
        events.wait_event("SNP_MIGRATION", status="active")
        events.execute("stop")
        events.wait_event("STOP")
        self.assertEqual(events.execute("query-status")["status"], "paused")
        self.assertEqual(events.execute("query-snp-migrate")["status"], "active")
        events.execute("cont")
        events.wait_event("RESUME")
        events.execute("snp-migrate-set-parameters", **{"max-bandwidth": 0})
        events.wait_event("SNP_MIGRATION", status="completed", deadline=240)
        self.finish(wire)

    def test_hmp_native(self):
        self.typed("native")

    def test_hmp_poc(self):
        self.typed("poc")

    def test_qmp_native(self):
        self.sent("native")

    def test_qmp_poc(self):
        self.sent("poc")

    @unittest.skipUnless(vm.accelerators() == ["kvm", "tcg"], "TCG is what the others use, or is not there")
    def test_tcg(self):
        self.typed("native", accel="tcg")


class OneMachineTest(ExtensionTest):
    """One machine, whose guest waits for its relay."""

    def setUp(self):
        super().setUp()
        self.guest = self.machine("source", size=MIB)
        self.serve = self.extend("source")
        self.qmp = self.client(self.serve)


class QmpTest(OneMachineTest):
    def test_greeting(self):
        own = self.own("source")
        self.assertEqual(self.qmp.greeting["version"], own.greeting["version"])
        self.assertEqual(self.qmp.greeting["capabilities"], own.greeting["capabilities"])
        self.assertEqual(self.qmp.execute("query-version"), own.execute("query-version"))
        self.assertEqual(self.qmp.execute("query-memory-size-summary"),
                         own.execute("query-memory-size-summary"))

    def test_before_capabilities(self):
        with Qmp("unix:" + self.serve.qmp_path, negotiate=False) as early:
            self.refused(early, "query-status", "Expecting capabilities negotiation", "CommandNotFound")
            self.qmp.execute("stop")
            early.execute("qmp_capabilities")
            self.assertEqual(early.execute("query-status")["status"], "paused")
            self.assertEqual(early.events, [])

    def test_ids(self):
        own = self.own("source")
        for command in ("query-status", "query-snp-migrate", "no-such-command"):
            for value in IDS:
                text = json.dumps({"execute": command, "id": value}).encode()
                answers = []
                for client in (self.qmp, own):
                    client.send_raw(text)
                    answers.append(client.receive_answer())
                self.assertEqual(json.dumps(answers[0]["id"]), json.dumps(answers[1]["id"]))
                self.assertIs(type(answers[0]["id"]), type(value))
                if command != "query-snp-migrate":
                    self.assertEqual(answers[0], answers[1])
            self.qmp.send_raw(json.dumps({"execute": command}).encode())
            self.assertNotIn("id", self.qmp.receive_answer())

    def test_errors_are_qemus_own(self):
        own = self.own("source")
        for message in ({"execute": "device_del", "arguments": {"id": "none"}},
                        {"execute": "device_del"},
                        {"execute": "device_del", "arguments": {"id": 3}},
                        {"execute": "query-status", "arguments": {"x": 1}},
                        {"execute": "no-such-command", "arguments": {"x": 2**64 - 1}},
                        {"execute": "human-monitor-command"},
                        {"execute": "human-monitor-command", "arguments": {"command-line": 3}},
                        {"execute": "object-add", "arguments": {
                            "qom-type": "memory-backend-ram", "id": "x", "size": 2**64}},
                        {"execute": "object-add", "arguments": {
                            "qom-type": "memory-backend-ram", "id": "x", "size": 4096, "é": "\n"}},
                        {"execute": "balloon", "arguments": {"value": 1000000}},
                        {"execute": "migrate-pause"}):
            answers = []
            for client in (self.qmp, own):
                client.send_raw(json.dumps(message).encode())
                answers.append(client.receive_answer())
            self.assertEqual(answers[0], answers[1])
            self.assertIn("error", answers[0])

    def test_arguments_are_passed_as_they_are(self):
        self.qmp.execute("object-add", qom_type="throttle-group", id="group",
                         limits={"bps-total": 10**15 - 1, "iops-total": 3})
        limits = self.qmp.execute("qom-get", path="/objects/group", property="limits")
        self.assertEqual(limits["bps-total"], 10**15 - 1)
        self.qmp.execute("object-add", qom_type="memory-backend-ram", id="x", size=MIB, reserve=False)
        self.qmp.execute("object-del", id="x")

    def test_lists(self):
        own = self.own("source")
        mine = [command["name"] for command in self.qmp.execute("query-commands")]
        theirs = {command["name"] for command in own.execute("query-commands")}
        self.assertEqual(len(mine), len(set(mine)))
        self.assertEqual(set(mine), theirs | SNP_COMMANDS | {"query-events"})
        events = [event["name"] for event in self.qmp.execute("query-events")]
        self.assertEqual(len(events), len(set(events)))
        self.assertLessEqual({"STOP", "RESET", "SNP_MIGRATION", "SNP_MIGRATION_STALLED"}, set(events))

    def test_schema(self):
        own = self.own("source").execute("query-qmp-schema")
        schema = self.qmp.execute("query-qmp-schema")
        self.assertEqual(schema[:len(own)], own)
        names = [info["name"] for info in schema]
        self.assertEqual(len(names), len(set(names)))
        types = {info["name"] for info in schema if info["meta-type"] not in ("command", "event")}
        for info in schema:
            used = [info[key] for key in ("arg-type", "ret-type", "element-type") if key in info]
            used += [member["type"] for key in ("members", "variants") for member in info.get(key, [])
                     if isinstance(member, dict) and "type" in member]
            self.assertLessEqual(set(used), types, info)
        commands = {info["name"] for info in schema if info["meta-type"] == "command"}
        listed = {command["name"] for command in self.qmp.execute("query-commands")}
        self.assertLessEqual(commands, listed)
        self.assertEqual({name for name in listed - commands if "snp_" not in name}, set())

    def test_out_of_band(self):
        self.refused(self.qmp, "query-snp-migrate", "is unexpected", x=1)
        self.qmp.send_raw(b'{"exec-oob": "migrate-pause"}')
        self.assertIn("'exec-oob' is unexpected", self.qmp.receive_answer()["error"]["desc"])
        if "oob" not in self.qmp.greeting["capabilities"]:
            self.skipTest("this QEMU does not offer it")
        with Qmp("unix:" + self.serve.qmp_path, negotiate=False) as client:
            client.execute("qmp_capabilities", enable=["oob"])
            for command, pattern in (("migrate-pause", "postcopy"), ("query-status", "does not support OOB"),
                                     ("snp-migrate-cancel", "does not support OOB"),
                                     ("no-such", "has not been found")):
                client.send_raw(json.dumps({"exec-oob": command, "id": ["x"]}).encode())
                answer = client.receive_answer()
                self.assertRegex(answer["error"]["desc"], pattern)
                self.assertEqual(answer["id"], ["x"])
            client.send_raw(b'{"exec-oob": "query-yank"}')
            self.assertIn("return", client.receive_answer())

    def test_events_to_all(self):
        others = [self.client(self.serve) for _ in range(3)]
        own = self.own("source")
        self.qmp.execute("stop")
        event = own.wait_event("STOP")
        for client in [self.qmp, *others]:
            self.assertEqual(client.wait_event("STOP"), event)  # with QEMU's timestamp
        own.execute("cont")
        event = own.wait_event("RESUME")
        for client in [self.qmp, *others]:
            self.assertEqual(client.wait_event("RESUME"), event)

    def test_dump_guest_memory(self):
        target = self.path("dump")
        with self.assertRaises(QmpError):
            self.qmp.execute("dump-guest-memory", paging=False, protocol="file:/nonexistent/dump")
        self.qmp.execute("dump-guest-memory", paging=False, protocol="file:" + target)
        with open(target, "rb") as file:
            self.assertEqual(file.read(4), b"\x7fELF")
        self.assertGreater(os.path.getsize(target), 64 * MIB)

    def test_long_answers(self):
        with self.assertRaises(QmpError):
            self.qmp.execute("screendump", filename=self.path("screen"))
        tree = self.qmp.human("info mtree -f")
        self.assertIn('AS "memory"', tree)
        self.assertIn("\r\n", tree)
        # More than what may wait for a client that does not read.
        text = self.qmp.human("xp /2000000bx 0")
        self.assertGreater(len(text), 8 * MIB)
        self.assertEqual(self.qmp.execute("query-status")["status"], "running")

    def test_twenty_clients(self):
        clients = [self.client(self.serve) for _ in range(20)]
        for number, client in enumerate(clients):
            for repeat in range(8):
                client.send_raw(json.dumps({"execute": "query-status" if repeat % 3 else "query-snp-migrate",
                                            "id": [number, repeat]}).encode())
            client.send_raw(json.dumps({"execute": "no-such", "id": number}).encode())
        for number, client in enumerate(clients):
            for repeat in range(8):
                answer = client.receive_answer()
                self.assertEqual(answer["id"], [number, repeat])
                self.assertEqual(answer["return"]["status"], "running" if repeat % 3 else "none")
            answer = client.receive_answer()
            self.assertEqual((answer["id"], answer["error"]["class"]), (number, "CommandNotFound"))

    def test_silent_qemu(self):
        """A QEMU that does not answer delays who asked it, and nobody else."""
        waiting, gone = self.client(self.serve), self.client(self.serve)
        self.guest.process.send_signal(signal.SIGSTOP)
        self.addCleanup(self.guest.process.send_signal, signal.SIGCONT)
        for _ in range(30):
            gone.send("query-block")
        gone.close()
        waiting.send_raw(b'{"execute": "query-status", "id": 1}{"execute": "query-snp-migrate", "id": 2}')
        for _ in range(3):
            self.assertEqual(self.qmp.execute("query-snp-migrate")["status"], "none")
            self.assertIn("status: none", self.qmp.human("info snp_migrate"))
            self.assertIn("status: none", self.serve.hmp.execute("info snp_migrate"))
        waiting.sock.settimeout(0.3)
        with self.assertRaises(TimeoutError):
            waiting.sock.recv(1)
        self.guest.process.send_signal(signal.SIGCONT)
        self.assertEqual([waiting.receive_answer()["id"] for _ in range(2)], [1, 2])
        self.assertEqual(self.qmp.execute("query-status")["status"], "running")

    def test_end_with_commands_under_way(self):
        self.guest.process.send_signal(signal.SIGSTOP)
        self.addCleanup(self.guest.process.send_signal, signal.SIGCONT)
        for _ in range(20):
            client = self.client(self.serve)
            for command in ("query-status", "query-qmp-schema", "query-events"):
                client.send(command)
        self.assertEqual(self.qmp.execute("query-snp-migrate")["status"], "none")
        self.serve.hmp.send("info status")
        self.serve.interrupt(signal.SIGTERM)
        self.assertEqual(self.serve.wait(), 0, self.serve.errors)

    def test_clients_that_go(self):
        for number in range(30):
            client = Qmp("unix:" + self.serve.qmp_path)
            for command in ("query-qmp-schema", "query-commands", "query-block", "query-events")[number % 4:]:
                client.send(command)
            client.close()
        self.assertEqual(self.qmp.execute("query-status")["status"], "running")


class DescriptorTest(OneMachineTest):
    def pair(self):
        pair = socket.socketpair()
        for end in pair:
            end.settimeout(PATIENCE)
            self.addCleanup(end.close)
        return pair

    def test_qemu_uses_it(self):
        here, there = self.pair()
        for client in (self.qmp, self.client(self.serve)):
            self.refused(client, "getfd", "No file descriptor supplied", fdname="out")
            # Without a name: QEMU keeps it, but not for somebody else.
            self.refused(client, "getfd", "fdname", fds=[there.fileno()])
        self.refused(self.qmp, "add-fd", "No file descriptor supplied", opaque="theirs")
        self.qmp.execute("getfd", fds=[there.fileno()], fdname="out")
        there.close()
        self.qmp.execute("migrate", uri="fd:out")
        self.assertEqual(here.recv(4), b"QEVM")

    def test_add_fd(self):
        with open(os.devnull, "rb") as file:
            added = self.qmp.execute("add-fd", fds=[file.fileno()], opaque="ours")
        sets = self.qmp.execute("query-fdsets")
        self.assertEqual(sets[0]["fdset-id"], added["fdset-id"])
        self.assertEqual(sets[0]["fds"][0]["opaque"], "ours")
        self.qmp.execute("remove-fd", fdset_id=added["fdset-id"])

    def test_relay_uses_it(self):
        here, there = self.pair()
        self.qmp.execute("getfd", fds=[there.fileno()], fdname="peer")
        there.close()
        self.qmp.execute("snp-migrate", uri="fd:peer", address=PAGE)
        self.assertTrue(here.recv(1))
        self.qmp.execute("snp-migrate-cancel")
        while here.recv(65536):  # the end comes only when QEMU has closed its own, too
            pass
        self.refused(self.qmp, "closefd", "not found", fdname="peer")

    def test_close(self):
        here, there = self.pair()
        self.qmp.execute("getfd", fds=[there.fileno()], fdname="x")
        there.close()
        self.qmp.execute("closefd", fdname="x")
        self.assertEqual(here.recv(1), b"")
        self.refused(self.qmp, "closefd", "not found", fdname="x")
        self.refused(self.qmp, "snp-migrate", "handed over as 'x'", uri="fd:x", address=PAGE)

    def test_several_at_once(self):
        clients = [self.client(self.serve) for _ in range(5)]
        ends = []
        for number, client in enumerate(clients):
            here, there = self.pair()
            client.send("getfd", fds=[there.fileno()], fdname=f"fd{number}")
            there.close()
            ends.append(here)
        for client in clients:
            self.assertEqual(client.receive_answer()["return"], {})
        for number, here in enumerate(ends):
            self.qmp.execute("closefd", fdname=f"fd{number}")
            self.assertEqual(here.recv(1), b"")


class HmpTest(OneMachineTest):
    def test_both(self):
        hmp = self.serve.hmp
        self.assertIn("VM status: running", hmp.execute("info status"))
        self.assertIn("Migration status: none", hmp.execute("info snp_migrate"))
        self.assertEqual(hmp.execute("stop"), "")
        self.assertIn("paused", hmp.execute("info status"))
        self.assertEqual(hmp.execute("c"), "")
        version = self.qmp.greeting["version"]["qemu"]
        self.assertIn(f"{version['major']}.{version['minor']}", hmp.execute("info version"))
        self.assertIn("unknown command: 'foo'", hmp.execute("foo"))
        self.assertIn("wire: native", hmp.execute("info snp_migrate_parameters"))
        self.assertRegex(hmp.execute("xp /1xw 0x1000"), "^0*1000: 0x")
        self.assertEqual(hmp.execute(""), "")
        self.assertIn("Error: ", hmp.execute("snp_migrate tcp:127.0.0.1:1 0x80000000"))

    def test_help(self):
        for line in ("help", "?"):
            text = self.serve.hmp.execute(line)
            for command in ("snp_migrate ", "snp_migrate_incoming", "system_reset", "device_add",
                            "info [subcommand]", "quit"):
                self.assertIn(command, text)
            self.assertEqual(len(re.findall("(?m)^quit", text)), 1)
        for line in ("info", "help info"):
            text = self.serve.hmp.execute(line)
            for command in ("info snp_migrate", "info snp_page", "info mtree", "info status"):
                self.assertIn(command, text)
        self.assertIn("go on with a paused migration", self.serve.hmp.execute("help snp_migrate"))
        self.assertIn("system_reset", self.serve.hmp.execute("help system_reset"))

    def test_human_monitor_command(self):
        own = self.own("source")
        for line in ("info status", "info mtree", "foo", "print 6*7", "x"):
            self.assertEqual(self.qmp.human(line), own.human(line))
        self.assertEqual(self.qmp.execute("human-monitor-command", command_line="info registers",
                                          cpu_index=0)[:3],
                         own.execute("human-monitor-command", command_line="info registers",
                                     cpu_index=0)[:3])
        text = self.qmp.human("help")
        self.assertTrue(text.startswith(own.human("help")))
        self.assertIn("snp_migrate_recover", text)
        self.assertIn("Migration status: none\r\n", self.qmp.human("info snp_migrate"))

    def test_pages(self):
        # While it goes on: QEMU ends with its guest, which must not get rid of all its blocks at once.
        self.qmp.execute("snp-migrate-set-parameters", **{"max-bandwidth": 1 << 16, "window": 1 << 16})
        self.qmp.execute("snp-migrate", uri="file:" + self.path("stream"), address=PAGE)
        self.qmp.wait_status("active")
        text = self.serve.hmp.execute("info snp_page")
        for part in ("address: 0x1000000", "mapped from /proc/", "guest: plain"):
            self.assertIn(part, text)


class ClientTest(OneMachineTest):
    """Programs that are not ours."""

    @unittest.skipUnless(shutil.which("socat"), "no socat")
    def test_socat(self):
        text = (b'{"execute": "qmp_capabilities"}{"execute": "stop", "id": "a"}'
                b'{"execute": "query-snp-migrate", "id": "b"}{"execute": "query-status", "id": "c"}')
        done = subprocess.run(["socat", "-t", "20", "-", "UNIX-CONNECT:" + self.serve.qmp_path], input=text,
                              stdout=subprocess.PIPE, timeout=PATIENCE, check=True)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertIn("QMP", answers[0])
        self.assertEqual([answer.get("id") for answer in answers if "return" in answer],
                         [None, "a", "b", "c"])
        self.assertIn("STOP", [answer.get("event") for answer in answers])
        done = subprocess.run(["socat", "-t", "20", "-", "UNIX-CONNECT:" + self.serve.hmp_path],
                              input=b"info status\ninfo snp_migrate\n", stdout=subprocess.PIPE,
                              timeout=PATIENCE, check=True)
        self.assertIn(b"VM status: paused", done.stdout)
        self.assertIn(b"Migration status: none", done.stdout)

    def test_qmp_shell(self):
        source = os.environ.get("SNPRELAY_QEMU_SOURCE") or os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "snprelay", "qemu-build", "source")
        script = os.path.join(source, "scripts", "qmp", "qmp-shell")
        if not os.path.exists(script):
            self.skipTest("no QEMU source: SNPRELAY_QEMU_SOURCE does not name one")
        lines = ("stop\nquery-status\nquery-snp-migrate\nsnp-migrate-set-parameters wire=poc\n"
                 "query-snp-migrate-parameters\ncont\nhuman-monitor-command command-line='info version'\n")
        done = subprocess.run([sys.executable, script, self.serve.qmp_path], input=lines, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE,
                              cwd=self.directory, env={**os.environ, "HOME": self.directory}, check=False)
        for text in ("Connected to QEMU", '"status": "paused"', '"status": "none"', '"wire": "poc"'):
            self.assertIn(text, done.stdout)
        self.assertEqual(self.qmp.execute("query-status")["status"], "running")


class EndTest(ExtensionTest):
    """What becomes of a migration and of the relay when a machine is reset or goes away."""

    def setUp(self):
        super().setUp()
        self.source = self.machine("source", "file", size="16G", arguments=["-action", "reboot=reset"])
        self.destination = self.machine("destination", "file", arguments=["-action", "reboot=reset"])
        self.relays = [self.extend("source"), self.extend("destination")]
        self.relays[0].outgoing(self.relays[1].incoming(PAGE), PAGE)
        wait_until(lambda: self.source.page().status == RUNNING and
                   self.destination.page().status == INCOMING and
                   any(self.destination.page().buffer()), 30, "the stream")
        self.since = time.monotonic()

    def failed(self, relay, pattern):
        info = relay.qmp.wait_status("failed", "cancelled", "completed")
        self.assertLess(time.monotonic() - self.since, PROMPT)
        self.assertEqual(info["status"], "failed", info)
        self.assertRegex(info["error-desc"], pattern)

    def ended(self, relay, status, pattern):
        self.assertEqual(relay.wait(PROMPT), status, relay.errors)
        self.assertRegex(relay.errors, pattern)
        self.assertFalse(os.path.exists(relay.qmp_path))

    def test_source_is_reset(self):
        self.relays[0].hmp.execute("system_reset")
        self.failed(self.relays[0], "reset")
        self.failed(self.relays[1], ".")
        for relay in self.relays:
            self.assertEqual(relay.qmp.execute("query-status")["status"], "running")

    def test_destination_is_reset(self):
        client = self.client(self.relays[1])
        client.execute("system_reset")
        client.wait_event("RESET")
        client.wait_event("SNP_MIGRATION", status="failed")
        self.failed(self.relays[1], "reset")
        self.failed(self.relays[0], ".")

    def test_source_quits(self):
        client = self.client(self.relays[0])
        self.assertEqual(client.execute("quit"), {})
        client.wait_event("SHUTDOWN", reason="host-qmp-quit")
        self.ended(self.relays[0], 0, r"(?m)^snprelay: qemu.* has ended \(host-qmp-quit\)$")
        self.failed(self.relays[1], ".")

    def test_source_quits_at_hmp(self):
        self.relays[0].hmp.send("quit")
        self.ended(self.relays[0], 0, r"(?m)^snprelay: qemu.* has ended \(host-qmp-quit\)$")
        self.assertEqual(self.source.wait(), 0)

    def test_source_is_killed(self):
        self.source.process.kill()
        self.ended(self.relays[0], 1, r"snprelay: error: .*\(pid %d\) has ended" % self.source.pid)
        self.failed(self.relays[1], ".")

    def test_destination_is_killed(self):
        self.destination.process.kill()
        self.ended(self.relays[1], 1, r"\(pid %d\) has ended" % self.destination.pid)
        self.failed(self.relays[0], ".")


if __name__ == "__main__":
    if not vm.is_available() or not vm.accelerators() or not os.path.exists(program_path()):
        print("no QEMU or no bare-metal guest here")
        sys.exit(SKIPPED)
    main()
