#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line: exit statuses, clear complaints, addresses, and where the guest's RAM is."""

import json
import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from guest import NONE, NOT_STARTED, READ, READY, Page, wait_until  # noqa: E402
from peer import Listener, Peer  # noqa: E402
from relay import NO_HELP, PAGE, PATIENCE, RelayTest, main, program_path  # noqa: E402

NOBODY = "tcp:127.0.0.1:1"


class CommandTest(RelayTest):
    def check_run(self, status, pattern, *arguments, **options):
        """Runs to the end; PATTERN is in what it says."""
        program = self.run_program(*arguments, **options)
        self.assertEqual(program.wait(), status, program.errors)
        self.assertRegex(program.errors if status else program.output, pattern)
        if status == 2 and arguments:
            self.assertRegex(program.errors, r"^snprelay: error: .*\n(Try 'snprelay .*--help'\.\n)?$")
            self.assertEqual(program.output, "")
        return program

    def test_help_and_version(self):
        self.check_run(0, r"^snprelay \d+\.\d+\.\d+\n$", "--version")
        for words in (["--help"], ["serve", "--help"], ["send", "--help"], ["receive", "--help"],
                      ["inspect", "--help"]):
            self.check_run(0, "Usage:", *words)
        for name in ("wire", "max-bandwidth", "window", "connect-timeout", "reconnect-timeout",
                     "peer-timeout", "stall-warning", "poll", "tls-creds", "tls-hostname", "tls-authz"):
            self.check_run(0, f"--{name}=", "send", "--help-all")

    def test_wrong_usage(self):
        guest = self.guest("source", blocks=1)
        ram = ("--guest-memory", f"file:{guest.memory}")
        good = (NOBODY, "0x3000")
        for pattern, arguments in (
                ("unknown command 'foo'", ["foo"]),
                ("unknown command '--foo'", ["--foo"]),
                ("--foo", ["send", *good, *ram, "--foo"]),
                (r"expects 2 argument.*URI ADDRESS, got 1", ["send", NOBODY, *ram]),
                (r"expects 2 argument.*, got 3", ["send", *good, "more", *ram]),
                (r"expects 0 argument.*, got 1", ["serve", "more", *ram]),
                (r"expects 1 argument.*ADDRESS, got 0", ["inspect", *ram]),
                ("--guest-memory is missing", ["send", *good]),
                ("serve needs a monitor", ["serve", *ram]),
                ("'three' is not an address", ["send", NOBODY, "three", *ram]),
                ("'' is not an address", ["send", NOBODY, "", *ram]),
                ("'0x' is not an address", ["send", NOBODY, "0x", *ram]),
                ("'3000h' is not an address", ["send", NOBODY, "3000h", *ram]),
                ("'12k' is not an address", ["send", NOBODY, "12k", *ram]),
                ("not an address", ["send", NOBODY, "0x10000000000000000", *ram]),
                ("0x3001 is not a multiple of 4096", ["send", NOBODY, "0x3001", *ram]),
                ("0xbb8 is not a multiple of 4096", ["receive", NOBODY, "3000", *ram]),
                ("native or poc, not 'rdma'", ["send", *good, *ram, "--wire", "rdma"]),
                ("'window' expects a number of bytes", ["send", *good, *ram, "--window", "x"]),
                ("'window' expects a number from", ["send", *good, *ram, "--window", "1k"]),
                ("'connect-timeout' expects", ["send", *good, *ram, "--connect-timeout", "0"]),
                ("'connect-timeout' expects a number of sec", ["send", *good, *ram, "--connect-timeout", "1M"]),
                ("--log-level expects", ["send", *good, *ram, "--log-level", "loud"]),
                ("rdma", ["send", "rdma:host:1", "0x3000", *ram]),
                ("nonsense", ["receive", "nonsense", "0x3000", *ram]),
                ("tcp:", ["send", "tcp:", "0x3000", *ram]),
                ("65536", ["send", "tcp:127.0.0.1:65536", "0x3000", *ram]),
                ("--allow-exec", ["send", "exec:cat", "0x3000", *ram]),
                ("--require-tls", ["send", "tcp:192.0.2.1:5", "0x3000", *ram, "--require-tls"])):
            with self.subTest(arguments=arguments):
                program = self.run_program(*arguments)
                self.assertIn(program.wait(), (1, 2) if "--allow-exec" in pattern or "require" in pattern
                              else (2,), program.errors)
                self.assertRegex(program.errors, pattern)
                self.assertRegex(program.errors, r"^snprelay: error: ")
                self.assertEqual(program.output, "")
        self.assertEqual(guest.registers(), (NOT_STARTED, NONE))
        self.check_run(2, "Usage")

    def test_wrong_guest_memory(self):
        short = self.path("short")
        with open(short, "wb") as file:
            file.write(bytes(5000))
        ram = self.guest("source", blocks=1).memory
        for pattern, specs in (
                ("cannot open '/nonexistent'.*No such file", ["file:/nonexistent"]),
                ("must begin with file:PATH, fd:N or qemu:SOCKET", [ram]),
                ("must begin with file:PATH", ["file:"]),
                ("unknown option 'share=on'", [f"file:{ram},share=on"]),
                ("multiple of 4096", [f"file:{ram},offset=100"]),
                ("multiple of 4096", [f"file:{ram},gpa=x"]),
                ("past the end of the file, which has 0x10000", [f"file:{ram},size=64M"]),
                ("past the end of the file", [f"file:{ram},offset=64k"]),
                ("past the end of the file", [f"file:{ram},offset=4096,size=64k"]),
                ("past the highest address", [f"file:{ram},gpa=0xfffffffffffff000"]),
                ("overlap those of", [f"file:{ram}", f"file:{ram},gpa=0xf000"]),
                ("not a plain file", ["file:/dev/null"]),
                ("not a plain file|Is a directory", [f"file:{self.directory}"]),
                ("99.*Bad file descriptor", ["fd:99"]),
                ("'x' is not the number", ["fd:x"])):
            with self.subTest(specs=specs):
                options = [word for spec in specs for word in ("--guest-memory", spec)]
                for command in (["send", NOBODY, "0x3000"], ["inspect", "0x3000"],
                                ["serve", "--hmp", "stdio"]):
                    self.check_run(2, pattern, *command, *options)
        # The last part of a page is no page.
        self.check_run(1, "0x1000 is outside the guest's RAM, which is 0x0-0xfff", "inspect", "0x1000",
                       "--guest-memory", f"file:{short}")

    def test_addresses_outside(self):
        ram = self.guest("source", blocks=1).memory
        for address in ("0x10000", "65536", "0xfffffffffffff000", "18446744073709547520", "1099511627776"):
            for command in (["send", NOBODY], ["receive", "tcp:127.0.0.1:0"], ["inspect"]):
                with self.subTest(address=address, command=command):
                    program = self.check_run(1, f"address 0x{int(address, 0):x} is outside the guest's RAM, "
                                             "which is 0x0-0xffff", *command, address,
                                             "--guest-memory", f"file:{ram}")
                    self.assertIn(ram, program.errors)

    def test_exit_statuses(self):
        """0 and 1 and 3; 2 is above."""
        for wire in ("native", "poc"):
            self.run_pair(self.guest("source", blocks=3), self.guest("destination"), wire)
        self.check_failed(self.send(NOBODY, self.guest("source", blocks=3)), "refused")
        receive = self.receive(self.guest("destination"))
        receive.listening()
        receive.interrupt()
        self.assertEqual(receive.wait(), 3)

    def test_failure_to_listen(self):
        """Nothing is wrong with the command line; --json tells of it, too."""
        receive = self.receive(self.guest("destination"), uri="tcp:192.0.2.1:4444")
        self.check_failed(receive, "192.0.2.1.*Cannot assign requested address")

    def test_names_in_any_encoding(self):
        for name in (b"\xc3\xa4", b"\xe4"):
            with self.subTest(name=name):
                source, destination = self.guest("source", blocks=3), self.guest("destination")
                renamed = os.fsencode(destination.memory) + name
                os.rename(destination.memory, renamed)
                uri = f"unix:{self.path('socket')}\u00e4"  # must be UTF-8
                receive = self.run_program("receive", uri, hex(PAGE), "--guest-memory", b"file:" + renamed)
                receive.wait_error("listening on ")
                send = self.run_program("send", uri, hex(PAGE), "--guest-memory", f"file:{source.memory}")
                self.assertEqual((send.wait(), receive.wait()), (0, 0), send.errors + receive.errors)
                self.assertEqual(source.result(), destination.result())

    def test_closed_standard_error(self):
        """The guest's RAM does not become standard error."""
        source, destination = self.guest("source", blocks=3), self.guest("destination")
        with open(destination.memory, "rb") as ram:
            before = ram.read(PAGE)
        path = self.path("socket")
        words = ["receive", f"unix:{path}", hex(PAGE), "--guest-memory", f"file:{destination.memory}"]
        with subprocess.Popen(["sh", "-c", 'exec "$@" 2>&-', "sh", program_path(), *words]) as receive:
            self.addCleanup(receive.kill)
            wait_until(lambda: os.path.exists(path), PATIENCE, path)
            send = self.send(f"unix:{path}", source)
            self.assertEqual((send.wait(), receive.wait(PATIENCE)), (0, 0), send.errors)
        with open(destination.memory, "rb") as ram:
            self.assertEqual(ram.read(PAGE), before)

    def test_result_without_json(self):
        source, destination = self.guest("source", blocks=3), self.guest("destination")
        receive = self.transfer("receive", "tcp:127.0.0.1:0", destination)
        send = self.transfer("send", receive.listening(), source)
        self.assertEqual((send.wait(), receive.wait()), (0, 0))
        checksum = source.result().checksum
        for program in (send, receive):
            self.assertRegex(program.output, rf"^completed: 3 blocks, 6\.0.KiB in .*checksum {checksum}\n$")
        self.assertEqual(send.errors, "", "no progress where there is no terminal")
        self.assertRegex(receive.errors, r"^listening on tcp:127\.0\.0\.1:\d+\n$")

    def test_port_range(self):
        """`to=`: the first port of a range that is free."""
        first, second = (self.receive(self.guest("destination")) for _ in range(2))
        port = int(first.listening().rsplit(":", 1)[1])
        second.listening()
        third = self.receive(self.guest("destination"), uri=f"tcp:127.0.0.1:{port},to={port + 20}")
        self.assertIn(int(third.listening().rsplit(":", 1)[1]), range(port + 1, port + 21))

    def test_warns_of_plain_text(self):
        guest = self.guest("source", blocks=1)
        receive = self.receive(guest, uri="tcp:0.0.0.0:0")
        receive.wait_error("snprelay: warning: .* not encrypted")

    def test_file(self):
        """The stream to a file, and back from it."""
        source, destination = self.guest("source", blocks=5000), self.guest("destination")
        uri = f"file:{self.path('stream')}"
        send = self.send(uri, source, "--window", "64k")
        self.assertEqual(send.wait(), 0, send.errors)
        receive = self.receive(destination, "--window", "64k", uri=uri)
        self.assertEqual(receive.wait(), 0, receive.errors)
        self.check_completed(source, destination, send.json(), receive.json())

    def test_cut_file(self):
        source = self.guest("source", blocks=100)
        path = self.path("stream")
        self.assertEqual(self.send(f"file:{path}", source).wait(), 0)
        size = os.path.getsize(path)
        for length in (size - 1, size - 30, size // 2, 100, 60):
            with self.subTest(length=length):
                os.truncate(path, length)
                self.check_failed(self.receive(self.guest("destination"), uri=f"file:{path}"),
                                  "before the end|ended|went away")

    def test_exec(self):
        source, destination = self.guest("source", blocks=100), self.guest("destination")
        path = self.path("stream")
        send = self.send(f"exec:cat > {path}", source, "--allow-exec", "--wire", "poc")
        self.assertIn(send.wait(), (0, 1), send.errors)
        receive = self.receive(destination, "--allow-exec", uri=f"exec:cat {path}")
        self.assertEqual(receive.wait(), 0, receive.errors)
        self.assertEqual(source.result(), destination.result())


class MemoryTest(RelayTest):
    """Where the RAM is."""

    def test_hexadecimal_and_decimal(self):
        for text in ("0x3000", "12288", "0X3000", "0x0000003000"):
            source, destination = self.guest("source", blocks=3), self.guest("destination")
            receive = self.run_program("receive", "tcp:127.0.0.1:0", text, "--json", "--guest-memory",
                                       f"file:{destination.memory}")
            send = self.run_program("send", receive.listening(), text, "--json", "--guest-memory",
                                    f"file:{source.memory}")
            self.assertEqual((send.wait(), receive.wait()), (0, 0), send.errors + receive.errors)
            self.assertEqual(send.json()["address"], PAGE)
            self.check_completed(source, destination, send.json(), receive.json())

    def high_guest(self):
        """RAM below and above 4 GiB in one file, as QEMU has it, with the page in the upper part."""
        guest = self.guest("destination", create="128k")  # the page is at 0x3000 of the file
        path = guest.memory
        return guest, ["--guest-memory", f"file:{path},size=8k",
                       "--guest-memory", f"file:{path},offset=8k,gpa=0x100000000"]

    def test_several_ranges(self):
        source = self.guest("source", blocks=100)
        destination, ranges = self.high_guest()
        receive = self.run_program("receive", "tcp:127.0.0.1:0", "0x100001000", "--json", *ranges)
        send = self.send(receive.listening(), source)
        self.assertEqual((send.wait(), receive.wait()), (0, 0), send.errors + receive.errors)
        self.assertEqual(receive.json()["address"], 0x100001000)
        self.check_completed(source, destination, send.json(), receive.json())
        for address in ("0x2000", "0x3000", "0xfffff000", "0x10001e000"):
            program = self.run_program("inspect", address, *ranges)
            self.assertEqual(program.wait(), 1)
            self.assertRegex(program.errors, f"{address} is outside.*0x0-0x1fff.*0x100000000-0x10001dfff")
        for address in ("0x0", "0x1000", "0x10001d000"):
            self.assertEqual(self.run_program("inspect", address, *ranges).wait(), 0)

    def test_memfd(self):
        """RAM without a name: an inherited descriptor."""
        descriptor = os.memfd_create("ram")
        self.addCleanup(os.close, descriptor)
        os.truncate(descriptor, 1 << 16)
        destination = self.guest("destination", memory=f"/proc/{os.getpid()}/fd/{descriptor}", create=None)
        source = self.guest("source", blocks=100)
        receive = self.run_program("receive", "tcp:127.0.0.1:0", "0x3000", "--json", "--guest-memory",
                                   f"fd:{descriptor}", pass_fds=(descriptor,))
        send = self.send(receive.listening(), source)
        self.assertEqual((send.wait(), receive.wait()), (0, 0), send.errors + receive.errors)
        self.check_completed(source, destination, send.json(), receive.json())

    def test_memfd_of_several_ranges(self):
        descriptor = os.memfd_create("ram")
        self.addCleanup(os.close, descriptor)
        os.truncate(descriptor, 1 << 16)
        ranges = ["--guest-memory", f"fd:{descriptor},size=4k",
                  "--guest-memory", f"fd:{descriptor},offset=4k,gpa=0x80000000,size=4k"]
        inspect = self.run_program("inspect", "0x80000000", *ranges, pass_fds=(descriptor,))
        self.assertEqual(inspect.wait(), 0, inspect.errors)
        self.assertEqual(self.run_program("inspect", "0x1000", *ranges, pass_fds=(descriptor,)).wait(), 1)


class InspectTest(RelayTest):
    def inspect(self, guest):
        before = guest.page.read()
        program = self.run_program("inspect", "0x3000", "--guest-memory", f"file:{guest.memory}")
        self.assertEqual(program.wait(), 0, program.errors)
        self.assertEqual(guest.page.read(), before, "it changes nothing")
        return dict(re.findall(r"^([^:]+): (.*)$", program.output, re.M))

    def test_states(self):
        guest = self.guest("source", blocks=1)
        self.assertEqual(self.inspect(guest),
                         {"address": "0x3000", "guest memory": f"0x0-0xffff (file:{guest.memory})",
                          "status register": "0 (not started)", "data register": "0 (none)",
                          "migration can start": "yes"})
        guest.kill()
        guest.page.status, guest.page.data = 2, READY
        seen = self.inspect(guest)
        self.assertEqual((seen["status register"], seen["data register"]), ("2 (running)", "4 (data ready)"))
        self.assertRegex(seen["migration can start"], "^no, .*broken off")
        guest.page.status, guest.page.data = 3, READ
        self.assertEqual(self.inspect(guest)["migration can start"], "yes")
        guest.page.status, guest.page.data = 77, 88
        self.assertRegex(self.inspect(guest)["status register"], r"^77 \(impossible\)")

    @unittest.skipIf(os.geteuid() == 0, "root may write to everything")
    def test_read_only_file(self):
        guest = self.guest("source", blocks=1)
        os.chmod(guest.memory, 0o400)
        self.inspect(guest)

    def test_json_is_one_line(self):
        source = self.guest("source", blocks=1)
        listener = Listener(Peer)
        self.addCleanup(listener.close)
        send = self.send(listener.uri, source, *NO_HELP)
        listener.accept().close()
        wait_until(lambda: "Connection" in send.errors or send.process.poll() is None, PATIENCE, "")
        send.interrupt()
        send.wait()
        self.assertEqual(send.output.count("\n"), 1)
        self.assertIn(json.loads(send.output)["status"], ("cancelled", "failed"))


if __name__ == "__main__":
    main()
