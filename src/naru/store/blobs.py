"""Content-addressed blobs: `<root>/sha256/<hex>`, each verified before it appears under its name.

A blob that arrives is in `<root>/partial/` and can be read while it grows (see `partial_blobs`), so
that unpacking overlaps the download. What is there under a digest is complete and durable; which
blobs are needed is for the image records to say (`sweep`), and work under way holds a lease on what
it uses.

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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from naru.spec.errors import InternalError, InvalidParameter, NotFound
from naru.spec.oci import MAX_DOCUMENT, digest_of
from naru.store.partial_blobs import Download, Ingest, PartialBlobs
from naru.store.room import Room, metered

_log = logging.getLogger(__name__)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class BlobStore:
    def __init__(self, root: Path, *, fsync: bool = True, room: Room | None = None) -> None:
        self._root = root
        self._fsync = fsync
        self._room = room
        self._named = root / "sha256"
        self._leases: collections.Counter[str] = collections.Counter()
        self._released: set[str] = set()  # since the last sweep began
        self._spared: set[str] = set()
        self._lock = threading.Lock()
        self._named.mkdir(parents=True, exist_ok=True)
        self._partial = PartialBlobs(
            root / "partial",
            publish=self._publish,
            meter=lambda: metered(room, "storing a blob"),
        )
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
        """A document (manifest, config) whole, and verified: a bad disk gives another one that
        reads as well. Small: may be called on the event loop."""
        try:
            with self.open(digest) as file:
                data = file.read(MAX_DOCUMENT + 1)
        except OSError as error:
            raise InternalError(f"blob {digest} cannot be read: {error}") from error
        if len(data) > MAX_DOCUMENT:
            raise InvalidParameter(f"{digest}: document of more than {MAX_DOCUMENT} bytes")
        if digest_of(data) != digest:
            raise InternalError(f"blob {digest} is damaged: pull or load its image again")
        return data

    def put(self, data: bytes) -> str:
        """Store a document, in the place of a damaged one -> its digest. Blocks for the disk."""
        digest = digest_of(data)
        if not self._holds(digest, data):
            with self.ingest() as ingest:
                ingest.write(data)
                ingest.commit()
        return digest

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

    # -- half-made blobs ------------------------------------------------------------------------

    def _holds(self, digest: str, data: bytes) -> bool:
        """Undamaged: who brings it again may want just that."""
        try:
            return self.path(digest).read_bytes() == data
        except OSError:
            return False

    def ingest(self) -> Ingest:
        """A blob whose digest is not known before it is complete; removed if never committed."""
        return self._partial.ingest()

    def download(self, digest: str, size: int) -> Download:
        """A blob whose digest and size are known; what an earlier attempt left is taken up."""
        return self._partial.download(digest, size, self.path(digest))

    def leftovers(self) -> list[str]:
        """Names of half-made blobs that nobody is making; not those that can still be resumed."""
        return self._partial.leftovers()

    def discard(self, leftover: str) -> None:
        """Remove one, unless somebody has taken it up since."""
        self._partial.discard(leftover)

    def forget_download(self, digest: str) -> None:
        """Remove what has arrived of a blob, unless somebody else is fetching it."""
        self._partial.discard(self.path(digest).name)

    def clean(self) -> None:
        """At start: remove what a crash left half made, but downloads that can be resumed."""
        self._partial.clean()

    # -- all of them ----------------------------------------------------------------------------

    def disk_usage(self) -> int:
        """Bytes on disk, half-made blobs included, as `du` counts them."""
        return sum(
            entry.stat().st_blocks * 512
            for folder in (self._named, self._partial.folder)
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
