"""Every mount that this process sees, as the kernel tells it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class MountInfo(NamedTuple):
    """A line of /proc/self/mountinfo (proc(5)), its octal escapes undone."""

    id: int
    parent: int
    device: str  # "major:minor"
    root: str
    target: str
    options: str
    fields: tuple[str, ...]  # "shared:1", "master:2", ...
    type: str
    source: str
    super_options: str


def mount_table(path: Path = Path("/proc/self/mountinfo")) -> list[MountInfo]:
    """Every mount of the caller's namespace, in mount order."""
    return [
        parse_mountinfo(line) for line in path.read_text("utf-8", "surrogateescape").splitlines()
    ]


def parse_mountinfo(line: str) -> MountInfo:
    words = line.split(" ")
    dash = words.index("-", 6)
    kind, source, *rest = words[dash + 1 :]
    return MountInfo(
        id=int(words[0]),
        parent=int(words[1]),
        device=words[2],
        root=_unescape(words[3]),
        target=_unescape(words[4]),
        options=words[5],
        fields=tuple(words[6:dash]),
        type=kind,
        source=_unescape(source),
        super_options=rest[0] if rest else "",
    )


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    raw = os.fsencode(text)
    parts = raw.split(b"\\")
    out = parts[0]
    for part in parts[1:]:
        out += bytes([int(part[:3], 8)]) + part[3:]
    return os.fsdecode(out)
