"""Blobs that are half made: each is a file that grows, and can be read meanwhile.

What is whole is verified, and given to whoever publishes it under its digest. The methods block on
the disk.
"""

from __future__ import annotations

import collections
import hashlib
import io
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from naru.kernel.writeback import Writeback
from naru.spec.errors import InternalError, InvalidParameter
from naru.store.growing import GrowingFile, GrowingReader
from naru.store.room import is_full

_log = logging.getLogger(__name__)

_PARTIAL_LIFE = 24 * 3600.0
"""Seconds for which a broken download is kept, to be resumed."""


class PartialBlobs:
    """Those in the directory `folder`."""

    def __init__(
        self,
        folder: Path,
        *,
        publish: Callable[[Path, int, str], None],
        meter: Callable[[], Callable[[int], None]],
    ) -> None:
        """`publish(path, fd, digest)` moves a whole one away; `meter` makes what each is to tell of
        the bytes that it is about to write."""
        self.folder = folder
        self.publish = publish
        self.meter = meter
        self._growing: collections.Counter[str] = collections.Counter()
        """How many are at work on each, by its name."""
        self._lock = threading.Lock()
        folder.mkdir(exist_ok=True)

    def ingest(self) -> Ingest:
        return Ingest(self, self.folder / f"ingest-{uuid.uuid4().hex}")

    def download(self, digest: str, size: int, final: Path) -> Download:
        """`final` is where it will be published."""
        return Download(self, self.folder / final.name, digest, size, final)

    def leftovers(self) -> list[str]:
        """Names of half-made blobs that nobody is making; not those that can still be resumed."""
        oldest = time.time() - _PARTIAL_LIFE
        found = []
        for entry in os.scandir(self.folder):
            try:
                old = entry.name.startswith("ingest-") or entry.stat().st_mtime < oldest
            except FileNotFoundError:
                continue
            except OSError:
                old = True  # and of no use: its file system cannot find its way to it
            if old:
                found.append(entry.name)
        with self._lock:
            # Asked last: what is made meanwhile is known by now.
            return [name for name in found if not self._growing[name]]

    def discard(self, leftover: str) -> None:
        """Remove one, unless somebody has taken it up since."""
        with self._lock:
            if not self._growing[leftover]:
                (self.folder / leftover).unlink(missing_ok=True)

    def clean(self) -> None:
        """At start: remove what a crash left half made, but downloads that can be resumed."""
        for leftover in self.leftovers():
            try:
                self.discard(leftover)
            except OSError as error:
                _log.warning("blobs: the remains of %s are not removed: %s", leftover, error)

    def open(self, path: Path, mode: Literal["xb", "a+b"]) -> io.FileIO:
        """To be at work on it, until `ended`."""
        with self._lock:
            self._growing[path.name] += 1
        try:
            return path.open(mode, buffering=0)
        except BaseException:
            self.ended(path)
            raise

    def ended(self, path: Path) -> None:
        with self._lock:
            self._growing[path.name] -= 1
            self._growing = +self._growing


class Ingest:
    """A blob being written; a context that removes it unless `commit()` was called."""

    def __init__(self, place: PartialBlobs, path: Path) -> None:
        self._place = place
        self._path = path
        self._meter = place.meter()
        self._file = place.open(path, "xb")
        self._writeback = Writeback(self._file.fileno())
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> int:
        view = memoryview(data)
        size = len(view)
        self._meter(size)
        self._hash.update(view)
        while view:
            view = view[self._file.write(view) :]
        self.size += size
        self._writeback.wrote(self.size)
        return size

    @property
    def digest(self) -> str:
        """Of what was written so far."""
        return "sha256:" + self._hash.hexdigest()

    def commit(self, expected: str | None = None) -> str:
        """Make the blob appear -> its digest. `InvalidParameter` if another was expected."""
        digest = self.digest
        if expected is not None and digest != expected:
            raise InvalidParameter(f"blob digest mismatch: expected {expected}, got {digest}")
        self._place.publish(self._path, self._file.fileno(), digest)
        return digest

    def __enter__(self) -> Ingest:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)
        self._place.ended(self._path)


class Download:
    """A blob on its way: one writer, any number of readers that follow it.

    `offset` is how many bytes are there; it starts behind what an earlier attempt left.
    """

    def __init__(
        self, place: PartialBlobs, path: Path, digest: str, size: int, final: Path
    ) -> None:
        self._place = place
        self._path = path
        self._digest = digest
        self._hash = hashlib.sha256()
        self._meter = place.meter()
        self._file = place.open(path, "a+b")
        self._lock = threading.Lock()  # a cancelled writer's thread may still be at it
        self.size = size
        self.offset = 0
        self._take_up()
        self._writeback = Writeback(self._file.fileno(), self.offset)
        self._growing = GrowingFile(path, final, self.offset)

    def _take_up(self) -> None:
        self._file.seek(0)
        while piece := self._file.read(1 << 20):
            self._hash.update(piece)
            self.offset += len(piece)
        if self.offset > self.size:
            self._reset_file()

    def _reset_file(self) -> None:
        self._file.truncate(0)
        self._hash = hashlib.sha256()
        self.offset = 0

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        with self._lock:
            if self.offset + len(view) > self.size:
                raise InternalError(f"{self._digest}: more than the {self.size} bytes announced")
            self._meter(len(view))
            self._hash.update(view)
            while view:
                written = self._file.write(view)
                view = view[written:]
                self.offset += written
        self._growing.grown(self.offset)
        self._writeback.wrote(self.offset)

    def reader(self) -> GrowingReader:
        """Read from the start; waits for bytes that are not there yet."""
        return self._growing.reader()

    def commit(self) -> None:
        """Verify size and digest, then let the blob appear. A wrong one is thrown away."""
        digest = "sha256:" + self._hash.hexdigest()
        if self.offset != self.size or digest != self._digest:
            self._path.unlink(missing_ok=True)
            error = InternalError(
                f"filesystem layer verification failed for digest {self._digest}"
                if self.offset == self.size
                else f"{self._digest}: {self.offset} bytes of {self.size} arrived"
            )
            self._growing.fail(error)
            raise error
        self._growing.complete()
        self._place.publish(self._path, self._file.fileno(), self._digest)

    def fail(self, error: BaseException) -> None:
        """Give up: readers get an error, the bytes stay for the next attempt.

        Not where it was for want of space: they would keep the disk full.
        """
        self._growing.fail(error)
        if is_full(error):
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        self._growing.fail(InternalError("the download was abandoned"))
        with self._lock:
            self._file.close()
        self._place.ended(self._path)
