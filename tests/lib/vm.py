# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starts the bare-metal guest in a real virtual machine, under a stock QEMU."""

import functools
import os
import shutil
import subprocess

from guest import LineProgram, Page, build_path, free_huge_pages

QBOOT = "/usr/share/qemu/qboot.rom"
EXIT_DONE = 1  # isa-debug-exit makes (value << 1) | 1 of the guest's 0
EXIT_FAILED = 3

# How the guest's RAM is made: what follows the "id=ram,size=..." of -object.
MEMORY_KINDS = {
    "file": "memory-backend-file,mem-path={path},share=on",
    "file-private": "memory-backend-file,mem-path={path},share=off",
    "memfd": "memory-backend-memfd,share=on",
    "memfd-private": "memory-backend-memfd,share=off",
    "hugetlb": "memory-backend-memfd,share=on,hugetlb=on,hugetlbsize={huge}",
    "ram-shared": "memory-backend-ram,share=on",
    "default": None,
}


def qemu_path():
    """The QEMU to use ($SNPRELAY_QEMU, or the one on the PATH), or None."""
    return os.environ.get("SNPRELAY_QEMU") or shutil.which("qemu-system-x86_64")


def is_available():
    """Whether there are a QEMU and a bare-metal guest."""
    return bool(qemu_path()) and os.path.exists(elf_path())


def elf_path():
    return build_path("tests", "guest", "snprelay-baremetal.elf")


def _base_arguments(accel):
    arguments = [qemu_path(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                 "-monitor", "none", "-serial", "stdio", "-accel", accel,
                 "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", elf_path()]
    if os.path.exists(QBOOT):
        arguments += ["-bios", QBOOT]
    return arguments


@functools.lru_cache(maxsize=None)
def works_with(accel):
    """Whether a guest really runs with this accelerator: /dev/kvm may be there and yet not serve."""
    if not is_available():
        return False
    arguments = _base_arguments(accel) + ["-machine", "q35", "-m", "64M", "-append", "probe"]
    try:
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == EXIT_DONE and b"guest alive" in done.stdout


def accelerators():
    """Those that work here, the faster first."""
    return [accel for accel in ("kvm", "tcg") if works_with(accel)]


def can_have(memory):
    """Whether a kind of RAM can be had on this machine."""
    return memory != "hugetlb" or free_huge_pages()[0] >= 64


class GuestVm(LineProgram):
    """A virtual machine with the bare-metal guest in it. A context manager that kills it.

    ROLE is source or destination. MEMORY is one of MEMORY_KINDS; a file's PATH is given by the
    caller, and stays. QMP is the path of a Unix socket to make, or a list of such. Other options of
    the guest: size, seed, runs, cancellable=True, stay=True. ARGUMENTS are appended for QEMU.
    """

    def __init__(self, role, address=0x1000000, memory="file", path=None, ram="64M", accel=None,
                 machine="q35", qmp=None, arguments=(), wait=True, **options):
        self.address = address
        self.path = path
        self.accel = accel or accelerators()[0]
        append = [role, f"page={address:#x}"]
        append += [name if value is True else f"{name}={value}"
                   for name, value in options.items() if value not in (False, None)]
        command = _base_arguments(self.accel) + ["-m", ram, "-append", " ".join(append)]
        kind = MEMORY_KINDS[memory]
        if kind is None:
            command += ["-machine", machine]
        else:
            kind = kind.format(path=path, huge=free_huge_pages()[1])
            command += ["-object", f"{kind},id=ram,size={ram}",
                        "-machine", f"{machine},memory-backend=ram"]
        for socket in [qmp] if isinstance(qmp, str) else qmp or []:
            command += ["-qmp", f"unix:{socket},server=on,wait=off"]
        super().__init__(command + list(arguments))
        if wait:
            self.wait_page()

    def wait_page(self, timeout=30):
        """Waits until the page may be used; what is written into it before that is lost."""
        self.wait_line(r"^page at 0x[0-9a-f]+$", timeout)

    def page(self, offset=None):
        """The page, mapped from the file of the RAM. OFFSET: where it is, if not at its address."""
        return Page(self.path, self.address if offset is None else offset)
