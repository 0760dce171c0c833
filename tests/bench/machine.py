# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the figures were measured on, and with."""

import os
import platform
import re
import subprocess


def _read(path, pattern):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            match = re.search(pattern, file.read(), re.M)
    except OSError:
        return None
    return match and match[1].strip()


def describe(build, root):
    """A dictionary for JSON."""
    commit = subprocess.run(["git", "-C", root, "describe", "--always", "--dirty"],
                            capture_output=True, text=True, check=False).stdout.strip()
    cache = os.path.join(build, "CMakeCache.txt")
    return {
        "processors": len(os.sched_getaffinity(0)),
        "processor": _read("/proc/cpuinfo", r"^model name\s*:\s*(.*)$") or platform.machine(),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
        "commit": commit or None,
        "build": _read(cache, r"^CMAKE_BUILD_TYPE:\w+=(.+)$") or "RelWithDebInfo",
        "sanitizers": _read(cache, r"^SNPRELAY_SANITIZE:\w+=(.+)$"),
    }


def warnings(machine):
    """Why the figures may be worth nothing."""
    found = []
    if machine["sanitizers"]:
        found.append(f"this is a build with sanitizers ({machine['sanitizers']})")
    if machine["build"] not in ("Release", "RelWithDebInfo"):
        found.append(f"this is a {machine['build']} build")
    if machine["load"] > 0.5:
        found.append(f"others use this machine: its load was {machine['load']:.1f} before")
    return found
