#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Attaching to running, unmodified QEMUs with `--guest-memory qemu:SOCKET`."""

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import vm  # noqa: E402
from guest import LineProgram, RUNNING, INCOMING, build_path, wait_until  # noqa: E402

PAGE = 0x1000000
MIB = 1024 * 1024
PROMPT = 60  # seconds within which the end of a QEMU must be noticed, on a loaded machine, too
NOBODY, STRANGER = 65534, 65533
HIGH_PAGE = 0x120000000  # q35 with 3 GiB: RAM from 4 GiB on


def snprelay():
    return build_path("relay", "program", "snprelay")


def as_user(uid):
    """What to put before a command so that an ordinary user without capabilities runs it."""
    return ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"]


class Qmp:
    """A client of a QMP socket, for one command after the other."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        wait_until(lambda: self.socket.connect_ex(path) == 0, 20, path)  # bound, but perhaps not listened on
        self.file = self.socket.makefile("rw", encoding="utf-8")
        self.greeting = json.loads(self.file.readline())
        self.command("qmp_capabilities")

    def command(self, name, **arguments):
        self.file.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if "event" not in answer:
                return answer

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


class Relay(LineProgram):
    """`snprelay send` or `receive`. A context manager that kills it."""

    def __init__(self, command, uri, memory, *options, address=PAGE, prefix=()):
        super().__init__([*prefix, snprelay(), command, uri, hex(address), "--guest-memory", memory,
                          "--json", *options])

    def listening(self):
        """The URI that a peer can connect to."""
        return wait_until(lambda: re.search(r"listening on (\S+)", self.errors), 20,
                          "an address to connect to")[1]

    def report(self):
        """The object that --json printed at the end."""
        return json.loads(self.lines[-1])


class AttachTest(unittest.TestCase):
    """Gives each test a directory that other users can use, too."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory(dir="/dev/shm")
        self.addCleanup(directory.cleanup)
        self.folder = directory.name
        os.chmod(self.folder, 0o777)

    def path(self, name):
        return os.path.join(self.folder, name)

    def vm(self, role, memory="memfd", **options):
        """A machine with the monitors ROLE.qmp, for the relay, and ROLE.own, for the test."""
        guest = vm.GuestVm(role, memory=memory, path=self.path(role + ".ram"),
                           qmp=[self.path(role + ".qmp"), self.path(role + ".own")], **options)
        self.addCleanup(guest.kill)
        return guest

    def memory(self, role, access=""):
        return f"qemu:{self.path(role + '.qmp')}{access}"

    def relay(self, *arguments, **options):
        relay = Relay(*arguments, **options)
        self.addCleanup(relay.kill)
        return relay

    def inspect(self, memory, address=PAGE, prefix=()):
        arguments = [*prefix, snprelay(), "inspect", hex(address), "--guest-memory", memory]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)

    def refused(self, memory, *texts, address=PAGE, status=1, prefix=()):
        """Inspect and send must both refuse, for the same reason. Returns inspect's words."""
        done = self.inspect(memory, address, prefix)
        self.assertEqual(done.returncode, status, done.stderr + done.stdout)
        sent = self.relay("send", "tcp:127.0.0.1:1", memory, address=address, prefix=prefix)
        self.assertEqual(sent.wait(), status, sent.errors)
        for text in texts:
            self.assertIn(text, done.stderr)
            self.assertIn(text, sent.errors)
        return done.stderr

    def finish(self, source, destination, sender, receiver, blocks):
        """Waits for the end, and checks that both guests and both relays saw the same stream."""
        self.assertEqual(sender.wait(300), 0, sender.errors)
        self.assertEqual(receiver.wait(60), 0, receiver.errors)
        sent, received = source.result(), destination.result()
        self.assertEqual(sent.blocks, blocks)
        self.assertEqual(received, sent)
        for report in (sender.report(), receiver.report()):
            self.assertEqual(report["status"], "completed")
            self.assertEqual((report["blocks"], report["bytes"], report["checksum"]), sent)

    def migrate(self, source, destination, wire="native", access="", address=PAGE, prefix=()):
        receiver = self.relay("receive", "tcp:127.0.0.1:0", self.memory("destination", access),
                              address=address, prefix=prefix)
        sender = self.relay("send", receiver.listening(), self.memory("source", access), "--wire",
                            wire, address=address, prefix=prefix)
        self.finish(source, destination, sender, receiver, self.size // 2048)

    def run_pair(self, size, wire="native", access="", address=PAGE, prefix=(), **options):
        self.size = size
        source = self.vm("source", size=size, address=address, seed=7, **options)
        destination = self.vm("destination", address=address, **options)
        self.migrate(source, destination, wire, access, address, prefix)


class MigrationTest(AttachTest):
    """Whole streams between two machines."""

    def test_memfd_native(self):
        self.run_pair(64 * MIB)

    def test_memfd_poc(self):
        self.run_pair(64 * MIB, wire="poc")

    @unittest.skipUnless(vm.works_with("tcg"), "no TCG")
    def test_tcg(self):
        self.run_pair(64 * MIB, accel="tcg")

    def test_file(self):
        self.run_pair(4 * MIB, memory="file")

    @unittest.skipUnless(vm.can_have("hugetlb"), "no free huge pages")
    def test_hugetlb(self):
        self.run_pair(4 * MIB, memory="hugetlb")

    @unittest.skipIf(os.geteuid(), "map_files is for root")
    def test_ram_shared(self):
        self.run_pair(4 * MIB, memory="ram-shared")

    def test_private_with_ptrace_native(self):
        self.run_pair(64 * MIB, memory="default", access=",access=ptrace")

    def test_private_with_ptrace_poc(self):
        self.run_pair(4 * MIB, memory="default", access=",access=ptrace", wire="poc")

    def test_shared_with_ptrace(self):
        self.run_pair(4 * MIB, access=",access=ptrace")

    def test_above_4_gib(self):
        self.run_pair(4 * MIB, ram="3G", address=HIGH_PAGE)

    def test_guest_that_goes_on(self):
        """Several runs in one boot: the page is found anew for each."""
        self.size = 2 * MIB
        source = self.vm("source", size=self.size, runs=2)
        destination = self.vm("destination", runs=2)
        for _ in range(2):
            self.migrate(source, destination)

    @unittest.skipIf(os.geteuid(), "root is needed to become another user")
    @unittest.skipUnless(vm.works_with("tcg"), "no TCG")
    def test_as_an_ordinary_user(self):
        self.become_nobody()
        self.run_pair(4 * MIB, accel="tcg", prefix=as_user(NOBODY))

    def become_nobody(self):
        become_nobody(self)


def become_nobody(test):
    """From now on TEST's QEMUs belong to an ordinary user."""
    wrapper = test.path("qemu")
    with open(wrapper, "w", encoding="ascii") as file:
        file.write(f"#!/bin/sh\nexec {' '.join(as_user(NOBODY))} {vm.qemu_path()} \"$@\"\n")
    os.chmod(wrapper, 0o755)
    before = os.environ.get("SNPRELAY_QEMU")
    os.environ["SNPRELAY_QEMU"] = wrapper

    def restore():
        if before is None:
            del os.environ["SNPRELAY_QEMU"]
        else:
            os.environ["SNPRELAY_QEMU"] = before

    test.addCleanup(restore)


class InspectTest(AttachTest):
    def test_what_it_shows(self):
        guest = self.vm("source", size=MIB)
        done = self.inspect(self.memory("source"))
        self.assertEqual(done.returncode, 0, done.stderr)
        for text in ("address: 0x1000000", "RAM 'ram'", f"(pid {guest.pid})", "mapped from /proc/",
                     "offset 0x1000000", "guest: plain", "status register: 0 (not started)",
                     "migration can start: yes"):
            self.assertIn(text, done.stdout)

    def test_high_page_is_where_qemu_says(self):
        self.vm("source", ram="3G", address=HIGH_PAGE, size=MIB)
        done = self.inspect(self.memory("source"), HIGH_PAGE)
        self.assertIn("offset 0xa0000000 of ", done.stdout, done.stderr)

    def test_read_only(self):
        guest = self.vm("source", "file", size=MIB)
        before = guest.page().read()
        self.assertEqual(self.inspect(self.memory("source")).returncode, 0)
        self.assertEqual(self.inspect(self.memory("source", ",access=ptrace")).returncode, 0)
        self.assertEqual(guest.page().read(), before)


class RefusalTest(AttachTest):
    def test_private_memory(self):
        fix = "-object memory-backend-memfd,id=ram,size=SIZE,share=on -machine memory-backend=ram"
        for memory, name in (("default", "pc.ram"), ("memfd-private", "share=off"),
                             ("file-private", "share=off")):
            with self.subTest(memory=memory):
                guest = self.vm("source", memory, size=MIB)
                self.refused(self.memory("source"), name, "is private to", fix, "access=ptrace")
                guest.kill()

    def test_addresses_that_are_no_ram(self):
        self.vm("source", size=MIB)
        memory = self.memory("source")
        ram = "is outside the guest's RAM, which is 0x0-0x3ffffff"
        self.refused(memory, ram, "a device", address=0xfec00000)
        self.refused(memory, ram, "no memory", address=0x80000000)
        self.refused(memory, ram, "no memory", address=0x4000000)
        self.refused(memory, ram, "no memory", address=0xfffffffffffff000)
        self.refused(memory, ram, "read-only memory", address=0xffff0000)
        self.refused(memory, "not a multiple of 4096", address=PAGE + 8, status=2)

    def test_rom_with_ptrace(self):
        self.vm("source", "default", size=MIB)
        self.refused(self.memory("source", ",access=ptrace"), "read-only memory",
                     address=0xffff0000)

    def test_spec(self):
        for memory, text in (("qemu:", "must be qemu:SOCKET"),
                             ("qemu:/x,access=magic", "must be qemu:SOCKET"),
                             ("qemu:/x,y", "must be qemu:SOCKET")):
            self.refused(memory, text, status=2)
        done = subprocess.run([snprelay(), "inspect", "0", "--guest-memory", "qemu:/x",
                               "--guest-memory", "file:/dev/zero"], capture_output=True, text=True,
                              timeout=10, check=False)
        self.assertEqual(done.returncode, 2)

    def test_comma_in_the_path(self):
        with vm.GuestVm("source", memory="memfd", qmp=self.path("a,,b"), size=MIB):
            self.assertEqual(self.inspect("qemu:" + self.path("a,,b")).returncode, 0)

    @unittest.skipIf(os.geteuid(), "root is needed for a pid namespace")
    def test_other_pid_namespace(self):
        self.vm("source", size=MIB)
        self.refused(self.memory("source"), "outside this pid namespace",
                     prefix=["unshare", "--pid", "--fork"])


@unittest.skipIf(os.geteuid(), "root is needed to become another user")
@unittest.skipUnless(vm.works_with("tcg"), "no TCG")
class PermissionTest(AttachTest):
    def test_another_user(self):
        become_nobody(self)
        self.vm("source", accel="tcg", size=MIB)
        os.chmod(self.path("source.qmp"), 0o777)
        for access in ("", ",access=ptrace"):
            self.refused(self.memory("source", access), "Permission denied",
                         f"user {STRANGER}", f"QEMU as user {NOBODY}", "CAP_SYS_PTRACE",
                         prefix=as_user(STRANGER))

    def test_qemu_that_changed_its_user(self):
        self.vm("source", accel="tcg", size=MIB, arguments=["-runas", "nobody"])
        os.chmod(self.path("source.qmp"), 0o777)
        self.refused(self.memory("source"), "not dumpable", "-runas", prefix=as_user(NOBODY))
        self.assertEqual(self.inspect(self.memory("source")).returncode, 0)  # root may

    def test_no_descriptor_and_no_capability(self):
        become_nobody(self)
        self.vm("source", "ram-shared", accel="tcg", size=MIB)
        self.refused(self.memory("source"), "no descriptor of it", "map_files",
                     "memory-backend-memfd,share=on", prefix=as_user(NOBODY))
        done = self.inspect(self.memory("source", ",access=ptrace"), prefix=as_user(NOBODY))
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_socket_of_another_user(self):
        become_nobody(self)
        self.vm("source", accel="tcg", size=MIB)
        os.chmod(self.path("source.qmp"), 0o700)
        self.refused(self.memory("source"), "Permission denied", prefix=as_user(STRANGER))


class SocketTest(AttachTest):
    """Sockets that are not what they should be."""

    def serve(self, *answers):
        """A socket that sends ANSWERS to who connects, and then keeps silent; None: closes."""
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.path("fake"))
        listener.listen(8)
        kept = []

        def run():
            while True:
                try:
                    peer = listener.accept()[0]
                except OSError:
                    return
                for answer in answers:
                    if answer is not None:
                        peer.sendall(answer)
                if None in answers:
                    peer.close()
                else:
                    kept.append(peer)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.addCleanup(lambda: [peer.close() for peer in kept])
        self.addCleanup(listener.shutdown, socket.SHUT_RDWR)
        return "qemu:" + self.path("fake")

    def test_busy(self):
        self.vm("source", size=MIB)
        with Qmp(self.path("source.qmp")):
            words = self.refused(self.memory("source"), "is busy", "one client at a time",
                                 "-qmp unix:PATH,server=on,wait=off")
            self.assertIn(self.path("source.qmp"), words)
        self.assertEqual(self.inspect(self.memory("source")).returncode, 0)

    def test_nothing_there(self):
        self.refused("qemu:" + self.path("none"), "cannot connect", "No such file")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path("dead"))
        listener.close()
        self.refused("qemu:" + self.path("dead"), "cannot connect", "Connection refused")

    def test_path_too_long(self):
        self.refused("qemu:/" + 200 * "x", "too long", status=2)

    def test_human_monitor(self):
        memory = self.serve(b"QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) ")
        self.refused(memory, "no QMP socket", "human monitor", "QEMU 7.2.22 monitor")

    def test_other_json(self):
        self.refused(self.serve(b'{"hello": "world"}\r\n'), "no QMP socket", "no greeting")

    def test_closes_at_once(self):
        self.refused(self.serve(None), "no QMP socket", "before a greeting")

    def test_hangs_after_its_greeting(self):
        self.refused(self.serve(b'{"QMP": {"version": {}, "capabilities": []}}\r\n'), "hangs")

    def test_refuses_capabilities(self):
        self.refused(self.serve(b'{"QMP": {}}\r\n',
                                b'{"id": 0, "error": {"class": "GenericError", "desc": "no"}}\r\n'),
                     "refused qmp_capabilities: no")

    def test_endless_message(self):
        self.refused(self.serve(b"[" * 2000), "no QMP socket", "too large")

    def test_proxy(self):
        """Bytes are forwarded, but the process at the socket's other end is not QEMU."""
        self.vm("source", size=MIB)
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.path("proxy"))
        listener.listen(1)

        def forward(a, b):
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_RDWR)

        def run():
            front = listener.accept()[0]
            with front, socket.socket(socket.AF_UNIX) as back:
                back.connect(self.path("source.qmp"))
                other = threading.Thread(target=forward, args=(back, front), daemon=True)
                other.start()
                forward(front, back)
                other.join(10)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        done = self.inspect("qemu:" + self.path("proxy"))
        thread.join(10)
        self.assertEqual(done.returncode, 1)
        self.assertIn("proxy in front of QEMU", done.stderr)


class EndTest(AttachTest):
    """What becomes of a migration when a machine goes away in mid-stream."""

    def setUp(self):
        super().setUp()
        self.source = self.vm("source", "file", size="16G")
        self.destination = self.vm("destination", "file", arguments=["-action", "reboot=reset"])
        self.receiver = self.relay("receive", "tcp:127.0.0.1:0", self.memory("destination"))
        self.sender = self.relay("send", self.receiver.listening(), self.memory("source"))
        wait_until(lambda: self.source.page().status == RUNNING and
                   self.destination.page().status == INCOMING and
                   any(self.destination.page().buffer()), 30, "the stream")

    def ends(self, relay, *texts):
        since = time.monotonic()
        self.assertEqual(relay.wait(), 1, relay.errors)
        self.assertLess(time.monotonic() - since, PROMPT)
        self.assertEqual(relay.report()["status"], "failed")
        for text in texts:
            self.assertIn(text, relay.report()["error-desc"])

    def test_source_is_killed(self):
        self.source.process.kill()
        self.ends(self.sender, f"(pid {self.source.pid}) has ended")
        self.ends(self.receiver)

    def test_destination_is_killed(self):
        self.destination.process.kill()
        self.ends(self.receiver, f"(pid {self.destination.pid}) has ended")
        self.ends(self.sender)

    def test_source_quits(self):
        with Qmp(self.path("source.own")) as own:
            own.command("quit")
        self.ends(self.sender, "shut down (host-qmp-quit)")

    def test_destination_is_reset(self):
        with Qmp(self.path("destination.own")) as own:
            own.command("system_reset")
        self.ends(self.receiver, "the guest was reset (host-qmp-system-reset)")
        self.assertIsNone(self.destination.process.poll())


class PtraceEndTest(AttachTest):
    def test_source_is_killed(self):
        source = self.vm("source", "default", size="16G")
        destination = self.vm("destination", "file")
        receiver = self.relay("receive", "tcp:127.0.0.1:0", self.memory("destination"))
        sender = self.relay("send", receiver.listening(), self.memory("source", ",access=ptrace"))
        wait_until(lambda: any(destination.page().buffer()), 30, "the stream")
        source.process.kill()
        self.assertEqual(sender.wait(PROMPT), 1)
        self.assertIn("ended", sender.report()["error-desc"])


class ServeTest(AttachTest):
    def serve(self, role):
        monitor = self.path(role + ".relay")
        relay = LineProgram([snprelay(), "serve", "--guest-memory", self.memory(role), "--qmp",
                             "unix:" + monitor])
        self.addCleanup(relay.kill)
        wait_until(lambda: os.path.exists(monitor) and
                   stat.S_ISSOCK(os.stat(monitor).st_mode), 20, "the monitor")
        client = Qmp(monitor)
        self.addCleanup(client.close)
        return relay, client

    def completed(self, client):
        def look():
            info = client.command("query-snp-migrate")["return"]
            self.assertNotIn(info["status"], ("failed", "cancelled"), info)
            return info if info["status"] == "completed" else None

        return wait_until(look, 60, "the end of the migration")

    def test_guest_is_reset_between_migrations(self):
        guest = self.vm("source", size=MIB, stay=True, arguments=["-action", "reboot=reset"])
        relay, client = self.serve("source")
        for number in range(2):
            target = self.path(f"stream{number}")
            lines = len(guest.lines)
            answer = client.command("snp-migrate", uri="file:" + target, address=PAGE)
            self.assertIn("return", answer)
            info = self.completed(client)
            self.assertEqual(info["checksum"], guest.result().checksum)
            page = client.command("human-monitor-command", **{"command-line": "info snp_page"})
            self.assertIn("mapped from /proc/", page["return"])
            self.assertIn("guest: plain", page["return"])
            with Qmp(self.path("source.own")) as own:
                own.command("system_reset")
            guest.wait_line("^page at", start=lines)
        self.assertIsNone(relay.process.poll())

    def test_ends_when_qemu_does(self):
        guest = self.vm("source", size=MIB)
        relay, client = self.serve("source")
        answer = client.command("snp-migrate", uri="file:" + self.path("x"), address=0x80000000)
        self.assertIn("outside the guest's RAM", answer["error"]["desc"])
        guest.process.kill()
        self.assertEqual(relay.wait(PROMPT), 1)
        self.assertIn("has ended", relay.errors)

    def test_qemu_that_is_not_there(self):
        relay = LineProgram([snprelay(), "serve", "--guest-memory", "qemu:" + self.path("none"),
                             "--qmp", "unix:" + self.path("relay")])
        self.addCleanup(relay.kill)
        self.assertEqual(relay.wait(PROMPT), 1)
        self.assertIn("cannot connect", relay.errors)


if __name__ == "__main__":
    if not vm.is_available() or not vm.accelerators() or not shutil.which("setpriv"):
        print("no QEMU, no bare-metal guest or no setpriv here")
        sys.exit(77)
    unittest.main(verbosity=2)
