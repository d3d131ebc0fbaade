"""Let the disk begin early with what is going to be synced anyway."""

from __future__ import annotations

import ctypes
from typing import Final

from naru.kernel.syscalls import libc

_WRITE: Final = 2  # SYNC_FILE_RANGE_WRITE: start writing out, wait for nothing
STEP: Final = 8 << 20


class Writeback:
    """For one file that is written from `start` on; told after each write how far it goes now.

    The kernel would leave it all in memory until the sync, whose wait it then is.
    """

    def __init__(self, fd: int, start: int = 0) -> None:
        self._fd = fd
        self._begun = start

    def wrote(self, end: int) -> None:
        if end - self._begun >= STEP:
            # Only a hint: a file system that does not know it is none the worse for it.
            libc.sync_file_range(
                ctypes.c_int(self._fd), ctypes.c_int64(self._begun),
                ctypes.c_int64(end - self._begun), ctypes.c_uint(_WRITE),
            )  # fmt: skip
            self._begun = end
