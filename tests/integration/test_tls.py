# SPDX-License-Identifier: LGPL-2.1-or-later
"""Migrations under TLS: who is let in, who is not and why, and that nobody on the way can read along."""

import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import certificates
import relay
from guest import BLOCK_SIZE, NONE, NOT_STARTED
from peer import MAGIC, START, NativePeer, hello
from proxy import BACK, Plan, Proxy
from qmp import QmpError

SMALL = {"size": "256k"}


@unittest.skipUnless(certificates.is_available(), "openssl is not installed")
class TlsTest(relay.RelayTest):
    """Certificates are made once for all tests."""

    @classmethod
    def setUpClass(cls):
        cls._folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls._folder.cleanup)
        cls.authority = certificates.Authority(cls._folder.name, "authority")
        cls.stranger = certificates.Authority(cls._folder.name, "stranger")
        cls.good = cls.authority.credentials("good")

    def credentials(self, authority=None, **options):
        """Other credentials, with the test's own name."""
        return (authority or self.authority).credentials(f"{self.id().split('.')[-1]}-{len(options)}",
                                                         **options)

    def pair(self, source_options=(), destination_options=(), guest=None, proxied=None, uri=None,
             wire="native"):
        """Runs `receive` and `send` to their ends; returns them."""
        self.source = self.guest("source", **(guest or SMALL))
        self.destination = self.guest("destination")
        receive = self.receive(self.destination, "--connect-timeout", "20", *destination_options,
                               uri=uri or "tcp:127.0.0.1:0")
        target = receive.listening()
        self.proxy = None
        if proxied is not None:
            self.proxy = Proxy(target, **proxied)
            self.addCleanup(self.proxy.close)
            target = self.proxy.uri
        send = self.send(target, self.source, "--wire", wire, "--connect-timeout", "20", *source_options)
        if send.wait():
            with contextlib.suppress(subprocess.TimeoutExpired):  # one that was talked to ends by itself, and says why
                receive.process.wait(20)
        if send.process.returncode and receive.process.poll() is None:
            # A destination that was never talked to goes on waiting for its source.
            self.assertEqual(self.destination.registers(), (NOT_STARTED, NONE))
            receive.interrupt()
        receive.wait()
        return send, receive

    def check_both_completed(self, send, receive):
        self.assertEqual(send.wait(), 0, send.errors + receive.errors)
        self.assertEqual(receive.wait(), 0, send.errors + receive.errors)
        return self.check_completed(self.source, self.destination, send.json(), receive.json())

    def check_refused(self, send, receive, source_says=None, destination_says=None):
        """Nothing has happened, and those who know say why."""
        self.assertEqual(send.process.returncode, 1, send.errors + receive.errors)
        self.assertIn(receive.process.returncode, (1, 3), receive.errors)
        for program, pattern in ((send, source_says), (receive, destination_says)):
            if pattern:
                self.assertRegex(program.errors, pattern)
        for guest in (self.source, self.destination):
            self.assertEqual(guest.registers(), (NOT_STARTED, NONE))
            self.assertEqual(guest.page.buffer(), bytes(BLOCK_SIZE))


class GoodTest(TlsTest):
    """Those who know each other."""

    def both(self, *more):
        return (("--tls-creds", self.good, *more), ("--tls-creds", self.good))

    def test_native(self):
        self.check_both_completed(*self.pair(*self.both(), guest={"size": "16M"}))

    def test_poc(self):
        self.check_both_completed(*self.pair(*self.both(), guest={"size": "4M"}, wire="poc"))

    def test_ipv6(self):
        self.check_both_completed(*self.pair(*self.both(), uri="tcp:[::1]:0"))

    def test_hostname_override(self):
        other = self.credentials(server_names=("DNS:elsewhere.example",))
        pair = self.pair(("--tls-creds", self.good, "--tls-hostname", "elsewhere.example"),
                         ("--tls-creds", other))
        self.check_both_completed(*pair)

    def test_unix_with_a_name(self):
        pair = self.pair(*self.both("--tls-hostname", "localhost"), uri=self.new_uri("unix"))
        self.check_both_completed(*pair)

    def test_authz_match(self):
        pair = self.pair(("--tls-creds", self.good),
                         ("--tls-creds", self.good, "--tls-authz", "*CN=host1*"))
        self.check_both_completed(*pair)

    def test_resume(self):
        seed = int(os.environ.get("SNPRELAY_TEST_SEED", random.randrange(1 << 32)))
        print(f"SNPRELAY_TEST_SEED={seed}", file=sys.stderr)
        rng = random.Random(seed)
        plans = [Plan("close", 300000)]
        # The other way only the handshake is sure to be long enough: how many answers follow is a matter of time.
        for _ in range(20):
            action = rng.choice(("close", "reset", "half"))
            plans.append(rng.choice((Plan(action, rng.randrange(1 << 20)),
                                     Plan(action, rng.randrange(1 << 16)),
                                     Plan(action, rng.randrange(6000)),
                                     Plan(action, rng.randrange(1000), BACK))))
        send, receive = self.pair(*self.both(), guest={"size": "24M"}, proxied={"plans": plans})
        self.check_both_completed(send, receive)
        self.assertEqual(self.proxy.cuts, len(plans))
        self.assertGreater(send.json()["reconnects"], 0)

    def test_probe(self):
        """Somebody who only connects, as a port scan does, ends nobody's waiting."""
        source, destination = self.guest("source", **SMALL), self.guest("destination")
        ours, theirs = self.both()
        receive = self.receive(destination, *theirs)
        uri = receive.listening()
        host, port = uri[len("tcp:"):].rsplit(":", 1)
        socket.create_connection((host, int(port))).close()
        receive.wait_error("went away before its hello was complete.*before it said anything")
        send = self.send(uri, source, *ours)
        self.assertEqual((send.wait(), receive.wait()), (0, 0), send.errors + receive.errors)

    def test_nobody_reads_along(self):
        """The guest's blocks are on the wire in a plain run, and not under TLS."""
        for options, seen in (((), True), (("--tls-creds", self.good), False)):
            for wire in ("native", "poc"):
                with self.subTest(wire=wire, tls=not seen):
                    pair = self.pair(options, options, guest={"blocks": 100}, wire=wire,
                                     proxied={"record": True})
                    self.check_both_completed(*pair)
                    last = self.destination.page.buffer()
                    recorded = bytes(self.proxy.recorded)
                    self.assertGreater(len(recorded), 100 * BLOCK_SIZE)
                    self.assertEqual(last in recorded, seen)
                    for at in range(0, BLOCK_SIZE, 16):
                        self.assertEqual(last[at:at + 16] in recorded, seen)
                    self.assertEqual(MAGIC in recorded, seen and wire == "native")


class RefusedTest(TlsTest):
    """Those who must not get in."""

    def test_expired_server(self):
        """Seen by its owner before anything is connected, as in QEMU."""
        expired = self.credentials(server_days=-1)
        guest = self.guest("destination")
        receive = self.receive(guest, "--tls-creds", expired)
        self.assertIn(receive.wait(), (1, 2))
        self.assertRegex(receive.errors, "server-cert.pem.*expired")
        self.assertEqual(guest.registers(), (NOT_STARTED, NONE))

    def test_expired_client(self):
        expired = self.credentials(client_days=-1)
        guest = self.guest("source", **SMALL)
        send = self.send("tcp:127.0.0.1:1", guest, "--tls-creds", expired)
        self.assertIn(send.wait(), (1, 2))
        self.assertRegex(send.errors, "client-cert.pem.*expired")
        self.assertEqual(guest.registers(), (NOT_STARTED, NONE))

    def test_server_of_another_authority(self):
        other = self.credentials(self.stranger)
        pair = self.pair(("--tls-creds", self.good), ("--tls-creds", other))
        self.check_refused(*pair, source_says="certificate.*(signed|issued|authority|ca-cert|trust)",
                           destination_says="(?i)tls")

    def test_client_of_another_authority(self):
        """The client trusts the server; the server does not know the client."""
        other = self.credentials(self.stranger, trust=None)
        with open(self.authority.certificate, encoding="ascii") as file, \
                open(os.path.join(other, "ca-cert.pem"), "a", encoding="ascii") as target:
            target.write(file.read())
        pair = self.pair(("--tls-creds", other), ("--tls-creds", self.good))
        self.check_refused(*pair, source_says="refused this client|certificate",
                           destination_says="certificate.*(signed|issued|authority|ca-cert|trust)")

    def test_wrong_name(self):
        other = self.credentials(server_names=("DNS:elsewhere.example",))
        pair = self.pair(("--tls-creds", self.good), ("--tls-creds", other))
        self.check_refused(*pair, source_says="127.0.0.1", destination_says="(?i)tls")

    def test_wrong_hostname_option(self):
        pair = self.pair(("--tls-creds", self.good, "--tls-hostname", "elsewhere.example"),
                         ("--tls-creds", self.good))
        self.check_refused(*pair, source_says="elsewhere.example")

    def test_authz_mismatch(self):
        pair = self.pair(("--tls-creds", self.good),
                         ("--tls-creds", self.good, "--tls-authz", "*CN=host2*"))
        self.check_refused(*pair, source_says="refused this client|certificate",
                           destination_says="host2")

    def test_client_without_certificate(self):
        """openssl's client trusts the server and gives no certificate."""
        guest = self.guest("destination")
        receive = self.receive(guest, "--tls-creds", self.good)
        port = receive.listening().rsplit(":", 1)[1]
        client = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-quiet",
                                 "-CAfile", self.authority.certificate],
                                input=MAGIC + hello(START, os.urandom(16)), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, timeout=60, check=False)
        self.assertNotIn(MAGIC, client.stdout)
        self.check_failed(receive, "certificate")
        self.assertEqual(guest.registers(), (NOT_STARTED, NONE))

    def test_plain_source(self):
        pair = self.pair((), ("--tls-creds", self.good))
        self.check_refused(*pair, destination_says="does not speak TLS.*plain text")

    def test_plain_poc_source(self):
        """The poc wire has no hello, so its source has begun by the time it is refused."""
        source, destination = self.guest("source", **SMALL), self.guest("destination")
        receive = self.receive(destination, "--tls-creds", self.good)
        send = self.send(receive.listening(), source, "--wire", "poc")
        self.assertEqual(send.wait(), 1, send.errors)
        self.check_failed(receive, "does not speak TLS.*plain text")
        self.assertEqual(destination.registers(), (NOT_STARTED, NONE))

    def test_plain_destination(self):
        pair = self.pair(("--tls-creds", self.good), ())
        self.check_refused(*pair, source_says="does (not|it) speak TLS",
                           destination_says="sends no migration stream")

    def test_missing_files(self):
        guest = self.guest("source", **SMALL)
        send = self.send("tcp:127.0.0.1:1", guest, "--tls-creds", self.directory)
        self.assertIn(send.wait(), (1, 2))
        self.assertRegex(send.errors, "ca-cert.pem.*No such file")

    def test_silent_client_does_not_end_it(self):
        """One that connects and never begins a handshake is dropped after a while; the source is served beside it."""
        source, destination = self.guest("source", **SMALL), self.guest("destination")
        receive = self.receive(destination, "--tls-creds", self.good)
        silent = NativePeer.connect(receive.listening())
        self.addCleanup(silent.close)
        send = self.send(receive.listening(), source, "--tls-creds", self.good)
        self.assertEqual(send.wait(), 0, send.errors)
        self.assertEqual(receive.wait(), 0, receive.errors)
        self.check_completed(source, destination, send.json(), receive.json())


class PlainTextTest(TlsTest):
    """Unencrypted tcp that would leave the host is refused before anything is opened or sent."""

    AWAY = "tcp:192.0.2.1:7000"

    def test_required_to_send(self):
        guest = self.guest("source", **SMALL)
        send = self.send(self.AWAY, guest, "--require-tls")
        self.assertEqual(send.wait(), 1, send.errors)
        self.assertRegex(send.errors, r"not encrypted.*--require-tls.*tls-creds")

    def test_required_to_listen(self):
        for uri in (self.AWAY, "tcp:0.0.0.0:0", "tcp::0", "tcp:[::]:0"):
            with self.subTest(uri=uri):
                receive = self.receive(self.guest("destination"), "--require-tls", uri=uri)
                self.assertEqual(receive.wait(), 1, receive.errors)
                self.assertRegex(receive.errors, r"not encrypted.*--require-tls")

    def test_loopback_is_allowed(self):
        for uri in ("tcp:127.0.0.1:0", "tcp:[::1]:0", "tcp:localhost:0", self.new_uri("unix")):
            with self.subTest(uri=uri):
                pair = self.pair(("--require-tls",), ("--require-tls",), uri=uri)
                self.check_both_completed(*pair)
                self.assertNotIn("not encrypted", pair[0].errors + pair[1].errors)

    def test_required_by_a_broker(self):
        guest = self.guest("source", **SMALL)
        serve = self.serve(guest, "--require-tls")
        with self.assertRaisesRegex(QmpError, "--require-tls"):
            serve.outgoing(self.AWAY)
        with self.assertRaisesRegex(QmpError, "--require-tls"):
            serve.incoming(uri="tcp:0.0.0.0:0")


if __name__ == "__main__":
    relay.main()
