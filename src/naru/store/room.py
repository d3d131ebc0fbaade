"""The free-space floor: what fills the disk is refused before the disk is full.

Images and new containers are what the floor refuses. Logs, records and what containers write go on:
they have the kept space to themselves until somebody has made room.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from naru.spec.disk import FreeSpace
from naru.spec.errors import NoSpace

_STEP = 4 << 20
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


class Room:
    """Of the file system that holds `path`. `floor` may be changed at any time."""

    def __init__(self, path: Path, floor: FreeSpace) -> None:
        self._path = path
        self.floor = floor

    def check(self, what: str, need: int = 0) -> None:
        """`NoSpace` where `need` bytes more would not leave what must stay free. Microseconds."""
        free, total = self.free()
        kept = self.floor.of(total)
        if kept and free - need < kept:
            wanted = f" and {what} needs {_shown(need)}" if need else ""
            raise NoSpace(
                f"no space left on device: {what}: {_shown(free)} are free in {self._path}{wanted},"
                f" and {_shown(kept)} are to stay free (min-free-space)"
            )

    def free(self) -> tuple[int, int]:
        """Bytes free and in all, as df says."""
        status = os.statvfs(self._path)
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize

    def meter(self, what: str) -> Meter:
        return Meter(self, what)


class Meter:
    """Called with the size of each piece before it is written; it asks once in a few MiB."""

    def __init__(self, room: Room, what: str) -> None:
        self._room = room
        self._what = what
        self._left = 0

    def __call__(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            self._room.check(self._what)
            self._left = _STEP


def is_full(error: BaseException) -> bool:
    """Whether this is what a full disk, quota or floor says."""
    if isinstance(error, NoSpace):
        return True
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _shown(size: int) -> str:
    number = float(size)
    for unit in _UNITS:
        if number < 1000 or unit == _UNITS[-1]:
            break
        number /= 1000
    return f"{number:.3g}{unit}"


def metered(room: Room | None, what: str) -> Callable[[int], None]:
    """The meter of a piece of work where a room is to be kept."""
    return room.meter(what) if room is not None else unmetered


def unmetered(size: int) -> None:
    """Where nothing is to stay free."""
