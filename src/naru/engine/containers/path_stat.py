"""A file of a container as `X-Docker-Container-Path-Stat` describes it. Pure."""

from __future__ import annotations

import os
import stat
from typing import Any, Final

from naru.engine.containers import json_lines

_KINDS: Final = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFREG: 0,
}
_BITS: Final = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


def encode(name: str, status: os.stat_result, link_target: str) -> dict[str, Any]:
    return {
        "name": name,
        "size": status.st_size,
        "mode": go_mode(status.st_mode),
        "mtime": json_lines.format_time(status.st_mtime_ns),
        "linkTarget": link_target,
    }


def go_mode(mode: int) -> int:
    """Go's fs.FileMode: the permissions as in Unix, all else in bits of its own."""
    return (
        stat.S_IMODE(mode) & 0o777
        | _KINDS.get(stat.S_IFMT(mode), 1 << 19)
        | sum(bit for unix, bit in _BITS.items() if mode & unix)
    )
