# SPDX-License-Identifier: LGPL-2.1-or-later
"""The parameter max-bandwidth: kept to, and changed while a migration runs."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import relay
from guest import wait_until
from qmp import QmpError
from relay import PATIENCE

M = 1 << 20
TOLERANCE = 0.10  # 0.05 on an idle machine


class BandwidthTest(relay.RelayTest):
    """A broker sends what its guest gives, and says how much that was."""

    def start(self, limit, size="1G"):
        self.source_guest, self.destination_guest = self.guest("source", size=size), self.guest(
            "destination")
        self.source = self.serve(self.source_guest)
        self.destination = self.serve(self.destination_guest)
        self.source.set(max_bandwidth=limit)
        self.source.outgoing(self.destination.incoming())
        self.source.qmp.wait_status("active")

    def sample(self):
        """Acknowledged bytes, and the times between which they were told."""
        before = time.monotonic()
        info = self.source.qmp.execute("query-snp-migrate")
        self.assertEqual(info["status"], "active", info)
        return info["acked-bytes"], before, time.monotonic()

    def measure(self, seconds=1.5):
        """Bytes a second between two answers."""
        first, begin, _ = self.sample()
        while time.monotonic() - begin < seconds:
            last, _, end = self.sample()
            time.sleep(0.01)
        return (last - first) / (end - begin)

    def wait_bytes(self, count):
        start = self.sample()[0]
        wait_until(lambda: self.sample()[0] >= start + count, PATIENCE, f"{count} bytes")

    def check_rate(self, expected):
        """The mean rate. A machine that stood still for a moment, and what was then caught up on, is given another chance."""
        rates = []
        for _ in range(8):
            rates.append(self.measure())
            if abs(rates[-1] - expected) < expected * TOLERANCE:
                return
        self.fail(f"{rates} bytes a second in place of {expected}")

    def test_kept_and_changed(self):
        self.start(20 * M)
        self.wait_bytes(4 * M)  # the burst at the beginning is over, and acknowledgements come
        self.check_rate(20 * M)
        self.source.hmp.execute("snp_migrate_set_parameter max-bandwidth 5M")
        self.wait_bytes(2 * M)
        self.check_rate(5 * M)
        self.source.set(max_bandwidth=10 * M)
        self.wait_bytes(8 * M)
        self.check_rate(10 * M)
        self.source.qmp.execute("snp-migrate-cancel")
        self.source.qmp.wait_status("cancelled")

    def test_limit_taken_away(self):
        self.start(M, size="64M")
        self.wait_bytes(M)
        self.source.set(max_bandwidth=0)
        infos = [self.source.qmp.wait_status("completed", "failed"),
                 self.destination.qmp.wait_status("completed", "failed")]
        self.check_completed(self.source_guest, self.destination_guest, *infos)
        self.assertLess(infos[0]["total-time"], 60000)  # at one MiB a second it would be more

    def test_poc_wire(self):
        """The same for the other wire; a limit of the command line."""
        source, destination = self.guest("source", size="8M"), self.guest("destination")
        receive = self.receive(destination)
        send = self.send(receive.listening(), source, "--wire", "poc", "--max-bandwidth", "4M")
        self.assertEqual(send.wait(), 0, send.errors)
        self.assertEqual(receive.wait(), 0, receive.errors)
        self.check_completed(source, destination, send.json(), receive.json())
        self.assertGreater(send.json()["total-time"], 1600)

    def test_only_the_bandwidth_can_be_changed(self):
        self.start(M)
        with self.assertRaisesRegex(QmpError, "'window' cannot be changed during"):
            self.source.set(window=M, max_bandwidth=M)
        self.assertEqual(self.source.qmp.execute("query-snp-migrate-parameters")["window"], 8 * M)
        self.source.qmp.execute("snp-migrate-cancel")


if __name__ == "__main__":
    relay.main()
