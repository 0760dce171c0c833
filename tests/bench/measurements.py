# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is measured. Each function sets everything up anew, measures once, and returns its metrics by name.

Rates are in MB/s (10^6), processor time in s/GiB, delays in us, memory in MiB.
"""

import collections
import json
import os
import subprocess
import time

from processes import PAGE, BenchError, Rig, listening

BLOCK = 2048
GIB = 1 << 30

# How much of everything: see run.
Scale = collections.namedtuple(
    "Scale", "repetitions budget side_bytes pair_bytes seconds pings many_counts many_seconds "
             "idle_seconds cipher_seconds patience")


class Bench:
    """What all measurements need to know."""

    def __init__(self, build, scale, credentials):
        self.build = build
        self.scale = scale
        self.credentials = credentials  # a directory

    def rig(self):
        return Rig(self.build, self.scale.patience)


def _rate(moved, seconds):
    if moved <= 0 or seconds <= 0:
        raise BenchError("nothing was moved")
    return moved / seconds / 1e6


def _result(process):
    """The bytes and seconds that a program of the bench prints."""
    match = process.wait_line(r"^blocks (\d+) seconds ([\d.]+)$")
    process.finish()
    return int(match[1]) * BLOCK, float(match[2])


def _metrics(moved, seconds, *relays):
    """A rate, and what the relays used for it (from their beginning to their end)."""
    metrics = {"rate": _rate(moved, seconds)}
    if relays:
        metrics["cpu"] = sum(relay.cpu_seconds for relay in relays) / (moved / GIB)
    return metrics


def _source(rig, size, *options):
    memory = rig.memory()
    rig.guest("source", memory, "--size", size, *options)
    return memory


def _destination(rig, *options):
    memory = rig.memory()
    rig.guest("destination", memory, *options)
    return memory


# ---- What the machine can do -----------------------------------------------------------------------------


def limit(bench, role):
    with bench.rig() as rig:
        size = bench.scale.side_bytes
        memory = _source(rig, size) if role == "source" else _destination(rig)
        loop = rig.bench("limit", role, memory.path, PAGE, size // BLOCK, bench.scale.seconds,
                         memory=memory)
        return _metrics(*_result(loop))


def blast(bench, transport):
    with bench.rig() as rig:
        return _metrics(*_result(rig.bench("blast", transport, bench.scale.seconds / 4)))


def cipher(bench):
    """AES-256-GCM on one processor, in pieces of a TLS record."""
    command = ["openssl", "speed", "-mr", "-elapsed", "-evp", "aes-256-gcm", "-bytes", "16384",
               "-seconds", str(bench.scale.cipher_seconds)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False,
                            timeout=bench.scale.patience)
    for line in answer.stdout.splitlines():
        if line.startswith("+F:"):
            return {"rate": float(line.rsplit(":", 1)[1]) / 1e6}
    raise BenchError(f"openssl speed: {answer.stderr.strip()[-200:]}")


def ping(bench, interval_us):
    with bench.rig() as rig:
        return _latency(rig.bench("ping", "tcp", bench.scale.pings[interval_us], interval_us))


# ---- The proof of concept's way --------------------------------------------------------------------------


def poc_source(bench, transport):
    with bench.rig() as rig:
        memory = _source(rig, bench.scale.side_bytes)
        drain = rig.bench("peer", "drain", "poc", rig.address(transport))
        relay = _poc(bench, rig, "source", listening(drain), memory)
        return _metrics(*_result(relay), relay)


def poc_destination(bench, transport):
    with bench.rig() as rig:
        memory = _destination(rig)
        relay = _poc(bench, rig, "destination", rig.address(transport), memory)
        rig.bench("peer", "fill", "poc", listening(relay), bench.scale.side_bytes // BLOCK)
        return _metrics(*_result(relay), relay)


def poc_pair(bench, transport):
    with bench.rig() as rig:
        given, taken = _source(rig, bench.scale.pair_bytes), _destination(rig)
        destination = _poc(bench, rig, "destination", rig.address(transport), taken)
        source = _poc(bench, rig, "source", listening(destination), given)
        result = _result(destination)
        source.finish(0, 1)  # the destination goes first when the time is up
        return _metrics(*result, source, destination)


def poc_latency(bench, interval_us):
    with bench.rig() as rig:
        given, taken, guest = _latency_guests(bench, rig, interval_us)
        destination = _poc(bench, rig, "destination", rig.address("tcp"), taken, bench.scale.patience)
        _poc(bench, rig, "source", listening(destination), given, bench.scale.patience)
        return _latency(guest)


def _poc(bench, rig, role, address, memory, seconds=None):
    return rig.bench("poc", role, address, memory.path, PAGE, seconds or bench.scale.seconds,
                     memory=memory)


# ---- Ours ------------------------------------------------------------------------------------------------


def _finish(bench, rig, memory, relay, *others):
    """Waits for the end of MEMORY's relay, or ends it when its time is up. Returns bytes and seconds."""
    rig.wait_begun(memory, relay)
    if not relay.wait(bench.scale.seconds):
        relay.interrupt()
    relay.finish(0, 3)
    stopped = relay.status == 3
    for other in others:
        if stopped:
            other.interrupt()
        other.finish(*((0, 1, 3) if stopped else (0,)))
    info = json.loads(relay.wait_line(r"^\{.*\}$")[0])
    mbps = info.get("mbps", 0)
    if mbps <= 0:
        raise BenchError(f"{relay}: nothing was moved in {bench.scale.seconds} s")
    return info.get("acked-bytes", info["bytes"]), info["bytes"] * 8 / mbps / 1e6


def our_source(bench, wire, transport):
    with bench.rig() as rig:
        memory = _source(rig, bench.scale.side_bytes)
        drain = rig.bench("peer", "drain", wire, rig.address(transport))
        relay = rig.relay("send", listening(drain), memory, "--wire", wire)
        return _metrics(*_finish(bench, rig, memory, relay), relay)


def our_destination(bench, wire, transport):
    with bench.rig() as rig:
        memory = _destination(rig)
        relay = rig.relay("receive", rig.address(transport), memory)
        rig.bench("peer", "fill", wire, listening(relay), bench.scale.side_bytes // BLOCK)
        return _metrics(*_finish(bench, rig, memory, relay), relay)


def our_pair(bench, wire, transport):
    """Measured at the destination: what its guest has read."""
    with bench.rig() as rig:
        tls = ["--tls-creds", bench.credentials] if transport == "tls" else []
        given, taken = _source(rig, bench.scale.pair_bytes), _destination(rig)
        receive = rig.relay("receive", rig.address("tcp" if tls else transport), taken, *tls)
        send = rig.relay("send", listening(receive), given, "--wire", wire, *tls)
        return _metrics(*_finish(bench, rig, taken, receive, send), send, receive)


def our_latency(bench, interval_us):
    with bench.rig() as rig:
        given, taken, guest = _latency_guests(bench, rig, interval_us)
        receive = rig.relay("receive", rig.address("tcp"), taken)
        rig.relay("send", listening(receive), given)
        return _latency(guest)


def _latency_guests(bench, rig, interval_us):
    given, taken = rig.memory(), rig.memory()
    rig.guest("source", given, "--blocks", bench.scale.pings[interval_us], "--pattern", "latency",
              "--interval", interval_us)
    return given, taken, rig.guest("destination", taken, "--latency")


def _latency(process):
    match = process.wait_line(r"^latency median ([\d.]+) us p99 ([\d.]+) us")
    return {"median": float(match[1]), "p99": float(match[2])}


# ---- Relays that have nothing to do ------------------------------------------------------------------------


def idle(bench):
    """Percent of a processor, all of these at the same time: their guests sleep and do nothing."""
    with bench.rig() as rig:
        receive, send, _ = _idle_pair(rig, "stop:1", "stop:1")
        stuck, _, _ = _idle_pair(rig, "stop:2", "stop:0")
        memory = rig.memory()
        monitor = os.path.join(bench.credentials, "qmp")
        serve = rig.start("relay/program/snprelay", "serve", "--guest-memory", memory.spec, "--qmp",
                          f"unix:{monitor}", memory=memory)
        relays = {"send": send, "receive": receive, "receive-unread": stuck, "serve": serve}
        deadline = time.monotonic() + bench.scale.patience
        while not os.path.exists(monitor) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(min(1, bench.scale.idle_seconds))  # until they wait as they do in the long run
        start = time.monotonic()
        before = {name: relay.running_ns() for name, relay in relays.items()}
        time.sleep(bench.scale.idle_seconds)
        used = {name: relay.running_ns() - before[name] for name, relay in relays.items()}
        seconds = time.monotonic() - start
        return {name: 100 * ns / 1e9 / seconds for name, ns in used.items()}


def _idle_pair(rig, source_stops, destination_stops):
    """Both relays are active and some blocks have passed."""
    given, taken = rig.memory(), rig.memory()
    guests = [rig.guest("source", given, "--blocks", 1000, "--misbehave", source_stops),
              rig.guest("destination", taken, "--misbehave", destination_stops)]
    receive = rig.relay("receive", rig.address("tcp"), taken)
    send = rig.relay("send", listening(receive), given)
    for guest in guests:
        guest.wait_line("^stopped at")
    return receive, send, guests


# ---- Many on one machine -----------------------------------------------------------------------------------


def many(bench, count, polite):
    """COUNT sending relays. One thread plays all their guests, or (POLITE) a process each that yields."""
    scale = bench.scale
    with bench.rig() as rig:
        pages, address = _many_guests(rig, count, polite, scale)
        drain = rig.bench("peer", "drain", "native", rig.address("unix"), count,
                          scale.many_seconds / 4, scale.many_seconds)
        listens = listening(drain)
        relays = [rig.relay("send", listens, memory, page=address(number))
                  for number, memory in enumerate(pages)]
        line = drain.wait_line(r"^bytes ([\d ]+) seconds ([\d.]+)$")
        moved = [int(text) for text in line[1].split()]
        memory = sum(relay.memory_bytes() for relay in relays)
        for relay in relays:
            relay.kill()
        return {"rate": _rate(sum(moved), float(line[2])),
                "fairness": min(moved) / (sum(moved) / count),
                "memory": memory / count / (1 << 20)}


def _many_guests(rig, count, polite, scale):
    if polite:
        pages = [rig.memory() for _ in range(count)]
        for memory in pages:
            rig.guest("source", memory, "--size", "1000G", "--polite")
        return pages, lambda number: PAGE
    memory = rig.memory(count * 4096)
    guests = rig.bench("guests", memory.path, count, 2 * scale.patience, memory=memory)
    guests.wait_line("pages$")
    return [memory] * count, lambda number: number * 4096
