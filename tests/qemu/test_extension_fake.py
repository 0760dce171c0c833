#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Monitors in front of a QEMU that does what a real one can hardly be made to do: the test plays it."""

import json
import os
import socket
import threading

from extension import ExtensionTest
from qmp import Qmp
from relay import PATIENCE, main


class FakeQemu:
    """A QMP server whose answers the test gives."""

    def __init__(self, path, capabilities):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        self.capabilities = capabilities
        self.enabled = None
        self.buffer = b""
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        self.socket = self.listener.accept()[0]
        self.socket.settimeout(PATIENCE)
        self.send({"QMP": {"version": {"qemu": {"major": 9, "minor": 8, "micro": 7}, "package": "fake"},
                           "capabilities": self.capabilities}})
        command = self.receive()
        self.enabled = command.get("arguments")
        self.answer(command, {})

    def send(self, message):
        self.socket.sendall(json.dumps(message).encode() + b"\r\n")

    def receive(self):
        while b"\n" not in self.buffer:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the relay has closed the connection")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(line)

    def answer(self, command, result):
        self.send({"return": result, "id": command["id"]})

    def is_silent(self):
        self.socket.settimeout(0.3)
        try:
            self.buffer += self.socket.recv(65536)
        except TimeoutError:
            pass
        finally:
            self.socket.settimeout(PATIENCE)
        return not self.buffer

    def close(self):
        self.thread.join(PATIENCE)
        self.socket.close()
        self.listener.close()


class FakeTest(ExtensionTest):
    """What a QEMU can only be made to do by playing it."""

    def start(self, capabilities=("oob",), enable=()):
        self.qemu = FakeQemu(self.path("source.qmp"), list(capabilities))
        self.addCleanup(self.qemu.close)
        self.serve = self.extend("source")
        self.qmp = self.client(self.serve, negotiate=False)
        self.qmp.execute("qmp_capabilities", **({"enable": list(enable)} if enable else {}))

    def test_other_capabilities(self):
        self.start(capabilities=["more"])
        self.assertEqual(self.qmp.greeting, {"version": {"qemu": {"major": 9, "minor": 8, "micro": 7},
                                                         "package": "fake"}, "capabilities": []})
        self.assertIsNone(self.qemu.enabled)
        with Qmp("unix:" + self.serve.qmp_path, negotiate=False) as client:
            self.refused(client, "qmp_capabilities", "Capability oob not available", enable=["oob"])

    def test_out_of_band_overtakes(self):
        """However many commands wait, one out of band goes to QEMU at once, and its answer to the client."""
        self.start(enable=["oob"])
        self.assertEqual(self.qemu.enabled, {"enable": ["oob"]})
        others = [self.client(self.serve) for _ in range(20)]
        for number, client in enumerate(others):
            client.send_raw(json.dumps({"execute": f"slow-{number}", "id": number}).encode())
        pending = [self.qemu.receive()]
        while not self.qemu.is_silent():
            pending.append(self.qemu.receive())
        self.assertLess(len(pending), 8)  # with eight, QEMU would read no more
        self.qmp.send_raw(b'{"execute": "slow", "id": "slow"}{"exec-oob": "fast", "id": "fast"}')
        fast = self.qemu.receive()
        while "exec-oob" not in fast:  # sent before, by a relay that is slow
            pending.append(fast)
            fast = self.qemu.receive()
        self.assertLess(len(pending), 8)
        self.assertEqual(fast["exec-oob"], "fast")
        self.qemu.answer(fast, "done")
        self.assertEqual(self.qmp.receive_answer(), {"return": "done", "id": "fast"})
        seen = set()
        while len(seen) < 21:
            command = pending.pop(0) if pending else self.qemu.receive()
            seen.add(command["execute"])
            self.qemu.answer(command, command["execute"])
        for number, client in enumerate(others):
            self.assertEqual(client.receive_answer(), {"return": f"slow-{number}", "id": number})
        self.assertEqual(self.qmp.receive_answer(), {"return": "slow", "id": "slow"})

    def test_too_many_wait(self):
        """Clients that ask a silent QEMU and hang up leave a bounded number of commands behind."""
        self.start()
        for number in range(300):
            with Qmp("unix:" + self.serve.qmp_path) as client:
                client.send("slow", number=number)
        self.qmp.send("query-status")
        self.assertRegex(self.qmp.receive_answer()["error"]["desc"], "256 commands wait")
        self.assertEqual(self.qmp.execute("query-snp-migrate")["status"], "none")
        numbers = []
        while len(numbers) < 260:
            command = self.qemu.receive()
            numbers.append(command["arguments"]["number"])
            self.qemu.answer(command, {})
        self.assertEqual(numbers, list(range(260)))
        self.assertTrue(self.qemu.is_silent())
        self.qmp.send("query-status")
        self.qemu.answer(self.qemu.receive(), "well")
        self.assertEqual(self.qmp.receive_answer()["return"], "well")

    def test_nothing_is_changed_on_the_way(self):
        self.start()
        value = {"a": [2**64 - 1, 2**63, -2**63, 0.1, 1e300, None, True, "\U0001f600\u001f/", {"": []}]}
        self.qmp.send_raw(json.dumps({"execute": "x", "arguments": value, "id": value}).encode())
        command = self.qemu.receive()
        self.assertEqual((command["execute"], command["arguments"]), ("x", value))
        self.qemu.send({"event": "NEW", "data": value, "timestamp": {"seconds": -1, "microseconds": -1}})
        self.qemu.answer(command, value)
        self.assertEqual(self.qmp.receive_answer(), {"return": value, "id": value})
        self.assertEqual(self.qmp.events, [{"event": "NEW", "data": value,
                                            "timestamp": {"seconds": -1, "microseconds": -1}}])

    def test_query_events_of_an_old_qemu(self):
        self.start()
        self.qmp.send("query-events")
        self.qemu.answer(self.qemu.receive(), [{"name": "OLD"}])
        self.assertEqual([event["name"] for event in self.qmp.receive_answer()["return"]],
                         ["OLD", "SNP_MIGRATION", "SNP_MIGRATION_STALLED"])

    def test_closed_with_commands_under_way(self):
        self.start()
        for number in range(8):
            self.qmp.send("slow", number=number)
        self.qemu.receive()
        self.qemu.socket.shutdown(socket.SHUT_RDWR)
        self.assertIn("lost", self.qmp.receive_answer()["error"]["desc"])
        self.assertEqual(self.serve.wait(PATIENCE), 1)
        self.assertIn("was lost: QEMU closed it", self.serve.errors)

    def test_what_is_no_qmp(self):
        self.start()
        self.qmp.send("query-status")
        self.qemu.receive()
        self.qemu.socket.sendall(b"Segmentation fault\n")
        self.assertIn("is no QMP socket", self.qmp.receive_answer()["error"]["desc"])
        self.assertEqual(self.serve.wait(PATIENCE), 1)


class StartTest(ExtensionTest):
    def test_interrupted_while_qemu_is_silent(self):
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.path("source.qmp"))
        listener.listen(1)
        serve = self.extend("source")
        listener.accept()[0].close()
        self.assertEqual(serve.wait(PATIENCE), 1)
        self.assertIn("before a greeting", serve.errors)
        self.assertFalse(os.path.exists(serve.qmp_path))


if __name__ == "__main__":
    main()
