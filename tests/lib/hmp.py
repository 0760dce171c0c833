# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client of the human monitor for tests: a line, the text that it prints, the prompt."""
import time

from qmp import DEADLINE, connect

PROMPT = b'(snprelay) '


class Hmp:
    """One connection over a unix or a tcp socket. Usable in a with statement."""

    def __init__(self, address, deadline=DEADLINE, prompt=PROMPT):
        self.deadline = deadline
        self.prompt = prompt
        self.buffer = b''
        self.sock = connect(address, deadline)
        self.greeting = self.read_prompt()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, line):
        """Sends a line and waits for nothing."""
        self.sock.sendall(line.encode() + b'\n')

    def read_prompt(self, deadline=None):
        """All text up to the next prompt, lines ending in '\\n'."""
        end = time.monotonic() + (self.deadline if deadline is None else deadline)
        while self.prompt not in self.buffer:
            self.sock.settimeout(max(end - time.monotonic(), 0.001))
            data = self.sock.recv(65536)
            if not data:
                raise EOFError('the monitor has closed the connection')
            self.buffer += data
        text, self.buffer = self.buffer.split(self.prompt, 1)
        return text.decode().replace('\r\n', '\n')

    def execute(self, line, deadline=None):
        """Carries a line out and returns what it printed."""
        self.send(line)
        return self.read_prompt(deadline)
