# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every kind of URI, both as source and as destination, and the words for what does not work."""

import os
import shutil
import socket
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import relay
from guest import BLOCK_SIZE, COMPLETED, NONE, NOT_STARTED, READ, wait_until
from qmp import Qmp, QmpError
from relay import PAGE, PATIENCE

SMALL = {"size": "1M"}
HELLO_BYTES = 8 + 8 + 56


class TransportTest(relay.RelayTest):
    """Guests, and programs at them."""

    def guests(self, **options):
        return self.guest("source", **(options or SMALL)), self.guest("destination")

    def start(self, command, uri, guest, *options, pass_fds=()):
        return self.run_program(command, uri, hex(PAGE), "--guest-memory", f"file:{guest.memory}",
                                "--json", *options, pass_fds=pass_fds)

    def check_transfer(self, source, destination, send, receive):
        self.assertEqual(send.wait(), 0, send.errors + receive.errors)
        self.assertEqual(receive.wait(), 0, send.errors + receive.errors)
        return self.check_completed(source, destination, send.json(), receive.json())

    def run_tcp(self, listen, connect=None):
        """A migration by tcp; CONNECT: the host to connect to."""
        source, destination = self.guests()
        receive = self.start("receive", listen, destination)
        uri = receive.listening()
        if connect:
            uri = f"tcp:{connect}:{uri.rsplit(':', 1)[1]}"
        send = self.start("send", uri, source)
        self.check_transfer(source, destination, send, receive)
        return receive.listening()

    def check_error(self, command, uri, pattern, *options):
        """Refused or failed with this text, and the page is as it was."""
        guest = self.guest("source" if command == "send" else "destination",
                           **(SMALL if command == "send" else {}))
        program = self.start(command, uri, guest, *options)
        self.assertIn(program.wait(), (1, 2), program.errors)
        self.assertRegex(program.errors, pattern)
        self.assertEqual(guest.registers(), (NOT_STARTED, NONE))


class SocketTest(TransportTest):
    """tcp, unix, vsock."""

    def test_ipv6(self):
        self.assertRegex(self.run_tcp("tcp:[::1]:0"), r"^tcp:\[::1\]:[1-9]")

    def test_name(self):
        self.run_tcp("tcp:localhost:0", "localhost")

    def test_families(self):
        self.assertRegex(self.run_tcp("tcp:localhost:0,ipv6=off"), r"^tcp:127\.0\.0\.1:")
        self.assertRegex(self.run_tcp("tcp:localhost:0,ipv4=on,keep-alive=on"), r"^tcp:127\.0\.0\.1:")

    def test_port_0(self):
        self.assertRegex(self.run_tcp("tcp:127.0.0.1:0"), r"^tcp:127\.0\.0\.1:[1-9]\d*$")

    def busy_port(self):
        """A port in use with a free one behind it."""
        while True:
            first, second = socket.socket(), socket.socket()
            self.addCleanup(first.close)
            first.bind(("127.0.0.1", 0))
            first.listen()
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
                return port
            except (OSError, OverflowError):
                continue
            finally:
                second.close()

    def test_range(self):
        port = self.busy_port()
        uri = self.run_tcp(f"tcp:127.0.0.1:{port},to={port + 50}")
        self.assertIn(int(uri.rsplit(":", 1)[1]), range(port + 1, port + 51))

    def test_address_in_use(self):
        port = self.busy_port()
        self.check_error("receive", f"tcp:127.0.0.1:{port}", "127.0.0.1.*[Aa]ddress already in use")

    def test_nobody_listens(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.check_error("send", f"tcp:127.0.0.1:{probe.getsockname()[1]}", "Connection refused")

    def test_no_such_name(self):
        self.check_error("send", "tcp:no-such-host.invalid:7000", "no-such-host.invalid",
                         "--connect-timeout", "5")

    def test_unix(self):
        source, destination = self.guests()
        path = self.path("socket")
        receive = self.start("receive", f"unix:{path}", destination)
        self.assertEqual(receive.listening(), f"unix:{path}")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        send = self.start("send", f"unix:{path}", source)
        self.check_transfer(source, destination, send, receive)
        self.assertFalse(os.path.exists(path))

    def test_unix_in_the_way(self):
        path = self.path("file")
        with open(path, "w", encoding="ascii") as file:
            file.write("precious")
        self.check_error("receive", f"unix:{path}", "file")
        with open(path, encoding="ascii") as file:
            self.assertEqual(file.read(), "precious")

    def test_unix_abstract(self):
        source, destination = self.guests()
        name = f"snprelay-test-{os.getpid()}"
        receive = self.start("receive", f"unix:{name},abstract=on", destination)
        receive.listening()
        send = self.start("send", f"unix:{name},abstract=on", source)
        self.check_transfer(source, destination, send, receive)

    def test_vsock(self):
        """No guest of a virtual machine runs here: CID 3 is nobody's."""
        self.check_error("send", "vsock:3:7000", "vsock:3:7000.*: [A-Z]", "--connect-timeout", "5")
        self.check_error("send", "vsock:3", "vsock.*CID")

    def test_unknown_kinds(self):
        for uri in ("rdma:127.0.0.1:7000", "gopher:x", "nothing", ""):
            with self.subTest(uri=uri):
                for command in ("send", "receive"):
                    self.check_error(command, uri, r"tcp:HOST:PORT.*unix:PATH.*fd:.*exec:.*file:")


class DescriptorTest(TransportTest):
    """fd: by number and by name."""

    def test_inherited_pair(self):
        source, destination = self.guests()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            receive = self.start("receive", f"fd:{theirs.fileno()}", destination,
                                 pass_fds=[theirs.fileno()])
            send = self.start("send", f"fd:{ours.fileno()}", source, pass_fds=[ours.fileno()])
        self.check_transfer(source, destination, send, receive)

    def test_inherited_listener(self):
        source, destination = self.guests()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            receive = self.start("receive", f"fd:{listener.fileno()}", destination,
                                 pass_fds=[listener.fileno()])
            receive.listening()
        send = self.start("send", f"tcp:127.0.0.1:{port}", source)
        self.check_transfer(source, destination, send, receive)

    def test_broken_pair_cannot_come_back(self):
        source = self.guest("source", size="1M")
        destination = self.guest("destination")
        ours, theirs = socket.socketpair()
        sides = [self.serve(source, "--window", "64k", "--max-bandwidth", "100k"), self.serve(destination)]
        clients = [Qmp(f"unix:{side.qmp_path}") for side in sides]
        for client, end in zip(clients, (ours, theirs)):
            self.addCleanup(client.close)
            client.execute("getfd", fdname="stream", fds=[end.fileno()])
            end.close()
        clients[1].execute("snp-migrate-incoming", uri="fd:stream", address=PAGE)
        clients[0].execute("snp-migrate", uri="fd:stream", address=PAGE)
        clients[0].wait_status("active", deadline=PATIENCE)
        clients[0].execute("snp-migrate-pause")
        for client in clients:
            client.wait_status("paused", deadline=PATIENCE)
        with self.assertRaisesRegex(QmpError, "stream"):
            clients[0].execute("snp-migrate", uri="fd:stream", address=PAGE, resume=True)
        clients[1].execute("snp-migrate-recover", uri="tcp:127.0.0.1:0")
        uri, = clients[1].execute("query-snp-migrate")["listening"]
        clients[0].execute("snp-migrate-set-parameters", **{"max-bandwidth": 0})
        clients[0].execute("snp-migrate", uri=uri, address=PAGE, resume=True)
        infos = [client.wait_status("completed", "failed", deadline=PATIENCE) for client in clients]
        self.check_completed(source, destination, *infos)

    def test_by_name(self):
        source, destination = self.guests()
        receive = self.start("receive", "tcp:127.0.0.1:0", destination)
        host, port = receive.listening().split(":")[1:]
        serve = self.serve(source)
        client = Qmp(f"unix:{serve.qmp_path}")
        self.addCleanup(client.close)
        with socket.create_connection((host, int(port))) as connection:
            client.execute("getfd", fdname="target", fds=[connection.fileno()])
        client.execute("snp-migrate", uri="fd:target", address=PAGE)
        info = client.wait_status("completed", "failed", deadline=PATIENCE)
        self.assertEqual(receive.wait(), 0, receive.errors)
        self.check_completed(source, destination, info, receive.json())
        with self.assertRaisesRegex(QmpError, "'target'"):
            client.execute("closefd", fdname="target")  # it was used up

    def test_names_that_are_not_there(self):
        source = self.guest("source", **SMALL)
        serve = self.serve(source)
        client = Qmp(f"unix:{serve.qmp_path}")
        self.addCleanup(client.close)
        for command in ("snp-migrate", "snp-migrate-incoming"):
            with self.assertRaisesRegex(QmpError, "'nobody'.*getfd"):
                client.execute(command, uri="fd:nobody", address=PAGE)
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                client.execute("getfd", fdname="spare", fds=[theirs.fileno()])
            client.execute("closefd", fdname="spare")
            ours.settimeout(PATIENCE)
            self.assertEqual(ours.recv(1), b"")
        with self.assertRaisesRegex(QmpError, "'spare'"):
            client.execute("closefd", fdname="spare")
        with self.assertRaisesRegex(QmpError, "digit"):
            with socket.socket() as any_socket:
                client.execute("getfd", fdname="7up", fds=[any_socket.fileno()])
        with self.assertRaises(QmpError):
            client.execute("getfd", fdname="nothing-handed-over")
        self.assertEqual(source.registers(), (NOT_STARTED, NONE))

    def test_number_of_our_own(self):
        """What the program opened for itself is not to be used, or closed, by way of its number."""
        source = self.guest("source", **SMALL)
        serve = self.serve(source)
        client = Qmp(f"unix:{serve.qmp_path}")
        self.addCleanup(client.close)
        numbers = [int(name) for name in os.listdir(f"/proc/{serve.pid}/fd")]
        for number in sorted(numbers)[3:]:
            with self.assertRaisesRegex(QmpError, f"{number} is (in use by this program itself|not open)"):
                client.execute("snp-migrate", uri=f"fd:{number}", address=PAGE)
        self.assertEqual(client.execute("query-snp-migrate")["status"], "none")
        self.assertEqual(source.registers(), (NOT_STARTED, NONE))

    def test_number_that_is_not_open(self):
        self.check_error("send", "fd:777", "777 is not open")
        self.check_error("receive", "fd:777", "777 is not open")


class ExecTest(TransportTest):
    """Programs as the stream's other end."""

    def test_refused(self):
        for command in ("send", "receive"):
            self.check_error(command, "exec:touch " + self.path("made"), "--allow-exec")
        self.assertFalse(os.path.exists(self.path("made")))
        serve = self.serve(self.guest("source", **SMALL))
        with self.assertRaisesRegex(QmpError, "--allow-exec"):
            serve.outgoing("exec:true")

    @unittest.skipUnless(shutil.which("socat"), "socat is not installed")
    def test_socat_sends(self):
        source, destination = self.guests()
        receive = self.start("receive", "tcp:127.0.0.1:0", destination)
        uri = f"exec:socat - {receive.listening().replace('tcp', 'TCP')}"
        send = self.start("send", uri, source, "--allow-exec")
        self.check_transfer(source, destination, send, receive)

    @unittest.skipUnless(shutil.which("socat"), "socat is not installed")
    def test_socat_receives(self):
        source, destination = self.guests()
        path = self.path("socat")
        receive = self.start("receive", f"exec:socat - UNIX-LISTEN:{path}", destination,
                             "--allow-exec")
        receive.wait_error("listening on exec:")
        wait_until(lambda: self.is_listened_on(path), PATIENCE, "socat's socket")
        send = self.start("send", f"unix:{path}", source)
        self.check_transfer(source, destination, send, receive)

    @staticmethod
    def is_listened_on(path):
        """The file is there from bind() on, but connections are only taken from listen() on."""
        with open("/proc/net/unix", encoding="utf-8") as file:
            return any(words[3] == "00010000" and words[-1] == path for words in map(str.split, file))

    def test_command_that_fails(self):
        self.check_error("send", "exec:echo no way >&2; exit 7", "7|ended|closed", "--allow-exec")

    def test_poc_through_a_pipe(self):
        source, destination = self.guests()
        path = self.path("stream")
        send = self.start("send", f"exec:cat >{path}", source, "--allow-exec", "--wire", "poc")
        self.assertEqual(send.wait(), 0, send.errors)
        receive = self.start("receive", f"exec:cat {path}", destination, "--allow-exec")
        self.check_transfer(source, destination, send, receive)


class FileTest(TransportTest):
    """file: a migration in two halves."""

    def save(self, wire="native", **guest):
        self.source = self.guest("source", **(guest or SMALL))
        self.file = self.path("stream")
        self.saved = self.start("send", f"file:{self.file}", self.source, "--wire", wire)
        self.assertEqual(self.saved.wait(), 0, self.saved.errors)
        self.assertEqual(self.source.registers(), (COMPLETED, READ))

    def load(self, *options):
        self.destination = self.guest("destination")
        return self.start("receive", f"file:{self.file}", self.destination, *options)

    def test_native(self):
        self.save(size="12M")  # more than any window
        self.check_loaded()

    def check_loaded(self):
        load = self.load()
        self.check_transfer(self.source, self.destination, self.saved, load)

    def test_poc(self):
        self.save("poc")
        self.assertEqual(os.path.getsize(self.file), 512 * (8 + BLOCK_SIZE) + 8)
        self.check_loaded()

    def test_more_in_the_file(self):
        """What lies behind the end is none of ours: an image, a block device, an older stream."""
        for wire in ("native", "poc"):
            with self.subTest(wire=wire):
                self.save(wire)
                with open(self.file, "ab") as file:
                    file.write(bytes(4096) + b"SNPRELAY" * 64)
                self.check_loaded()

    def test_mode(self):
        self.save()
        self.assertEqual(os.stat(self.file).st_mode & 0o077, 0, "a guest's memory may be in it")

    def test_truncated(self):
        for wire in ("native", "poc"):
            self.save(wire)
            size = os.path.getsize(self.file)
            for length in (size - 1, size - 8, size // 2, HELLO_BYTES + 1, 9, 3, 0):
                with self.subTest(wire=wire, length=length):
                    os.truncate(self.file, length)
                    load = self.load()
                    self.assertEqual(load.wait(), 1, load.errors)
                    self.assertEqual(load.json()["status"], "failed")
                    self.assertNotEqual(self.destination.page.status, COMPLETED)
            os.unlink(self.file)

    def test_damaged(self):
        self.save()
        with open(self.file, "r+b") as file:
            file.seek(300000)
            byte = file.read(1)
            file.seek(300000)
            file.write(bytes([byte[0] ^ 1]))
        load = self.load()
        self.check_failed(load, "damaged.*checksum")
        self.assertNotEqual(self.destination.page.status, COMPLETED)

    def test_no_such_file(self):
        self.check_error("receive", f"file:{self.path('none')}", "none.*No such file")
        self.check_error("send", f"file:{self.path('none')}/below", "none/below.*No such file")


if __name__ == "__main__":
    relay.main()
