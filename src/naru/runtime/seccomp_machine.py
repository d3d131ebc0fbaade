"""What seccomp profiles ask of the machine: its architecture, as they call it, and its kernel."""

from __future__ import annotations

import os
import platform
import re
from functools import cache

from naru.spec.errors import InvalidParameter

# Go's name, and what libseccomp calls it and those that run on it besides.
ARCHITECTURES = {
    "amd64": ("X86_64", "X86", "X32"),
    "386": ("X86",),
    "arm64": ("AARCH64", "ARM"),
    "arm": ("ARM",),
    "ppc64le": ("PPC64LE",),
    "s390x": ("S390X", "S390"),
    "riscv64": ("RISCV64",),
    "loong64": ("LOONGARCH64",),
}
_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "i686": "386",
    "i386": "386",
    "armv7l": "arm",
    "armv6l": "arm",
    "loongarch64": "loong64",
}


def architecture(arch: str | None) -> str:
    """Go's name (amd64) for Go's or the kernel's (x86_64); this machine's when None."""
    machine = platform.machine() if arch is None else arch
    return _MACHINES.get(machine, machine)


def version(text: str) -> tuple[int, int]:
    """The kernel version that `text` begins with, or `InvalidParameter`."""
    found = re.match(r"(\d+)\.(\d+)", text)
    if found is None:
        raise InvalidParameter(f"seccomp profile: invalid kernel version {text!r}")
    return int(found[1]), int(found[2])


@cache
def kernel() -> tuple[int, int]:
    return version(os.uname().release)
