"""Facts about the machine, read from its files: what `docker info` says of the host."""

from __future__ import annotations

import os
import platform
import uuid
from contextlib import suppress
from pathlib import Path

import msgspec

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class Host(msgspec.Struct, frozen=True):
    name: str
    kernel: str
    machine: str  # uname -m
    operating_system: str
    os_version: str
    cpus: int
    memory: int  # bytes
    ip_forwarding: bool
    file_descriptors: int  # open in this process

    @property
    def architecture(self) -> str:
        """Go's name of the architecture, which the API uses."""
        return _ARCHITECTURES.get(self.machine, self.machine)


def read(root: Path = Path("/")) -> Host:
    uname = os.uname()
    release = os_release(root)
    return Host(
        name=uname.nodename,
        kernel=uname.release,
        machine=uname.machine,
        operating_system=release.get("PRETTY_NAME") or release.get("NAME") or "Linux",
        os_version=release.get("VERSION_ID", ""),
        cpus=len(os.sched_getaffinity(0)),
        memory=total_memory(root),
        ip_forwarding=_text(root / "proc/sys/net/ipv4/ip_forward") == "1",
        file_descriptors=len(os.listdir("/proc/self/fd")),
    )


def os_release(root: Path) -> dict[str, str]:
    """os-release(5), from /etc or /usr/lib."""
    for place in ("etc/os-release", "usr/lib/os-release"):
        if text := _text(root / place):
            pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
            return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}
    return {}


def total_memory(root: Path) -> int:
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) * 1024
    return 0


def engine_id(data_root: Path) -> str:
    """The id of this engine: made once, kept in the data root."""
    path = data_root / "engine-id"
    if known := _text(path):
        return known
    fresh = str(uuid.uuid4())
    partial = path.with_suffix(".new")
    partial.write_text(fresh)
    partial.replace(path)
    return fresh


def python_version() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""
