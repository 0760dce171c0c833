# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two hosts, played by two network namespaces with a cable between them: it is pulled, and addresses change.

Needs root; everything is made and taken away by the test itself.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import certificates
import relay
from guest import NONE, NOT_STARTED, wait_until
from relay import PAGE, PATIENCE

FINAL = ("completed", "failed", "cancelled")
CLONE_NEWNET = 0x40000000
SKIPPED = 77


def run_ip(*arguments):
    done = subprocess.run(["ip", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stdout.decode()}")


def is_possible():
    """Whether namespaces and cables can be made here."""
    name = f"snprelay-probe-{os.getpid()}"
    if os.geteuid() != 0 or not shutil.which("ip"):
        return False
    try:
        run_ip("netns", "add", name)
    except OSError:
        return False
    try:
        run_ip("-n", name, "link", "add", "probe0", "type", "veth", "peer", "name", "probe1")
        return True
    except OSError:
        return False
    finally:
        run_ip("netns", "delete", name)


@contextlib.contextmanager
def inside(namespace):
    """What this thread opens and starts meanwhile is in that network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if libc.setns(descriptor, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {path}")
        finally:
            os.close(descriptor)

    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        enter(f"/run/netns/{namespace}")
        yield
    finally:
        enter(f"/proc/self/fd/{home}")
        os.close(home)


class NetworkTest(relay.RelayTest):
    """A source in the namespace "left" at 10.0.0.1, a destination in "right" at 10.0.0.2."""

    def setUp(self):
        super().setUp()
        self.left, self.right = (f"snprelay-{side}-{os.getpid()}" for side in ("left", "right"))
        for namespace in (self.left, self.right):
            run_ip("netns", "add", namespace)
            self.addCleanup(run_ip, "netns", "delete", namespace)
        run_ip("-n", self.left, "link", "add", "cable", "type", "veth", "peer", "name", "cable",
               "netns", self.right)
        for namespace, address in ((self.left, "10.0.0.1"), (self.right, "10.0.0.2")):
            run_ip("-n", namespace, "address", "add", f"{address}/24", "dev", "cable")
            run_ip("-n", namespace, "link", "set", "lo", "up")
            run_ip("-n", namespace, "link", "set", "cable", "up")

    def start(self, options=("--peer-timeout", "1"), **guest):
        self.source_guest = self.guest("source", **(guest or {"size": "4M", "interval": 1000}))
        self.destination_guest = self.guest("destination")
        with inside(self.left):
            self.source = self.serve(self.source_guest, *options)
        with inside(self.right):
            self.destination = self.serve(self.destination_guest, *options)
        self.uri = self.destination.incoming(uri="tcp:10.0.0.2:0")
        self.source.outgoing(self.uri)

    def wait_blocks(self, count=100):
        def there():
            info = self.destination.qmp.execute("query-snp-migrate")
            self.assertNotIn(info["status"], FINAL, info)
            return info.get("blocks", 0) >= count
        wait_until(there, PATIENCE, f"{count} blocks")

    def wait_paused(self, side):
        def there():
            info = side.qmp.execute("query-snp-migrate")
            self.assertNotIn(info["status"], FINAL, info)
            return info["status"] in ("paused", "recovering") and info
        return wait_until(there, PATIENCE, "paused")

    def finish(self):
        infos = [side.qmp.wait_status(*FINAL) for side in (self.source, self.destination)]
        self.check_completed(self.source_guest, self.destination_guest, *infos)
        return infos[0]["reconnects"]

    def test_across(self):
        self.start((), size="16M")
        self.assertEqual(self.finish(), 0)
        for side, uri in ((self.source, self.uri), (self.destination, "tcp:10.0.0.2:0")):
            self.assertRegex(side.errors, f"snprelay: warning: {uri} is not encrypted")

    def test_encrypted(self):
        authority = certificates.Authority(self.directory, "authority")
        directory = authority.credentials("good", server_names=("IP:10.0.0.2",))
        self.start(("--tls-creds", directory, "--require-tls"), size="16M")
        self.assertEqual(self.finish(), 0)
        self.assertNotIn("not encrypted", self.source.errors + self.destination.errors)

    def test_required(self):
        guest = self.guest("source", size="64k")
        with inside(self.left):
            send = self.send("tcp:10.0.0.2:7000", guest, "--require-tls")
        self.assertEqual(send.wait(), 1, send.errors)
        self.assertRegex(send.errors, "10.0.0.2.*not encrypted.*--require-tls")
        self.assertEqual(guest.registers(), (NOT_STARTED, NONE))

    def test_cable_pulled(self):
        self.start(("--peer-timeout", "1", "--window", "256k"), size="6M", interval=1000)
        self.wait_blocks()
        for namespace in (self.left, self.right):
            run_ip("-n", namespace, "link", "set", "cable", "down")
            for side in (self.source, self.destination):
                self.assertRegex(self.wait_paused(side)["error-desc"], r"\w")
            run_ip("-n", namespace, "link", "set", "cable", "up")
            blocks = self.source.qmp.wait_status("active")["blocks"]
            self.wait_blocks(blocks)
        self.assertGreaterEqual(self.finish(), 2)

    def test_address_changed(self):
        self.start()
        self.wait_blocks()
        run_ip("-n", self.right, "address", "delete", "10.0.0.2/24", "dev", "cable")
        run_ip("-n", self.right, "address", "add", "10.0.0.3/24", "dev", "cable")
        for side in (self.source, self.destination):
            self.wait_paused(side)
        self.assertNotIn("rror", self.destination.hmp.execute("snp_migrate_recover tcp:10.0.0.3:0"))
        uri, = self.destination.qmp.execute("query-snp-migrate")["listening"]
        self.assertRegex(uri, "^tcp:10.0.0.3:")
        self.source.hmp.execute(f"snp_migrate -d -r {uri} {PAGE:#x}")
        self.assertGreaterEqual(self.finish(), 1)
        self.assertEqual(self.source.qmp.execute("query-snp-migrate")["uri"], uri)

    def test_first_connection_into_nowhere(self):
        """Packets that nobody answers: connect-timeout ends it, and the page is as it was."""
        guest = self.guest("source", size="64k")
        with inside(self.left):
            send = self.send("tcp:10.0.0.99:7000", guest, "--connect-timeout", "1")
        self.check_failed(send, r"10\.0\.0\.99.*(timed out|within|unreachable|No route)")
        self.assertEqual(guest.registers(), (NOT_STARTED, NONE))


if __name__ == "__main__":
    if not is_possible():
        print("network namespaces cannot be made here (needs root)", file=sys.stderr)
        sys.exit(SKIPPED)
    relay.main()
