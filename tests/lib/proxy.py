# SPDX-License-Identifier: LGPL-2.1-or-later
"""A proxy between two relays that does to their connection what networks and hosts do.

It listens on tcp or on a Unix socket and connects to a target, which can be changed. What happens to
the n-th connection is told by a Plan; without one it is just passed on.
"""

import collections
import contextlib
import os
import selectors
import socket
import struct
import threading

FORWARD, BACK = 0, 1  # from the source to the destination, and back

# After BYTES in DIRECTION: "close" both in an orderly way, "reset" both, "half" closes only what the
# receiver reads, "truncate" drops everything afterwards and closes the receiver's side only, "freeze" passes
# nothing on either way and closes nothing, "deaf" stops reading that direction.
Plan = collections.namedtuple("Plan", "action bytes direction", defaults=(FORWARD,))


def split_uri(uri):
    """An address family and an address."""
    kind, rest = uri.split(":", 1)
    if kind == "unix":
        return socket.AF_UNIX, rest
    host, port = rest.rsplit(":", 1)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return family, (host.strip("[]"), int(port))


def _reset(connection):
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Link:
    """One connection: two sockets."""

    def __init__(self, proxy, source, plan):
        self.proxy = proxy
        self.plan = plan
        self.bytes = [0, 0]
        self.deaf = [False, False]
        self.frozen = False
        family, address = split_uri(proxy.target)
        target = socket.socket(family)
        self.ends = [source, target]
        try:
            target.connect(address)
        except OSError:
            self.close()

    def close(self, reset=False):
        for end in self.ends:
            if reset:
                _reset(end)
            with contextlib.suppress(OSError):
                if not reset:
                    end.shutdown(socket.SHUT_RDWR)
            end.close()

    @property
    def closed(self):
        return all(end.fileno() < 0 for end in self.ends)

    def _act(self, action, direction):
        self.plan = None
        self.proxy.note_cut()
        receiver = self.ends[1 - direction]
        if action in ("close", "reset"):
            self.close(action == "reset")
        elif action == "half":
            receiver.shutdown(socket.SHUT_WR)
        elif action == "truncate":
            receiver.close()
            self.frozen = True
        elif action == "deaf":
            self.deaf[direction] = True
        elif action == "freeze":
            self.frozen = True
        else:
            raise ValueError(action)

    def pump(self, direction):
        """Passes on what came; direction's sender is readable."""
        try:
            data = self.ends[direction].recv(1 << 16)
            plan = self.plan
            if not data:
                self.ends[1 - direction].shutdown(socket.SHUT_WR)
                self.deaf[direction] = True
                if all(self.deaf):
                    self.close()
                return
            if plan and plan.direction == direction and self.bytes[direction] + len(data) > plan.bytes:
                data = data[:plan.bytes - self.bytes[direction]]
                self._send(direction, data)
                self._act(plan.action, direction)
                return
            self._send(direction, data)
        except ConnectionResetError:
            self.close(reset=True)
        except OSError:
            self.close()

    def _send(self, direction, data):
        self.bytes[direction] += len(data)
        self.proxy.note_bytes(direction, data)
        self.ends[1 - direction].sendall(data)


class Proxy:
    """A context manager; runs in a thread of its own. RECORD keeps all that the source sent."""

    def __init__(self, target, path=None, plans=(), record=False):
        self.target = target
        self.cuts = 0
        self.connections = 0
        self.bytes = [0, 0]
        self.recorded = bytearray() if record else None
        self._plans = iter(plans)
        self._changed = threading.Condition()
        self._links = []
        self._listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._listener.bind(path or ("127.0.0.1", 0))
        self._listener.listen(16)
        self.uri = f"unix:{path}" if path else "tcp:127.0.0.1:%d" % self._listener.getsockname()[1]
        self._wake, self._woken = os.pipe()
        self._requests = []
        self._open = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    # What other threads ask for.

    def _ask(self, request):
        """Has it done by the proxy's thread, and waits until it is."""
        done = threading.Event()
        with self._changed:
            self._requests += [request, done.set]
        os.write(self._woken, b"x")
        if not done.wait(20):
            raise TimeoutError("the proxy does nothing")

    def cut(self, reset=False):
        """Cuts all connections that there are, now."""
        def request():
            for link in self._links:
                link.close(reset)
        self._ask(request)

    def freeze(self):
        """Passes nothing on any more on the present connections, and closes nothing."""
        def request():
            for link in self._links:
                link.frozen = True
        self._ask(request)

    def wait(self, condition, timeout=60):
        """Waits until CONDITION of this proxy is true."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout):
                raise TimeoutError(f"{timeout} s: {self.connections} connections, {self.cuts} cuts, "
                                   f"{self.bytes} bytes")

    # The thread.

    def note_cut(self):
        with self._changed:
            self.cuts += 1
            self._changed.notify_all()

    def note_bytes(self, direction, data):
        with self._changed:
            self.bytes[direction] += len(data)
            if self.recorded is not None and direction == FORWARD:  # in between, an answer would tear a block
                self.recorded += data
            self._changed.notify_all()

    def _accept(self):
        source, _ = self._listener.accept()
        with self._changed:
            self.connections += 1
            self._changed.notify_all()
        self._links.append(_Link(self, source, next(self._plans, None)))

    def _register(self, selector):
        selector.register(self._wake, selectors.EVENT_READ, "wake")
        selector.register(self._listener, selectors.EVENT_READ, "accept")
        for link in self._links:
            for direction in (FORWARD, BACK):
                if not link.frozen and not link.deaf[direction] and link.ends[direction].fileno() >= 0:
                    selector.register(link.ends[direction], selectors.EVENT_READ, (link, direction))

    def _turn(self):
        with selectors.PollSelector() as selector:
            self._register(selector)
            for key, _ in selector.select():
                if key.data == "wake":
                    os.read(self._wake, 4096)
                    with self._changed:
                        requests, self._requests = self._requests, []
                    for request in requests:
                        request()
                elif key.data == "accept":
                    self._accept()
                elif not key.data[0].frozen and key.data[0].ends[key.data[1]].fileno() >= 0:
                    key.data[0].pump(key.data[1])
        self._links = [link for link in self._links if not link.closed]

    def _run(self):
        while self._open:
            self._turn()

    def close(self):
        if self._open:
            self._open = False
            os.write(self._woken, b"x")
            self._thread.join(20)
            for link in self._links:
                link.close()
            self._listener.close()
            os.close(self._wake)
            os.close(self._woken)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()
