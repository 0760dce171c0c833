# SPDX-License-Identifier: LGPL-2.1-or-later
"""A QMP client for tests, over a unix or a tcp socket. Everything that waits has a deadline."""
import array
import json
import socket
import time

DEADLINE = 20.0


def connect(address, deadline=DEADLINE):
    """A socket connected to 'unix:PATH' or 'tcp:HOST:PORT'; a server that is still starting is waited for."""
    end = time.monotonic() + deadline
    while True:
        try:
            if address.startswith('unix:'):
                sock = socket.socket(socket.AF_UNIX)
                sock.connect(address[len('unix:'):])
            else:
                host, port = address[len('tcp:'):].rsplit(':', 1)
                sock = socket.create_connection((host.strip('[]'), int(port)))
            return sock
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


class QmpError(Exception):
    """An error that a command was answered with: its class and its text."""

    def __init__(self, error):
        super().__init__(f"{error['class']}: {error['desc']}")
        self.error_class = error['class']
        self.desc = error['desc']


class Qmp:
    """One connection. Usable in a with statement."""

    def __init__(self, address, negotiate=True, deadline=DEADLINE):
        self.deadline = deadline
        self.events = []
        self.buffer = b''
        self.number = 0
        self.sock = address if isinstance(address, socket.socket) else connect(address, deadline)
        self.greeting = self.receive()['QMP']
        if negotiate:
            self.execute('qmp_capabilities')

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.sock.close()

    def send_raw(self, data, fds=()):
        """Sends bytes as they are, with descriptors."""
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
        self.sock.settimeout(self.deadline)
        sent = self.sock.sendmsg([data], ancillary)
        if sent < len(data):  # sending nothing fails, too, when the server has gone
            self.sock.sendall(data[sent:])

    def receive_line(self, deadline=None):
        """The next line without its end; EOFError when the server has closed."""
        end = time.monotonic() + (self.deadline if deadline is None else deadline)
        while b'\n' not in self.buffer:
            self.sock.settimeout(max(end - time.monotonic(), 0.001))
            data = self.sock.recv(65536)
            if not data:
                raise EOFError('the QMP server has closed the connection')
            self.buffer += data
        line, self.buffer = self.buffer.split(b'\n', 1)
        return line.rstrip(b'\r')

    def receive(self, deadline=None):
        """The next object, whatever it is."""
        return json.loads(self.receive_line(deadline))

    def receive_answer(self, deadline=None):
        """The next object that is no event; events are kept."""
        while True:
            message = self.receive(deadline)
            if 'event' not in message:
                return message
            self.events.append(message)

    def send(self, command, fds=(), **arguments):
        """Sends a command and returns its id; '_' in the names of arguments is '-'."""
        self.number += 1
        message = {'execute': command, 'id': self.number}
        if arguments:
            message['arguments'] = {name.replace('_', '-'): value for name, value in arguments.items()}
        self.send_raw(json.dumps(message).encode() + b'\n', fds)
        return self.number

    def execute(self, command, fds=(), **arguments):
        """Carries a command out and returns its result; QmpError when it was refused."""
        number = self.send(command, fds, **arguments)
        answer = self.receive_answer()
        if answer.get('id') != number:
            raise AssertionError(f'an answer to {number} was expected: {answer}')
        if 'error' in answer:
            raise QmpError(answer['error'])
        return answer['return']

    def human(self, line):
        """The text that a line of the human monitor prints."""
        return self.execute('human-monitor-command', command_line=line)

    def wait_event(self, name, deadline=None, **data):
        """The next event of that name whose data has these members; earlier ones are dropped."""
        end = time.monotonic() + (self.deadline if deadline is None else deadline)
        while True:
            while self.events:
                event = self.events.pop(0)
                if event['event'] == name and data.items() <= event.get('data', {}).items():
                    return event
            message = self.receive(max(end - time.monotonic(), 0.001))
            if 'event' not in message:
                raise AssertionError(f'an event was expected: {message}')
            self.events.append(message)

    def wait_status(self, *statuses, deadline=None):
        """Waits until a migration has one of these statuses and returns query-snp-migrate's object."""
        end = time.monotonic() + (self.deadline if deadline is None else deadline)
        while True:
            info = self.execute('query-snp-migrate')
            if info['status'] in statuses:
                return info
            if time.monotonic() > end:
                raise TimeoutError(f'waited for {statuses}, it is {info}')
            try:
                self.events.append(self.receive(0.05))
            except TimeoutError:
                pass
