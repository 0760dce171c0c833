# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of monitors in front of a QEMU share."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "integration")]

import vm  # noqa: E402
from qmp import Qmp, QmpError  # noqa: E402
from relay import PATIENCE, RelayTest, Serve  # noqa: E402

PAGE = 0x1000000
MIB = 1024 * 1024
SKIPPED = 77


class ExtensionTest(RelayTest):
    """Machines with the monitors ROLE.qmp, for the relay, and ROLE.own, for the test."""

    def machine(self, role, memory="memfd", **options):
        machine = vm.GuestVm(role, memory=memory, path=self.path(role + ".ram"),
                             qmp=[self.path(role + ".qmp"), self.path(role + ".own")], **options)
        self.addCleanup(machine.kill)
        return machine

    def extend(self, role, *options):
        serve = Serve(self.directory, ["--guest-memory", "qemu:" + self.path(role + ".qmp"), *options],
                      role + "-relay")
        self.addCleanup(serve.kill)
        return serve

    def client(self, serve, **options):
        client = Qmp("unix:" + serve.qmp_path, deadline=PATIENCE, **options)
        self.addCleanup(client.close)
        return client

    def own(self, role):
        """A client of QEMU's own monitor."""
        client = Qmp("unix:" + self.path(role + ".own"), deadline=PATIENCE)
        self.addCleanup(client.close)
        return client

    def refused(self, client, command, pattern, error_class="GenericError", **arguments):
        with self.assertRaises(QmpError) as caught:
            client.execute(command, **arguments)
        self.assertRegex(caught.exception.desc, pattern)
        self.assertEqual(caught.exception.error_class, error_class)
