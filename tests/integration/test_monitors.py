#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Monitors with clients that are rude, slow, many or wrong."""

import json
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from guest import wait_until  # noqa: E402
from qmp import Qmp, QmpError, connect  # noqa: E402
from relay import PAGE, PATIENCE, Hmp, RelayTest, main  # noqa: E402


class MonitorTest(RelayTest):
    def setUp(self):
        super().setUp()
        self.source = self.guest("source", blocks=300)
        self.relay = self.serve(self.source)

    def check_alive(self):
        """A client that comes now is served."""
        self.assertEqual(self.relay.new_qmp().execute("query-snp-migrate")["status"], "none")
        self.assertIn("Migration status: none", self.relay.new_hmp().execute("info snp_migrate"))

    def check_error(self, client, text, pattern, error_class="GenericError"):
        client.send_raw(text.encode())
        answer = client.receive_answer()
        self.assertEqual(answer["error"]["class"], error_class, answer)
        self.assertRegex(answer["error"]["desc"], pattern)
        return answer


class QmpTest(MonitorTest):
    def test_greeting(self):
        client = self.relay.new_qmp(negotiate=False)
        self.assertEqual(client.greeting["capabilities"], [])
        self.assertIn("version", client.greeting)

    def test_command_before_capabilities(self):
        client = self.relay.new_qmp(negotiate=False)
        answer = self.check_error(client, '{"execute": "query-snp-migrate", "id": [1, {"a": null}]}',
                                  "qmp_capabilities", "CommandNotFound")
        self.assertEqual(answer["id"], [1, {"a": None}])
        client.execute("qmp_capabilities")
        self.assertEqual(client.execute("query-snp-migrate"), {"status": "none"})
        self.check_error(client, '{"execute": "qmp_capabilities"}', "already complete", "CommandNotFound")

    def test_no_events_before_capabilities(self):
        silent = self.relay.new_qmp(negotiate=False)
        self.relay.outgoing(f"unix:{self.path('nobody')}")
        self.relay.qmp.wait_status("failed")
        silent.send_raw(b'{"execute": "qmp_capabilities"}')
        self.assertEqual(silent.receive(), {"return": {}})

    def test_identity(self):
        for value in (0, "x", None, [1], {"a": {"b": []}}, 1.5, True):
            with self.subTest(id=value):
                self.relay.qmp.send_raw(json.dumps({"execute": "query-name", "id": value}).encode())
                self.assertEqual(self.relay.qmp.receive_answer()["id"], value)

    def test_malformed(self):
        """An error, and the next command works: as QEMU resynchronises."""
        for text in ("{]", '{"execute": }', "foo\n", "{'execute': 'query-name',}", '{"a": "\x01"}',
                     '{"execute": "query-name" "id": 1}', "}", '"\\ud800"\n', "\xff\xff\n", "nul\0l\n"):
            with self.subTest(text=text):
                client = self.relay.new_qmp()
                client.send_raw(text.encode("latin-1"))
                self.assertEqual(client.receive_answer()["error"]["class"], "GenericError")
                client.send_raw(b'\n{"execute": "query-name", "id": "after"}\n')
                while True:
                    answer = client.receive_answer()
                    if answer.get("id") == "after":
                        break
                    self.assertIn("error", answer)
                self.assertIn("return", answer)

    def test_no_object(self):
        for text in ("[]", "3 ", '"text"', "null ", "true "):
            with self.subTest(text=text):
                self.check_error(self.relay.qmp, text, "JSON object")

    def test_wrong_members(self):
        for text, pattern in (('{"execute": 1}', "'execute' must be a string"),
                              ('{"arguments": {}}', "lacks member 'execute'"),
                              ("{}", "lacks member 'execute'"),
                              ('{"execute": "query-name", "arguments": []}', "'arguments' must be an"),
                              ('{"execute": "query-name", "more": 1}', "'more' is unexpected"),
                              ('{"exec-oob": "query-name"}', "unexpected|lacks")):
            with self.subTest(text=text):
                self.check_error(self.relay.qmp, text, pattern)

    def test_unknown_command(self):
        self.check_error(self.relay.qmp, '{"execute": "migrate"}', "migrate has not been found",
                         "CommandNotFound")

    def test_wrong_arguments(self):
        good = {"uri": "tcp:127.0.0.1:1", "address": PAGE}
        wrong = (
            ("snp-migrate", {}, "'address|'uri"),
            ("snp-migrate", {"uri": "tcp:127.0.0.1:1"}, "'address"),
            ("snp-migrate", {**good, "more": 1}, "'more"),
            ("snp-migrate", {**good, "address": "0x3000"}, "'address.*int"),
            ("snp-migrate", {**good, "address": 1.5}, "'address.*int"),
            ("snp-migrate", {**good, "address": None}, "'address.*int"),
            ("snp-migrate", {**good, "address": -4096}, "address|outside"),
            ("snp-migrate", {**good, "uri": 7}, "'uri.*string"),
            ("snp-migrate", {**good, "force": 1}, "'force.*bool"),
            ("snp-migrate-incoming", {**good, "resume": True}, "'resume"),
            ("snp-migrate-cancel", {"now": True}, "'now"),
            ("snp-migrate-recover", {}, "'uri"),
            ("snp-migrate-set-parameters", {"colour": "red"}, "'colour"),
            ("snp-migrate-set-parameters", {"wire": "rdma"}, "wire"),
            ("snp-migrate-set-parameters", {"wire": 1}, "wire"),
            ("snp-migrate-set-parameters", {"window": "8M"}, "window"),
            ("snp-migrate-set-parameters", {"window": 0}, "window"),
            ("snp-migrate-set-parameters", {"window": -1}, "window"),
            ("snp-migrate-set-parameters", {"connect-timeout": 0}, "connect-timeout"),
            ("getfd", {"fdname": "x"}, "[Nn]o file descriptor"),
            ("closefd", {"fdname": "x"}, "x"),
            ("query-name", {"x": 1}, "'x"),
            ("human-monitor-command", {}, "command-line"),
        )
        for command, arguments, pattern in wrong:
            with self.subTest(command=command, arguments=arguments):
                message = json.dumps({"execute": command, "arguments": arguments})
                self.check_error(self.relay.qmp, message, pattern)
        self.check_alive()

    def test_parameters_all_or_nothing(self):
        before = self.relay.qmp.execute("query-snp-migrate-parameters")
        with self.assertRaises(QmpError):
            self.relay.set(wire="poc", window=1)
        self.assertEqual(self.relay.qmp.execute("query-snp-migrate-parameters"), before)
        self.relay.set(wire="poc", window=1 << 20, max_bandwidth=5)
        after = self.relay.qmp.execute("query-snp-migrate-parameters")
        self.assertEqual(after, {**before, "wire": "poc", "window": 1 << 20, "max-bandwidth": 5})

    def test_parameters_during_a_migration(self):
        self.source.kill()
        self.source = self.guest("source", blocks=9999, misbehave="stop:3")
        relay = self.serve(self.source)
        relay.outgoing(self.serve(self.guest("destination")).incoming())
        relay.qmp.wait_status("active")
        relay.set(max_bandwidth=1000)
        with self.assertRaisesRegex(QmpError, "cannot be changed during a migration"):
            relay.set(wire="poc")

    def test_half_an_object(self):
        """It waits for the rest, and hurts nobody; then it goes."""
        half = self.relay.new_qmp()
        half.send_raw(b'{"execute": "query-na')
        self.check_alive()
        half.send_raw(b'me", "id": 1}')
        self.assertEqual(half.receive_answer()["id"], 1)
        half.send_raw(b'{"execute": "quit"')
        half.close()
        self.check_alive()

    def test_garbage(self):
        """A megabyte of each kind, to both monitors."""
        # Not "q" alone on a line, which is a command of the human monitor.
        kinds = {"random": os.urandom(1 << 20).replace(b"q", b"Q"),
                 "braces": b"{" * (1 << 20), "brackets": b"[" * (1 << 20),
                 "string": b'"' + b"x" * (1 << 20), "letters": b"a" * (1 << 20), "zeros": bytes(1 << 18),
                 "lines": b"x\n" * (1 << 19)}
        for name, data in kinds.items():
            for path in (self.relay.qmp_path, self.relay.hmp_path):
                with self.subTest(name, path=path):
                    client = connect(f"unix:{path}", PATIENCE)
                    reader = threading.Thread(target=self.read_all, args=(client,), daemon=True)
                    reader.start()
                    try:
                        client.sendall(data)
                        client.shutdown(socket.SHUT_WR)
                    except ConnectionError:
                        pass  # it may be thrown out
                    reader.join(PATIENCE)
                    self.assertFalse(reader.is_alive(), "the connection is not closed")
                    client.close()
                    self.check_alive()
        self.assertLess(self.relay.memory_bytes("RssAnon"), 64 << 20)

    @staticmethod
    def read_all(client):
        try:
            while client.recv(1 << 16):
                pass
        except OSError:
            pass

    def test_client_that_never_reads(self):
        """Its answers and events pile up to a bound; it delays nobody."""
        deaf = self.relay.new_qmp()
        deaf.deadline = 1
        try:
            for _ in range(20000):
                deaf.send_raw(b'{"execute": "query-qmp-schema"}')
        except (TimeoutError, ConnectionError):
            pass
        listening = self.relay.new_qmp()
        for _ in range(50):
            with self.subTest():
                self.relay.outgoing(f"unix:{self.path('nobody')}")
                listening.wait_event("SNP_MIGRATION", status="failed")
        self.assertLess(self.relay.memory_bytes("RssAnon"), 32 << 20)
        deaf.close()

    def test_event_flood(self):
        """A client that reads no events is dropped in the end, or kept within a bound."""
        deaf = self.relay.new_qmp()
        other = self.relay.new_qmp()
        for _ in range(300):
            other.execute("snp-migrate", uri=f"unix:{self.path('nobody')}", address=PAGE)
            other.wait_event("SNP_MIGRATION", status="failed")
        self.assertLess(self.relay.memory_bytes("RssAnon"), 32 << 20)
        deaf.close()

    def test_many_clients(self):
        clients = [self.relay.new_qmp() for _ in range(50)] + [self.relay.new_hmp() for _ in range(50)]
        for client in clients[:50]:
            self.assertEqual(client.execute("query-snp-migrate"), {"status": "none"})
        for client in clients[50:]:
            self.assertIn("none", client.execute("info snp_migrate"))
        # An event goes to all of them.
        self.relay.outgoing(f"unix:{self.path('nobody')}")
        for client in clients[:50]:
            client.wait_event("SNP_MIGRATION", status="failed")

    def test_clients_that_go(self):
        """In the middle of everything, with answers on their way."""
        for number in range(50):
            client = self.relay.new_qmp()
            client.send_raw(b'{"execute": "query-qmp-schema"}{"execute": "query-na'[:31 + number % 24])
            client.close()
        for _ in range(20):
            client = self.relay.new_hmp()
            client.send(f"snp_migrate unix:{self.path('nobody')} {PAGE}")
            client.close()
        wait_until(lambda: self.relay.qmp.execute("query-snp-migrate")["status"] == "failed", PATIENCE, "")

    def test_pipelined(self):
        """Commands that come in one piece are answered in their order."""
        self.relay.qmp.send_raw(b"".join(b'{"execute": "query-name", "id": %d}' % i for i in range(200)))
        self.assertEqual([self.relay.qmp.receive_answer()["id"] for _ in range(200)], list(range(200)))

    def test_schema(self):
        """What is in the schema can be called, and the other way round."""
        schema = self.relay.qmp.execute("query-qmp-schema")
        commands = {item["name"] for item in self.relay.qmp.execute("query-commands")}
        others = {"snp_migrate", "snp_migrate_incoming", "snp_migrate_cancel"}
        self.assertEqual(commands - others,
                         {item["name"] for item in schema if item["meta-type"] == "command"} - others)
        self.assertLessEqual({"snp-migrate", "snp-migrate-incoming", "snp-migrate-cancel", "snp_migrate",
                              "snp_migrate_incoming", "snp_migrate_cancel", "query-snp-migrate", "getfd",
                              "human-monitor-command", "quit"}, commands)
        self.assertLessEqual({"SNP_MIGRATION", "SNP_MIGRATION_STALLED"},
                             {item["name"] for item in schema if item["meta-type"] == "event"})

    def test_other_names(self):
        self.assertEqual(self.relay.qmp.execute("snp_migrate_cancel"), {})
        with self.assertRaisesRegex(QmpError, "outside the guest's RAM"):
            self.relay.qmp.execute("snp_migrate", uri="tcp:127.0.0.1:1", address=1 << 40)

    def test_human_monitor_command(self):
        answer = self.relay.qmp.execute("human-monitor-command", command_line="info snp_migrate")
        self.assertEqual(answer, "Migration status: none\r\n")
        answer = self.relay.qmp.execute("human-monitor-command", command_line="foo")
        self.assertIn("unknown command: 'foo'", answer)

    def test_getfd(self):
        """A migration over a descriptor that was handed over."""
        destination = self.guest("destination")
        right = self.serve(destination)
        ours, theirs = socket.socketpair()
        for serve, descriptor in ((self.relay, ours), (right, theirs)):
            serve.qmp.execute("getfd", fds=[descriptor.fileno()], fdname="peer")
            descriptor.close()
        right.qmp.execute("snp-migrate-incoming", uri="fd:peer", address=PAGE)
        self.relay.outgoing("fd:peer")
        infos = [side.qmp.wait_status("completed", "failed") for side in (self.relay, right)]
        self.check_completed(self.source, destination, *infos)
        with self.assertRaisesRegex(QmpError, "handed over as 'peer'"):
            self.relay.outgoing("fd:peer")

    def test_quit(self):
        self.relay.qmp.send_raw(b'{"execute": "quit"}')
        self.assertEqual(self.relay.qmp.receive_answer(), {"return": {}})
        self.assertEqual(self.relay.wait(), 0)
        self.assertFalse(os.path.exists(self.relay.qmp_path))


class HmpTest(MonitorTest):
    def test_basics(self):
        hmp = self.relay.hmp
        self.assertEqual(hmp.execute(""), "")
        self.assertEqual(hmp.execute("   \t "), "")
        self.assertEqual(hmp.execute("foo"), "unknown command: 'foo'\n")
        self.assertEqual(hmp.execute("info foo"), "unknown command: 'info foo'\n")
        self.assertIn("snp_migrate [-d] [-r] [-f] uri address", hmp.execute("help snp_migrate"))
        self.assertEqual(hmp.execute("? snp_migrate"), hmp.execute("help snp_migrate"))
        for name in ("snp_migrate_incoming", "snp_migrate_recover", "snp_migrate_set_parameter", "quit"):
            self.assertIn(name, hmp.execute("help"))
        self.assertTrue(hmp.execute("info version"))
        self.assertTrue(hmp.execute("info status"))
        self.assertIn("window: 8388608 bytes", hmp.execute("info snp_migrate_parameters"))

    def test_wrong_lines(self):
        for line, pattern in (("snp_migrate", "uri expected"), ("snp_migrate tcp:127.0.0.1:1", "address"),
                              ("snp_migrate -x tcp:127.0.0.1:1 0x3000", "-x|'x'"),
                              ("snp_migrate tcp:127.0.0.1:1 0x3000 more", "extra|many|more"),
                              ("snp_migrate tcp:127.0.0.1:1 three", "three|number"),
                              ("snp_migrate tcp:127.0.0.1:1 0x3001", "0x3001 is not a multiple of 4096"),
                              ("snp_migrate tcp:127.0.0.1:1 -4096", "-4096|number|invalid|-4"),
                              ("snp_migrate_incoming", "uri"), ("snp_migrate_recover", "uri"),
                              ("snp_migrate_recover tcp:127.0.0.1:0", "no paused incoming"),
                              ("snp_migrate_pause", "no active migration"),
                              ("snp_migrate -r", "no paused outgoing"),
                              ("snp_migrate_set_parameter wire rdma", "native or poc"),
                              ("snp_migrate_set_parameter colour red", "no parameter 'colour'"),
                              ("snp_migrate_set_parameter window 8X", "window"),
                              ('snp_migrate "tcp:127', "quot|unterminated|unexpected|\"")):
            with self.subTest(line):
                self.assertRegex(self.relay.hmp.execute(line), pattern)
        self.check_alive()

    def test_sizes(self):
        for text, value in (("1M", 1 << 20), ("64k", 1 << 16), ("1G", 1 << 30), ("65536", 1 << 16)):
            self.assertEqual(self.relay.hmp.execute(f"snp_migrate_set_parameter window {text}"), "")
            self.assertEqual(self.relay.qmp.execute("query-snp-migrate-parameters")["window"], value)

    def test_failed_migration(self):
        answer = self.relay.hmp.execute(f"snp_migrate unix:{self.path('nobody')} {PAGE:#x}")
        self.assertRegex(answer, "^Error: the migration has failed: .*No such file")
        self.assertRegex(self.relay.hmp.execute("info snp_migrate"), "Migration status: failed \\(.*No such")

    def test_page_info(self):
        self.assertIn("no migration has named a page", self.relay.hmp.execute("info snp_page"))
        self.relay.hmp.execute(f"snp_migrate unix:{self.path('nobody')} {PAGE:#x}")
        self.assertRegex(self.relay.hmp.execute("info snp_page"), r"0x3000[^$]*not started")

    @unittest.skipUnless(shutil.which("socat"), "socat is not installed")
    def test_socat(self):
        """A script that pipes its commands in and goes."""
        right = self.serve(self.guest("destination"))
        uri = f"unix:{self.path('stream')}"
        self.assertTrue(right.hmp.greeting and self.relay.hmp.greeting)
        done = subprocess.run(["socat", "-t", "60", "-", f"UNIX-CONNECT:{right.hmp_path}"],
                              input=f"snp_migrate_incoming {uri} {PAGE:#x}\n".encode(), timeout=PATIENCE,
                              stdout=subprocess.PIPE, check=True)
        self.assertNotIn(b"Error", done.stdout)
        done = subprocess.run(["socat", "-t", "60", "-", f"UNIX-CONNECT:{self.relay.hmp_path}"],
                              input=f"snp_migrate {uri} {PAGE:#x}\ninfo snp_migrate\n".encode(),
                              timeout=PATIENCE, stdout=subprocess.PIPE, check=True)
        self.assertIn(b"Migration status: completed", done.stdout)
        right.qmp.wait_status("completed")

    def test_hang_up_does_not_end_it(self):
        right = self.serve(self.guest("destination"))
        listener = right.incoming()
        client = self.relay.new_hmp()
        client.send(f"snp_migrate {listener} {PAGE:#x}")
        client.close()
        self.relay.qmp.wait_status("completed")

    def test_lines_in_pieces(self):
        client = connect(f"unix:{self.relay.hmp_path}", PATIENCE)
        self.addCleanup(client.close)
        for piece in (b"info ver", b"sion\r", b"\ninfo", b" status\n"):
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        text = b""
        while part := client.recv(4096):
            text += part
        self.assertEqual(text.count(b"(snprelay) "), 3)


class AddressTest(RelayTest):
    """Where monitors can be."""

    def setUp(self):
        super().setUp()
        self.source = self.guest("source", blocks=10)

    def run_serve(self, *options, **more):
        return self.run_program("serve", "--guest-memory", f"file:{self.source.memory}", *options, **more)

    def test_mode(self):
        serve = self.serve(self.source)
        self.assertTrue(serve.qmp.greeting and serve.hmp.greeting)
        for path in (serve.qmp_path, serve.hmp_path):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)

    def test_qemus_options(self):
        path = self.path("other")
        self.run_serve("--qmp", f"unix:{path},server=on,wait=off")
        client = Qmp(f"unix:{path}")
        self.assertEqual(client.execute("query-snp-migrate"), {"status": "none"})
        client.close()

    def test_tcp_only_on_the_loopback(self):
        serve = self.run_serve("--hmp", "tcp:0.0.0.0:0")
        self.assertEqual(serve.wait(), 2)
        self.assertRegex(serve.errors, "--insecure-monitor")
        serve = self.run_serve("--qmp", "tcp:127.0.0.1:0")
        port = int(serve.wait_error(r"QMP monitor on tcp:127\.0\.0\.1:(\d+)")[1])
        with socket.create_connection(("127.0.0.1", port)) as client:
            self.assertIn(b"QMP", client.recv(4096))

    def test_several_of_each(self):
        paths = [self.path(f"monitor{i}") for i in range(4)]
        self.run_serve("--qmp", f"unix:{paths[0]}", "--qmp", f"unix:{paths[1]}",
                       "--hmp", f"unix:{paths[2]}", "--hmp", f"unix:{paths[3]}")
        for path, kind in zip(paths, (Qmp, Qmp, Hmp, Hmp)):
            kind(f"unix:{path}").close()

    def test_stdio(self):
        """A person at the terminal, or a script at a pipe."""
        done = subprocess.run([*self.run_serve("--hmp", "stdio").arguments],
                              input=b"info snp_migrate\nfoo\nquit\n", timeout=PATIENCE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        text = done.stdout.decode()
        self.assertIn("Migration status: none", text)
        self.assertIn("unknown command: 'foo'", text)

    def test_standard_error_as_a_stream(self):
        """It is taken, as was asked, and nothing else gets its number."""
        relay = self.serve(self.source)
        self.assertIn("Error", relay.hmp.execute(f"snp_migrate_incoming fd:2 {PAGE:#x}"))
        self.assertEqual(os.readlink(f"/proc/{relay.pid}/fd/2"), "/dev/null")

    def test_long_line_in_its_turn(self):
        """Its complaint does not overtake the answer of the line before."""
        relay, receive = self.serve(self.source), self.receive(self.guest("destination", misbehave="stop:1"))
        hmp = relay.new_hmp()
        hmp.send(f"snp_migrate {receive.listening()} {PAGE:#x}\n" + "x" * 7000)
        relay.qmp.wait_status("active")
        relay.qmp.execute("snp-migrate-cancel")
        self.assertIn("is cancelled", hmp.read_prompt())
        self.assertIn("too long", hmp.read_prompt())

    def test_stdio_migration(self):
        destination = self.guest("destination")
        receive = self.receive(destination)
        line = f"snp_migrate {receive.listening()} {PAGE:#x}\ninfo snp_migrate\nquit\n"
        arguments = self.run_serve("--hmp", "stdio").arguments
        done = subprocess.run(arguments, input=line.encode(), timeout=PATIENCE, stdout=subprocess.PIPE,
                              check=True)
        self.assertIn(b"Migration status: completed", done.stdout)
        self.assertEqual(receive.wait(), 0)

    def test_no_more_descriptors(self):
        """Clients wait, and are served when others have gone; meanwhile the program does not spin."""
        relay = self.serve(self.source)
        relay.new_qmp()
        limit = relay.descriptors() + 3
        resource.prlimit(relay.pid, resource.RLIMIT_NOFILE, (limit, limit))
        clients = [connect(f"unix:{relay.qmp_path}", PATIENCE) for _ in range(6)]
        relay.wait_error("could not be accepted: .*open files")
        used = relay.cpu_seconds()
        relay.wait_error("(?s)(could not be accepted.*){3}")
        self.assertLess(relay.cpu_seconds() - used, 0.5)
        for client in clients:
            client.close()
        self.assertEqual(relay.new_qmp().execute("query-snp-migrate"), {"status": "none"})

    def test_fd(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.run_serve("--qmp", f"fd:{theirs.fileno()}", pass_fds=(theirs.fileno(),))
        theirs.close()
        ours.settimeout(PATIENCE)
        self.assertIn(b'"QMP"', ours.recv(4096))

    def test_socket_in_use(self):
        path = self.path("monitor")
        self.run_serve("--qmp", f"unix:{path}")
        Qmp(f"unix:{path}").close()
        second = self.run_serve("--qmp", f"unix:{path}")
        self.assertEqual(second.wait(), 2)
        self.assertRegex(second.errors, "another program listens there")
        Qmp(f"unix:{path}").close()

    def test_socket_of_a_dead_process(self):
        path = self.path("monitor")
        first = self.run_serve("--qmp", f"unix:{path}")
        Qmp(f"unix:{path}").close()
        first.kill()
        self.assertTrue(os.path.exists(path))
        self.run_serve("--qmp", f"unix:{path}")
        Qmp(f"unix:{path}").close()


if __name__ == "__main__":
    main()
