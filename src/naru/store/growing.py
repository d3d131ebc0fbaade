"""A file that is read while another thread still appends to it."""

from __future__ import annotations

import io
import threading
from pathlib import Path

from naru.spec.errors import InternalError
from naru.store.raw_reader import RawReader


class GrowingFile:
    """What the writer tells its readers: how much there is, and how it ended."""

    def __init__(self, path: Path, final: Path, size: int = 0) -> None:
        """`path` is where it grows, `final` where it is once complete."""
        self._paths = (path, final)
        self._size = size
        self._done = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def grown(self, size: int) -> None:
        with self._changed:
            self._size = size
            self._changed.notify_all()

    def complete(self) -> None:
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Readers that have not reached the end get this error; nothing after `complete`."""
        with self._changed:
            if not self._done and self._error is None:
                self._error = error
                self._changed.notify_all()

    def reader(self) -> GrowingReader:
        try:
            file = self._paths[0].open("rb", buffering=0)
        except FileNotFoundError:
            file = self._paths[1].open("rb", buffering=0)
        return GrowingReader(self, file)

    def available(self, at: int) -> int:
        """Wait until there is something behind `at` -> how much; 0 is the end."""
        with self._changed:
            while True:
                if self._size > at:
                    return self._size - at
                if self._done:
                    return 0
                if self._error is not None:
                    raise InternalError(str(self._error)) from self._error
                self._changed.wait()


class GrowingReader(RawReader):
    """A blocking reader from the file's start; it outlives a rename of the file."""

    def __init__(self, growing: GrowingFile, file: io.FileIO) -> None:
        self._growing = growing
        self._file = file
        self._at = 0

    def some(self, size: int) -> bytes:
        available = self._growing.available(self._at)
        if not available:
            return b""
        data = self._file.read(min(size, available))
        self._at += len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()
