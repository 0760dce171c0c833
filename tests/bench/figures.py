# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rows of the table: which metric of which measurement, in what unit, and what it is divided by."""

import collections
import functools
import statistics

import measurements

# A row's value is METRIC of MEASUREMENT. REFERENCES name the rows that it is divided by.
Row = collections.namedtuple("Row", "name section measurement metric unit better references")

WIRES = ("poc", "native")
TRANSPORTS = ("unix", "tcp")
INTERVALS = {"1ms": 1000, "10ms": 10000, "100ms": 100000}

RATES, PAIRS, CPU = "one side", "end to end", "processor time"
LATENCY, IDLE, MANY = "delay of a lone block", "idle", "many at once"


class Figures:
    """All measurements by name, in the order in which they are taken, and all rows."""

    def __init__(self, bench):
        self.measurements = {}
        self.rows = []
        self._bench = bench
        self._add_machine()
        self._add_sides()
        self._add_pairs()
        self._add_latency()
        self._add_idle()
        self._add_many()
        sections = (RATES, PAIRS, CPU, LATENCY, IDLE, MANY)
        self.rows.sort(key=lambda row: sections.index(row.section))

    def _measure(self, name, function, *arguments):
        self.measurements[name] = functools.partial(function, self._bench, *arguments)

    def _row(self, name, section, measurement, metric, unit, better, *references):
        self.rows.append(Row(name, section, measurement, metric, unit, better, references))

    def _rate(self, name, section, *references):
        self._row(name, section, name, "rate", "MB/s", "more", *references)

    def _cpu(self, name, *references):
        self._row(f"cpu/{name}", CPU, name, "cpu", "s/GiB", "less", *references)

    def _add_machine(self):
        for role in ("source", "destination"):
            self._measure(f"limit/{role}", measurements.limit, role)
            self._rate(f"limit/{role}", RATES)
        for transport in TRANSPORTS:
            self._measure(f"blast/{transport}", measurements.blast, transport)
            self._rate(f"blast/{transport}", RATES, "limit/source")
        self._measure("cipher", measurements.cipher)
        self._rate("cipher", PAIRS)

    def _add_sides(self):
        for role, poc, ours in (("source", measurements.poc_source, measurements.our_source),
                                ("destination", measurements.poc_destination,
                                 measurements.our_destination)):
            for transport in TRANSPORTS:
                name = f"poc/{role}/{transport}"
                self._measure(name, poc, transport)
                self._rate(name, RATES, f"limit/{role}")
                self._cpu(name)
                for wire in WIRES:
                    mine = f"ours/{role}/{wire}/{transport}"
                    other = f"ours/{role}/poc/{transport}"
                    self._measure(mine, ours, wire, transport)
                    self._rate(mine, RATES, name, *([other] if wire == "native" else []),
                               f"limit/{role}", f"blast/{transport}")
                    self._cpu(mine, f"cpu/{name}")

    def _add_pairs(self):
        for transport in TRANSPORTS:
            name = f"poc/pair/{transport}"
            self._measure(name, measurements.poc_pair, transport)
            self._rate(name, PAIRS, "limit/source")
            self._cpu(name)
            for wire in WIRES:
                mine = f"ours/pair/{wire}/{transport}"
                self._measure(mine, measurements.our_pair, wire, transport)
                self._rate(mine, PAIRS, name, f"blast/{transport}")
                self._cpu(mine, f"cpu/{name}")
        self._measure("ours/pair/native/tls", measurements.our_pair, "native", "tls")
        self._rate("ours/pair/native/tls", PAIRS, "cipher", "poc/pair/tcp")
        self._cpu("ours/pair/native/tls", "cpu/poc/pair/tcp")

    def _add_latency(self):
        kinds = (("ping", measurements.ping, INTERVALS),
                 ("poc/latency", measurements.poc_latency, ("1ms", "10ms")),
                 ("ours/latency", measurements.our_latency, INTERVALS))
        for kind, function, intervals in kinds:
            for interval in intervals:
                name = f"{kind}/{interval}"
                self._measure(name, function, INTERVALS[interval])
                for metric in ("median", "p99"):
                    references = [f"ping/{interval}/{metric}"] if kind != "ping" else []
                    if kind == "ours/latency" and interval != "100ms":
                        references.append(f"poc/latency/{interval}/{metric}")
                    self._row(f"{name}/{metric}", LATENCY, name, metric, "us", "less", *references)

    def _add_idle(self):
        self._measure("idle", measurements.idle)
        for name in ("send", "receive", "receive-unread", "serve"):
            self._row(f"idle/{name}", IDLE, "idle", name, "% of a core", "less")

    def _add_many(self):
        counts = self._bench.scale.many_counts
        for kind, polite in (("many", False), ("many-polite", True)):
            for count in (counts[0], counts[-1]) if polite else counts:
                name = f"{kind}/{count}"
                self._measure(name, measurements.many, count, polite)
                one = [] if count == counts[0] else [f"{kind}/{counts[0]}"]
                self._rate(name, MANY, *one)
                if count > 1:
                    self._row(f"{name}/fairness", MANY, name, "fairness", "min/mean", "more")
                self._row(f"{name}/memory", MANY, name, "memory", "MiB each", "less",
                          *[f"{reference}/memory" for reference in one])

    def select(self, matches):
        """The rows whose name or measurement MATCHES accepts, those that they are divided by, and the names of
        all measurements that these need."""
        found = [row for row in self.rows if matches(row.name) or matches(row.measurement)]
        names = {row.name for row in found}.union(*(row.references for row in found))
        rows = [row for row in self.rows if row.name in names]
        wanted = {row.measurement for row in rows}
        by_name = {row.name: row for row in self.rows}
        wanted.update(by_name[name].measurement for row in rows for name in row.references)
        return rows, [name for name in self.measurements if name in wanted]


def summarize(values):
    return {"values": values, "median": statistics.median(values), "min": min(values),
            "max": max(values)}


def tabulate(figures, rows, results):
    """RESULTS: for each measurement one dictionary of metrics (or None) a repetition.

    Returns dictionaries for JSON.
    """
    by_name = {row.name: row for row in figures.rows}
    table = []
    for row in rows:
        series = _series(row, results)
        values = [value for value in series if value is not None]
        if not values:
            continue
        ratios = []
        for reference in row.references:
            quotients = [value / other for value, other
                         in zip(series, _series(by_name[reference], results))
                         if value is not None and other]
            if quotients:
                ratios.append({"to": reference, **summarize(quotients)})
        table.append({"name": row.name, "section": row.section, "unit": row.unit,
                      "better": row.better, **summarize(values), "ratios": ratios})
    return table


def _series(row, results):
    return [metrics and metrics[row.metric] for metrics in results.get(row.measurement, [])]
