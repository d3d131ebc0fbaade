"""Content-addressed blobs: `<root>/sha256/<hex>`, each verified before it appears under its name.

A blob that arrives is a file in `<root>/partial/` and can be read while it grows, so that unpacking
overlaps the download. What is there under a digest is complete and durable; which blobs are needed
is for the image records to say (`sweep`), and work under way holds a lease on what it uses.

The methods block on the disk: call them from worker threads, except those that say otherwise.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from naru.kernel.writeback import Writeback
from naru.spec.errors import InternalError, InvalidParameter, NotFound
from naru.spec.oci import MAX_DOCUMENT, digest_of
from naru.store.growing import GrowingFile, GrowingReader
from naru.store.room import Room, is_full, metered

_log = logging.getLogger(__name__)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PARTIAL_LIFE = 24 * 3600.0
"""Seconds for which a broken download is kept, to be resumed."""


class BlobStore:
    def __init__(self, root: Path, *, fsync: bool = True, room: Room | None = None) -> None:
        self._root = root
        self._fsync = fsync
        self._room = room
        self._named = root / "sha256"
        self._partial = root / "partial"
        self._leases: collections.Counter[str] = collections.Counter()
        self._released: set[str] = set()  # since the last sweep began
        self._spared: set[str] = set()
        self._growing: collections.Counter[str] = collections.Counter()
        """How many are at work on each half-made blob, by its name."""
        self._lock = threading.Lock()
        self._named.mkdir(parents=True, exist_ok=True)
        self._partial.mkdir(exist_ok=True)
        os.chmod(root, 0o700)

    def path(self, digest: str) -> Path:
        """Where a blob is or would be. Cheap."""
        if not _DIGEST.fullmatch(digest):
            raise InvalidParameter(f"unsupported digest: {digest}")
        return self._named / digest[7:]

    def has(self, digest: str) -> bool:
        """Whether it can be used: what the file system cannot find its way to is to be fetched
        again. Cheap enough for the event loop."""
        try:
            self.path(digest).stat()
        except OSError:
            return False
        return True

    def size(self, digest: str) -> int:
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise NotFound(f"blob {digest} not found") from None

    def open(self, digest: str) -> BinaryIO:
        try:
            return self.path(digest).open("rb", buffering=0)
        except FileNotFoundError:
            raise NotFound(f"blob {digest} not found") from None

    def read(self, digest: str) -> bytes:
        """A document (manifest, config) whole. Small: may be called on the event loop."""
        with self.open(digest) as file:
            data = file.read(MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT:
            raise InvalidParameter(f"{digest}: document of more than {MAX_DOCUMENT} bytes")
        return data

    def put(self, data: bytes) -> str:
        """Store a document -> its digest. Blocks for the disk."""
        digest = digest_of(data)
        if not self.has(digest):
            with self.ingest() as ingest:
                ingest.write(data)
                ingest.commit()
        return digest

    def ingest(self) -> Ingest:
        """A blob whose digest is not known before it is complete; removed if never committed."""
        return Ingest(self, self._partial / f"ingest-{uuid.uuid4().hex}")

    def download(self, digest: str, size: int) -> Download:
        """A blob whose digest and size are known; what an earlier attempt left is taken up."""
        self.path(digest)
        return Download(self, self._partial / digest[7:], digest, size)

    def remove(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)

    @contextlib.contextmanager
    def lease(self, digests: Iterable[str] = ()) -> Iterator[Lease]:
        """Keep these blobs from being swept, whether they are there yet or not. Cheap."""
        lease = Lease(self)
        try:
            for digest in digests:
                lease.add(digest)
            yield lease
        finally:
            with self._lock:
                self._released.update(lease.held)
                self._leases.subtract(lease.held)
                self._leases = +self._leases

    def is_leased(self, digest: str) -> bool:
        with self._lock:
            return bool(self._leases[digest])

    def spare(self, digests: Iterable[str]) -> None:
        """What nobody needs now may be asked for again soon: it stays until the next sweep."""
        self._spared.update(digests)

    def is_spared(self, digest: str) -> bool:
        return digest in self._spared

    def digests(self) -> Iterator[str]:
        for entry in os.scandir(self._named):
            yield "sha256:" + entry.name

    def begin_sweep(self) -> None:
        """Before it is asked what is needed: whose lease ends from now on is kept by `sweep`.

        A blob may be leased when that is asked, and needed when it is its turn.
        """
        with self._lock:
            self._released.clear()

    def sweep(self, needed: Iterable[str]) -> int:
        """Remove every blob that is neither needed nor leased -> bytes of disk freed."""
        keep = set(needed)
        freed = 0
        self._spared.clear()
        for entry in os.scandir(self._named):
            digest = "sha256:" + entry.name
            with self._lock:
                if digest in keep or self._leases[digest] or digest in self._released:
                    continue
                try:
                    size = entry.stat().st_blocks * 512
                    os.unlink(entry.path)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    # A file system with a fault: one file of it must not keep the daemon down.
                    _log.warning("blobs: %s is not removed: %s", digest, error)
                else:
                    freed += size
        return freed

    def leftovers(self) -> list[str]:
        """Names of half-made blobs that nobody is making; not those that can still be resumed."""
        oldest = time.time() - _PARTIAL_LIFE
        found = []
        for entry in os.scandir(self._partial):
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

    def forget_download(self, digest: str) -> None:
        """Remove what has arrived of a blob, unless somebody else is fetching it."""
        self.discard(self.path(digest).name)

    def discard(self, leftover: str) -> None:
        """Remove one, unless somebody has taken it up since."""
        with self._lock:
            if not self._growing[leftover]:
                (self._partial / leftover).unlink(missing_ok=True)

    def clean(self) -> None:
        """At start: remove what a crash left half made, but downloads that can be resumed."""
        for leftover in self.leftovers():
            try:
                self.discard(leftover)
            except OSError as error:
                _log.warning("blobs: the remains of %s are not removed: %s", leftover, error)

    def disk_usage(self) -> int:
        """Bytes on disk, half-made blobs included, as `du` counts them."""
        return sum(
            entry.stat().st_blocks * 512
            for folder in (self._named, self._partial)
            for entry in os.scandir(folder)
        )

    def verify(self, digest: str) -> bool:
        """Whether a blob's bytes still are what its name says."""
        with self.path(digest).open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest() == digest

    def check_room(self, what: str, need: int) -> None:
        """`NoSpace` where the disk has no room for `need` bytes. Cheap."""
        if self._room is not None:
            self._room.check(what, need)

    def _begin(self, path: Path) -> None:
        with self._lock:
            self._growing[path.name] += 1

    def _end(self, path: Path) -> None:
        with self._lock:
            self._growing[path.name] -= 1
            self._growing = +self._growing

    def _meter(self) -> Callable[[int], None]:
        return metered(self._room, "storing a blob")

    def _publish(self, partial: Path, fd: int, digest: str) -> None:
        if self._fsync:
            os.fdatasync(fd)
        os.rename(partial, self.path(digest))
        if self._fsync:
            folder = os.open(self._named, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


class Lease:
    """Blobs that work under way needs; it may take more of them as they become known."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self.held: list[str] = []

    def add(self, digest: str) -> None:
        with self._store._lock:
            self._store._leases[digest] += 1
        self.held.append(digest)


class Ingest:
    """A blob being written; a context that removes it unless `commit()` was called."""

    def __init__(self, store: BlobStore, path: Path) -> None:
        self._store = store
        self._path = path
        self._meter = store._meter()
        store._begin(path)
        try:
            self._file = path.open("xb", buffering=0)
        except BaseException:
            store._end(path)
            raise
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
        self._store._publish(self._path, self._file.fileno(), digest)
        return digest

    def __enter__(self) -> Ingest:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)
        self._store._end(self._path)


class Download:
    """A blob on its way: one writer, any number of readers that follow it.

    `offset` is how many bytes are there; it starts behind what an earlier attempt left.
    """

    def __init__(self, store: BlobStore, path: Path, digest: str, size: int) -> None:
        self._store = store
        self._path = path
        self._digest = digest
        self._hash = hashlib.sha256()
        self._meter = store._meter()
        store._begin(path)
        try:
            self._file = path.open("a+b", buffering=0)
        except BaseException:
            store._end(path)
            raise
        self._lock = threading.Lock()  # a cancelled writer's thread may still be at it
        self.size = size
        self.offset = 0
        self._take_up()
        self._writeback = Writeback(self._file.fileno(), self.offset)
        self._growing = GrowingFile(path, store.path(digest), self.offset)

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
        self._store._publish(self._path, self._file.fileno(), self._digest)

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
        self._store._end(self._path)
