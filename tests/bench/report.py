# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table that is printed, and the picture that gnuplot draws."""

import os
import shutil
import subprocess

PANELS = (("one side", "one side, MB/s", False), ("end to end", "end to end, MB/s", True),
          ("processor time", "processor time, s/GiB", True),
          ("delay of a lone block", "delay of a lone block, us", True),
          ("many at once", "many at once, MB/s in all", False),
          ("idle", "idle, % of a core", False))
COLOURS = {"limit": "#999999", "blast": "#999999", "ping": "#999999", "cipher": "#999999",
           "poc": "#c0392b"}
OURS = "#2471a3"


def number(value):
    """Three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def spread(figure):
    return f"{number(figure['median'])} ({number(figure['min'])}-{number(figure['max'])})"


def table(document, before=None):
    """Lines of text. BEFORE: an earlier document, whose medians are shown beside."""
    earlier = {row["name"]: row for row in before["rows"]} if before else {}
    lines, section = [], None
    head = ["", "median (min-max)", "unit", "divided by", "ratio (min-max)"]
    cells = [head + (["before", "now/before"] if before else [])]
    for row in document["rows"]:
        if row["section"] != section:
            section = row["section"]
            cells.append([section.upper()])
        first = [row["name"], spread(row), row["unit"]]
        ratios = [[ratio["to"], spread(ratio)] for ratio in row["ratios"]] or [["", ""]]
        old = earlier.get(row["name"])
        past = [spread(old), number(row["median"] / old["median"])] if old and old["median"] else []
        cells.append(first + ratios[0] + past)
        cells += [["", "", "", *ratio] for ratio in ratios[1:]]
    widths = [max(len(line[column]) for line in cells if len(line) > column and len(line) > 1)
              for column in range(len(cells[0]))]
    for line in cells:
        if len(line) == 1:
            lines += ["", line[0]]
        else:
            lines.append("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())
    return lines


def _colour(name):
    first = name.removeprefix("cpu/").split("/")[0]
    return COLOURS.get(first, OURS)


def _panel(number_, rows, title, logarithmic):
    """Horizontal bars from the top down, with the spread as a line."""
    data = [f"$panel{number_} << EOD"]
    for position, row in enumerate(rows):
        label = row["name"].removeprefix("cpu/")
        data.append(f'"{label}" {row["median"]} {row["min"]} {row["max"]} {-position} '
                    f'0x{_colour(row["name"])[1:]}')
    data.append("EOD")
    low = min(row["min"] for row in rows)
    start = low / 2 if logarithmic and low > 0 else 0
    return data + [
        f'set title "{title}"',
        "set logscale x" if logarithmic and low > 0 else "unset logscale x",
        f"set xrange [{start}:*]",
        f"set yrange [{-len(rows) + 0.4}:0.6]",
        f"plot $panel{number_} using ({start}):5:({start}):2:($5-0.38):($5+0.38):6:ytic(1) "
        "with boxxyerror fillcolor rgbcolor variable notitle, "
        f"$panel{number_} using 2:5:3:4 with xerrorbars linecolor black pointtype 0 notitle",
    ]


def plot(document, path):
    """Draws the picture. Returns why it could not be drawn, or None."""
    if not shutil.which("gnuplot"):
        return "gnuplot is not there: no picture"
    terminals = {".svg": "svg size 1300,{} dynamic background 'white' font 'sans,11'",
                 ".png": "pngcairo size 1300,{} font 'sans,10'"}
    terminal = terminals.get(os.path.splitext(path)[1])
    if not terminal:
        return f"{path}: the picture's name must end in .svg or .png"
    panels = []
    for section, title, logarithmic in PANELS:
        rows = [row for row in document["rows"] if row["section"] == section and
                (section != "many at once" or row["unit"] == "MB/s")]
        if rows:
            panels.append((rows, title, logarithmic))
    if not panels:
        return "nothing was measured: no picture"
    height = 120 + sum(max(len(rows) for rows, *_ in panels[i:i + 2]) * 21 + 75
                       for i in range(0, len(panels), 2))
    script = [f"set terminal {terminal.format(height)}", f"set output '{path}'",
              f"set multiplot layout {(len(panels) + 1) // 2},2 title \"{_title(document)}\"",
              "set style fill solid 0.85 noborder", "set grid xtics", "set ytics nomirror",
              "set tics font ',9'", "set bars small", "set lmargin 28"]
    for index, panel in enumerate(panels):
        script += _panel(index, *panel)
    answer = subprocess.run(["gnuplot"], input="\n".join(script + ["unset multiplot", ""]),
                            capture_output=True, text=True, check=False, timeout=60)
    return f"gnuplot: {answer.stderr.strip()}" if answer.returncode else None


def _title(document):
    machine = document["machine"]
    return (f"{machine['processors']} processors ({machine['processor']}), Linux {machine['kernel']}, "
            f"{document['repetitions']} repetitions: median, minimum and maximum")
