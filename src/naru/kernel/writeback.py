"""Let the disk begin early with what is going to be synced anyway."""

from __future__ import annotations

import ctypes
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from naru.kernel.filesystems import sync_filesystem
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


class SyncAhead:
    """For many small files: the file system is synced while others are still written.

    What is left for the sync that counts, which the caller makes when all is written, is little.
    """

    def __init__(self, path: Path, step: int = 32 << 20) -> None:
        """A sync is begun after `step` bytes each, unless the last one is under way still."""
        self._path = path
        self._step = step
        self._since = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wrote(self, size: int) -> None:
        with self._lock:
            self._since += size
            if self._since < self._step or (self._thread and self._thread.is_alive()):
                return
            self._since = 0
            self._thread = threading.Thread(target=self._sync, daemon=True, name="sync ahead")
            self._thread.start()

    def close(self) -> int:
        """Wait for the last sync -> bytes for which none was begun."""
        if self._thread is not None:
            self._thread.join()
        return self._since

    def _sync(self) -> None:
        with suppress(OSError):  # only a hint: an error is that of the sync that counts
            sync_filesystem(self._path)
