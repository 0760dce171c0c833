#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Puts the extension into a QEMU source tree, or takes it out again.

    apply.py [--undo] QEMU-SOURCE

Copies files/ to QEMU-SOURCE/snprelay and the schema to qapi/snp.json, and inserts one line into each
of a few files of QEMU's. A second run refreshes what is there. If a line after which to insert cannot
be found, it says so and changes nothing.
"""

import argparse
import collections
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SCHEMA = os.path.join(os.path.dirname(HERE), "snp.json")
FOLDER = "snprelay"

# The line that is inserted into a file of QEMU's, after the one line that the whole of AFTER matches
# (None: at the end).
Insertion = collections.namedtuple("Insertion", "path after line")
INSERTIONS = [
    Insertion("qapi/qapi-schema.json", r"\{\s*'include':\s*'migration\.json'\s*\}",
              "{ 'include': 'snp.json' }"),
    Insertion("qapi/meson.build", r"\s*'migration',", "  'snp',"),
    Insertion("meson.build", r"subdir\('migration'\)", f"subdir('{FOLDER}')"),
    Insertion("include/monitor/hmp.h", r"void hmp_migrate\(.*\);",
              f'#include "{FOLDER}/snp-hmp.h"'),
    Insertion("hmp-commands.hx", None, f'#include "{FOLDER}/hmp-commands.h.inc"'),
    Insertion("hmp-commands-info.hx", None, f'#include "{FOLDER}/hmp-commands-info.h.inc"'),
]

# How QEMU is to call the commands' handlers. No client can see it, so the schema, which is for clients,
# does not say it.
CALLING = {
    "snp-migrate": "'coroutine': true",
    "snp-migrate-incoming": "'coroutine': true",
    "snp-migrate-recover": "'coroutine': true",
    "snp-migrate-set-parameters": "'boxed': true",
}


class ApplyError(Exception):
    """What stands in the way."""


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path, text):
    """Writes TEXT unless the file says so already: what did not change need not be compiled again."""
    if not os.path.exists(path) or read(path) != text:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def version_of(source):
    path = os.path.join(source, "VERSION")
    if not os.path.exists(path) or not os.path.exists(os.path.join(source, "qapi")):
        raise ApplyError(f"{source} is not QEMU's source: it has no VERSION file and no folder qapi")
    return read(path).strip()


def schema_text():
    """The schema with what QEMU's generator is told beside what clients see."""
    text = read(SCHEMA)
    for command, option in CALLING.items():
        start = f"{{ 'command': '{command}',"
        if text.count(start) != 1:
            raise ApplyError(f"{SCHEMA} does not have the command {command} as it is expected")
        text = text.replace(start, f"{start}\n  {option},")
    return text


def copies():
    """What is put beside QEMU's own files: path in QEMU's tree -> text."""
    files = {"qapi/snp.json": schema_text()}
    folder = os.path.join(HERE, "files")
    for name in sorted(os.listdir(folder)):
        files[f"{FOLDER}/{name}"] = read(os.path.join(folder, name))
    return files


def inserted(insertion, text, version):
    """TEXT with the insertion's line in it, once."""
    lines = text.splitlines()
    if insertion.line in lines:
        return text
    if insertion.after is None:
        return "\n".join(lines + [insertion.line]) + "\n"
    places = [number for number, line in enumerate(lines) if re.fullmatch(insertion.after, line)]
    if len(places) != 1:
        raise ApplyError(f"QEMU {version} has moved on: {insertion.path} has {len(places)} lines like "
                         f"{insertion.after} where one was expected. Insert the line\n"
                         f"    {insertion.line}\n"
                         f"by hand where it fits, and run this again")
    lines.insert(places[0] + 1, insertion.line)
    return "\n".join(lines) + "\n"


def removed(insertion, text):
    """TEXT without the insertion's line."""
    return "".join(line for line in text.splitlines(keepends=True)
                   if line.rstrip("\n") != insertion.line)


def edit_all(source, edit):
    """path -> new text of every file of QEMU's that EDIT(insertion, text) concerns; nothing is written."""
    edited = {}
    for insertion in INSERTIONS:
        path = os.path.join(source, insertion.path)
        if not os.path.exists(path):
            raise ApplyError(f"QEMU {version_of(source)} has moved on: it has no {insertion.path}")
        edited[path] = edit(insertion, edited.get(path) or read(path))
    return edited


def apply(source):
    version = version_of(source)
    files = copies()
    edited = edit_all(source, lambda insertion, text: inserted(insertion, text, version))
    os.makedirs(os.path.join(source, FOLDER), exist_ok=True)
    for name, text in files.items():
        write(os.path.join(source, name), text)
    for path, text in edited.items():
        write(path, text)
    print(f"The extension is in QEMU {version} ({source}).")


def undo(source):
    version = version_of(source)
    files = copies()
    for path, text in edit_all(source, removed).items():
        write(path, text)
    for name in files:
        path = os.path.join(source, name)
        if os.path.exists(path):
            os.remove(path)
    if os.path.isdir(os.path.join(source, FOLDER)):
        os.rmdir(os.path.join(source, FOLDER))
    print(f"The extension is no longer in QEMU {version} ({source}).")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--undo", action="store_true", help="take the extension out again")
    parser.add_argument("source", metavar="QEMU-SOURCE", help="the top folder of QEMU's source")
    arguments = parser.parse_args()
    try:
        (undo if arguments.undo else apply)(arguments.source)
    except (ApplyError, OSError) as error:
        sys.exit(f"apply.py: {error}\nNothing was changed." if isinstance(error, ApplyError)
                 else f"apply.py: {error}")


if __name__ == "__main__":
    main()
