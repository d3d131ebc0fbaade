"""Room that the records keep for themselves, so that on a full disk containers can be removed.

That is how a disk is emptied, and each removal has to be recorded first.
"""

from __future__ import annotations

import os
from pathlib import Path

SIZE = 2 << 20
"""Some hundred transactions."""

_PLENTY = 4 * SIZE


class Reserve:
    """A file of the size of the reserve, beside the records; one thread's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._full = False
        self.fill()

    def spend(self) -> bool:
        """Give the room back to the disk -> whether there was any."""
        self._full = False
        try:
            # Also a killed daemon's, which nobody has filled again: the disk may be full by now.
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True

    def fill(self) -> None:
        """Take room again, when the disk has plenty; cheap when there is nothing to do."""
        if self._full:
            return
        try:
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < _PLENTY:
                return
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, SIZE)
            finally:
                os.close(fd)
        except OSError:
            return  # the records work without it
        self._full = True
