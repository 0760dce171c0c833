# SPDX-License-Identifier: LGPL-2.1-or-later
"""Peers of a relay in plain Python: both wires, spoken from their descriptions and not from the relay's code.

They do what a test tells them to, so they can also speak wrongly.
"""

import ctypes
import os
import socket
import struct

from guest import BLOCK_SIZE
from relay import PATIENCE

POC_BLOCK, POC_END = struct.pack(">Q", 5), struct.pack(">Q", 6)

MAGIC = b"SNPRELAY"
HELLO, DATA, ACK, END, DONE, KEEPALIVE, ERROR, PAUSE = range(1, 9)
START, RESUME, ACCEPT = 1, 2, 3
FAILED, CANCELLED, REFUSED = 1, 2, 3
BLOCKS_A_FRAME = 64

_HELLO = struct.Struct(">HHHHIIQ16sQB7s")


def make_blocks(count, seed=0):
    """COUNT blocks, each another."""
    return [struct.pack(">QQ", seed, number) * (BLOCK_SIZE // 16) for number in range(count)]


def checksum(blocks):
    """XXH3 (64 bits, seed 0) of all blocks."""
    library = ctypes.CDLL("libxxhash.so.0")
    library.XXH3_64bits.restype = ctypes.c_uint64
    library.XXH3_64bits.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
    data = b"".join(blocks)
    return library.XXH3_64bits(data, len(data))


def frame(kind, payload=b"", flags=0, length=None):
    """A frame; LENGTH: what the header says when it is to lie."""
    return struct.pack(">BBHI", kind, flags, 0, len(payload) if length is None else length) + payload


def hello(kind, session, window=4096, position=0, versions=(1, 1), layout=1, pages=1,
          block_size=BLOCK_SIZE, features=0, reserved=bytes(7), extensions=b""):
    return frame(HELLO, _HELLO.pack(*versions, layout, pages, block_size, window, features, session,
                                    position, kind, reserved) + extensions)


def data(first, blocks):
    return frame(DATA, struct.pack(">Q", first) + b"".join(blocks))


def end(kind, count, digest):
    return frame(kind, struct.pack(">QQ", count, digest))


def error(reason, text):
    return frame(ERROR, struct.pack(">H", reason) + text)


class Peer:
    """One end of a connection to a relay."""

    def __init__(self, connection):
        self.socket = connection
        self.socket.settimeout(PATIENCE)
        self.ended = False

    @classmethod
    def connect(cls, uri):
        kind, address = uri.split(":", 1)
        if kind == "unix":
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(address)
        else:
            host, port = address.rsplit(":", 1)
            connection = socket.create_connection((host.strip("[]"), int(port)))
        return cls(connection)

    def send(self, *parts):
        self.socket.sendall(b"".join(parts))

    def read(self, length):
        """LENGTH bytes, or fewer when the relay closed."""
        parts = b""
        while len(parts) < length:
            part = self.socket.recv(length - len(parts))
            if not part:
                self.ended = True
                break
            parts += part
        return parts

    def read_to_end(self):
        """All that comes until the relay closes, or resets, the connection."""
        parts = []
        while True:
            try:
                part = self.socket.recv(1 << 20)
            except ConnectionError:
                part = b""
            if not part:
                return b"".join(parts)
            parts.append(part)

    def shutdown(self):
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        """Breaks the connection as a host that crashed does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()


class PocPeer(Peer):
    """Speaks the proof of concept's stream."""

    def give(self, blocks):
        for block in blocks:
            self.send(POC_BLOCK, block)

    def take(self):
        """All blocks until the end mark; the connection stays."""
        blocks = []
        while True:
            header = self.read(8)
            if header == POC_END:
                return blocks
            if header != POC_BLOCK:
                raise AssertionError(f"header {header!r} after block {len(blocks)}")
            blocks.append(self.read(BLOCK_SIZE))


class NativePeer(Peer):
    """Speaks the native stream, frame by frame."""

    def __init__(self, connection):
        super().__init__(connection)
        self.session = os.urandom(16)
        self.their_hello = None

    def read_frame(self, ignore=()):
        """The next frame as (type, payload), or None at the end of the stream."""
        while True:
            header = self.read(8)
            if not header:
                return None
            kind, flags, reserved, length = struct.unpack(">BBHI", header)
            if flags or reserved:
                raise AssertionError(f"flags in {header!r}")
            payload = self.read(length)
            if kind not in ignore:
                return kind, payload

    def read_error(self):
        """The frame with which the relay gives up, as (reason, text); then it closes."""
        while True:
            found = self.read_frame()
            if found is None:
                raise AssertionError("the relay closed without a word")
            if found[0] == ERROR:
                return struct.unpack(">H", found[1][:2])[0], found[1][2:].decode()

    def read_magic(self):
        magic = self.read(8)
        if magic != MAGIC:
            raise AssertionError(f"magic {magic!r}")

    def greet(self, **options):
        """A source's hello."""
        self.send(MAGIC, hello(START, self.session, **options))

    def start(self, **options):
        """A source that is accepted."""
        self.greet(**options)
        self.read_hello()
        if self.their_hello.session != self.session or self.their_hello.kind != ACCEPT:
            raise AssertionError(str(self.their_hello))

    def read_hello(self):
        """The relay's hello."""
        self.read_magic()
        kind, payload = self.read_frame()
        if kind != HELLO:
            raise AssertionError(f"frame {kind} {payload!r} in place of a hello")
        self.their_hello = Hello(payload)

    def accept(self, **options):
        """A destination that accepts the relay; an option of hello() says otherwise."""
        self.read_hello()
        self.session = self.their_hello.session
        self.send(MAGIC, hello(ACCEPT, options.pop("session", self.session), **options))

    def give(self, blocks, first=0):
        for start in range(0, len(blocks), BLOCKS_A_FRAME):
            self.send(data(first + start, blocks[start:start + BLOCKS_A_FRAME]))

    def take(self, acknowledge=True):
        """All blocks until the end frame; returns them and its payload (count, checksum)."""
        blocks = []
        while True:
            kind, payload = self.read_frame(ignore=(KEEPALIVE,))
            if kind == END:
                return blocks, struct.unpack(">QQ", payload)
            if kind != DATA or struct.unpack(">Q", payload[:8])[0] != len(blocks):
                raise AssertionError(f"frame {kind} {payload[:8]!r} after block {len(blocks)}")
            blocks += [payload[at:at + BLOCK_SIZE] for at in range(8, len(payload), BLOCK_SIZE)]
            if acknowledge:
                self.send(frame(ACK, struct.pack(">Q", len(blocks))))


class Hello:
    """What a relay said of itself."""

    def __init__(self, payload):
        (self.version_min, self.version_max, self.layout, self.pages, self.block_size, self.window,
         self.features, self.session, self.position, self.kind, _) = _HELLO.unpack(payload[:56])

    def __str__(self):
        return str(vars(self))


class Listener:
    """Waits for a relay that sends."""

    def __init__(self, peer, path=None, backlog=5):
        self._peer = peer
        self.socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self.socket.bind(path or ("127.0.0.1", 0))
        self.socket.listen(backlog)
        self.socket.settimeout(PATIENCE)
        self.uri = f"unix:{path}" if path else "tcp:127.0.0.1:%d" % self.socket.getsockname()[1]

    def accept(self):
        return self._peer(self.socket.accept()[0])

    def close(self):
        self.socket.close()
