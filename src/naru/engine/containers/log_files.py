"""The files of one container's log: `<id>-json.log`, its rotated `.1`, `.2`, ... and `.N.gz`.

Each file has a generation, counted from 0 when the daemon opens the log; the current one is the
highest. A rotated file keeps its generation while its name changes, which is what lets a reader
follow across rotations.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import IO, NamedTuple

_MODE = 0o640


class OpenFile(NamedTuple):
    generation: int
    file: IO[bytes]
    compressed: bool


class LogFiles:
    """`max_size` None: one file that grows. Writing is one thread's; reading is anybody's."""

    def __init__(
        self,
        path: Path,
        *,
        max_size: int | None = None,
        max_files: int = 1,
        compress: bool = False,
        compressor: Executor | None = None,
    ) -> None:
        self.path = path
        self.size = 0
        self.generation = 0
        self._max_size = max_size
        self._max_files = max_files
        self._compressor = compressor if compress else None
        self._fd: int | None = None
        self._names = threading.Lock()
        """Held while files change their names, and while readers open them by name."""

    # Writing

    def open(self) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE)
        self._fd = fd
        self.size = os.fstat(fd).st_size

    def truncate(self, size: int) -> None:
        assert self._fd is not None
        os.ftruncate(self._fd, size)
        self.size = size

    def append(self, lines: bytes, *, rotated: Callable[[int], None]) -> None:
        """Write complete lines; rotate where a file is full.

        `rotated(n)` is called around each rotation, with the bytes of `lines` written so far: once
        before it, when the full file is complete, and once after it. When the disk refuses, the
        file is left as it was and `OSError` raised.
        """
        if self._fd is None:
            self.open()  # the disk refused it at the last rotation
        if self._max_size is None:
            self._write(lines)
            return
        at = 0
        while at < len(lines):
            if self.size >= self._max_size:
                rotated(at)
                self._rotate()
                rotated(at)
            room = self._max_size - self.size
            end = lines.find(b"\n", min(at + room - 1, len(lines) - 1)) + 1
            self._write(lines[at:end])
            at = end

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _write(self, lines: bytes) -> None:
        assert self._fd is not None
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.size)
            raise
        self.size += len(lines)

    def _rotate(self) -> None:
        self.close()
        with self._names:
            for index in range(self._max_files - 1, 0, -1):
                for suffix in ("", ".gz"):
                    source = self.path if index == 1 else self._rotated(index - 1)
                    if index == 1 and suffix:
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        os.replace(f"{source}{suffix}", f"{self._rotated(index)}{suffix}")
                        # The other form of the file that this one replaces.
                        other = ".gz" if not suffix else ""
                        os.unlink(f"{self._rotated(index)}{other}")
            if self._max_files == 1:
                # Not truncated: who reads the old file may still read it to its end.
                self.path.unlink(missing_ok=True)
            self.generation += 1
            self.open()
        if self._compressor is not None:
            self._compressor.submit(self._compress, self.generation - 1)

    def _compress(self, generation: int) -> None:
        temporary = self.path.with_name(f"{self.path.name}.compressing")
        with self._names:
            source = self._rotated(self.generation - generation)
            if not source.exists():
                return
            plain = source.open("rb")
        try:
            with plain, gzip.open(temporary, "wb") as packed:
                shutil.copyfileobj(plain, packed, 1 << 20)
            os.chmod(temporary, _MODE)
            with self._names:
                # Further rotations may have moved it on, or away.
                source = self._rotated(self.generation - generation)
                if source.exists():
                    os.replace(temporary, f"{source}.gz")
                    source.unlink()
        finally:
            temporary.unlink(missing_ok=True)

    def _rotated(self, index: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{index}")

    # Reading

    def open_since(self, generation: int | None = None) -> list[OpenFile]:
        """Open the files from `generation` on (all: None), oldest first. The caller closes them."""
        opened = []
        with self._names:
            for index in range(self._max_files - 1, -1, -1):
                of_index = self.generation - index
                if generation is not None and of_index < generation:
                    continue
                path = self._rotated(index) if index else self.path
                for name, compressed in ((path, False), (Path(f"{path}.gz"), True)):
                    with contextlib.suppress(FileNotFoundError):
                        opened.append(OpenFile(of_index, open(name, "rb"), compressed))  # noqa: SIM115
                        break
        return opened

    def remove(self) -> None:
        for index in range(self._max_files):
            path = self._rotated(index) if index else self.path
            path.unlink(missing_ok=True)
            Path(f"{path}.gz").unlink(missing_ok=True)
