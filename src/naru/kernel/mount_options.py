"""mount(8)'s words for the options of a mount, and what mount(2) calls them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_SILENT = 32768

FLAGS: dict[str, int] = {
    "ro": MS_RDONLY,
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "sync": 16,
    "remount": MS_REMOUNT,
    "mand": 64,
    "dirsync": 128,
    "nosymfollow": 256,
    "noatime": 1024,
    "nodiratime": 2048,
    "bind": MS_BIND,
    "rbind": MS_BIND | MS_REC,
    "move": MS_MOVE,
    "silent": MS_SILENT,
    "relatime": 1 << 21,
    "strictatime": 1 << 24,
    "lazytime": 1 << 25,
}
_CLEARED: dict[str, int] = {
    "rw": MS_RDONLY,
    "suid": MS_NOSUID,
    "dev": MS_NODEV,
    "exec": MS_NOEXEC,
    "async": 16,
    "nomand": 64,
    "atime": 1024,
    "diratime": 2048,
    "norelatime": 1 << 21,
    "nostrictatime": 1 << 24,
    "loud": MS_SILENT,
    "defaults": 0,
}
_PROPAGATION: dict[str, int] = {
    "unbindable": 1 << 17,
    "private": 1 << 18,
    "slave": 1 << 19,
    "shared": 1 << 20,
    "runbindable": 1 << 17 | MS_REC,
    "rprivate": 1 << 18 | MS_REC,
    "rslave": 1 << 19 | MS_REC,
    "rshared": 1 << 20 | MS_REC,
}
# A bind mount takes these only in a second call.
BIND_ATTRIBUTES = (
    MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | 256 | 1024 | 2048 | 1 << 21 | 1 << 24
)

_LOWER = "lowerdir+="


class ParsedOptions(NamedTuple):
    flags: int
    propagation: list[int]
    lowers: list[str]
    data: list[str]


def parse_options(options: Sequence[str]) -> ParsedOptions:
    parsed = ParsedOptions(0, [], [], [])
    flags = 0
    for option in options:
        if option in FLAGS:
            flags |= FLAGS[option]
        elif option in _CLEARED:
            flags &= ~_CLEARED[option]
        elif option in _PROPAGATION:
            parsed.propagation.append(_PROPAGATION[option])
        elif option.startswith(_LOWER):
            parsed.lowers.append(option.removeprefix(_LOWER))
        elif option:
            parsed.data.append(option)
    return parsed._replace(flags=flags)
