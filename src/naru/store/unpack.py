"""Unpack a layer tar through a storage driver, with its digest checked on the way."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from naru.kernel.workers import Workers
from naru.kernel.writeback import SyncAhead
from naru.spec.errors import InternalError, InvalidParameter, NoSpace
from naru.store.apart import fed, goes_apart
from naru.store.compression import Inflated, Readable
from naru.store.driver import StorageDriver
from naru.store.read_ahead import ReadAhead
from naru.store.room import Room, is_full, metered
from naru.store.tarentry import ExtractError, TarError

_PIECE = 1 << 20
_SYNC_STEP = 16 << 20


class Unpacked(NamedTuple):
    size: int  # bytes of the layer's files and symbolic links
    diff_id: str  # the tar's digest
    tar_size: int


class Unpacker:
    """Where layers are unpacked: with workers, and a driver that allows it, in one of those."""

    def __init__(
        self, root: Path, *, room: Room | None = None, workers: Workers | None = None
    ) -> None:
        """`root` is on the file system that holds the layers, `room` what must stay free there."""
        self._root = root
        self._room = room
        self._workers = workers
        self._synced = SyncAhead(root, _SYNC_STEP)  # what several small layers have written

    def unpack(
        self,
        driver: StorageDriver,
        layer: str,
        parent: str | None,
        source: Readable,
        stop: threading.Event | None = None,
        *,
        diff_id: str | None = None,
    ) -> Unpacked:
        """Make the layer from a tar, compressed or not; a failure, or `stop`, removes it again.

        `parent` None is also for a driver that `Stages`; `diff_id` is what the digest must be.
        """
        stop = stop or threading.Event()
        with undone(driver, layer):
            driver.create(layer, parent, writable=False)
            if workers := goes_apart(driver, self._workers):
                done, unsynced = fed(
                    workers, source, stop, _apply_apart, driver, layer, self._root, self._room
                )
                self._synced.wrote(unsynced)
            else:
                hashed = _Hashed(Inflated(source).read, _meter(self._room), stop)
                done = _apply(driver, layer, hashed, hashed)
            if diff_id is not None:
                check_digest(diff_id, done.diff_id)
        return done


def check_digest(expected: str, found: str) -> None:
    if found != expected:
        raise InvalidParameter(
            f"filesystem layer verification failed: expected {expected}, got {found}"
        )


def _apply_apart(
    fds: list[int], driver: StorageDriver, layer: str, root: Path, room: Room | None
) -> tuple[Unpacked, int]:
    """In a worker: read, inflated, hashed, unpacked and synced at the same time.

    -> what it was, and the bytes that no sync has begun to write to the disk.
    """
    check = _meter(room)
    synced = SyncAhead(root)
    with open(fds[0], "rb", buffering=0) as source:

        def passed(size: int) -> None:
            check(size)
            synced.wrote(size)

        hashed = _Hashed(ReadAhead(Inflated(source).read).read, passed)
        done = _apply(driver, layer, hashed, ReadAhead(hashed.read))
    return done, synced.close()


def _apply(
    driver: StorageDriver, layer: str, hashed: _Hashed, source: _Hashed | ReadAhead
) -> Unpacked:
    """`source` gives what passes `hashed`."""
    size = driver.apply(layer, cast(BinaryIO, source))
    while source.read(_PIECE):
        pass  # what follows the archive's end is hashed too
    return Unpacked(size, hashed.digest(), hashed.size)


@contextmanager
def undone(driver: StorageDriver, layer: str) -> Iterator[None]:
    """Where something fails the layer is removed, and the error says it in the engine's words."""
    try:
        yield
    except BaseException as error:
        driver.remove(layer)
        if isinstance(error, TarError | ExtractError):
            raise InvalidParameter(f"failed to register layer: {error}") from error
        if is_full(error) and isinstance(error, OSError):
            raise NoSpace(f"failed to register layer: no space left on device: {error}") from error
        if isinstance(error, OSError):
            raise InternalError(f"failed to register layer: {error}") from error
        raise


def _meter(room: Room | None) -> Callable[[int], None]:
    return metered(room, "unpacking a layer")


class _Hashed:
    """A reader that hashes what passes, and ends in the middle when told to stop."""

    def __init__(
        self,
        read: Callable[[int], bytes],
        passed: Callable[[int], None],
        stop: threading.Event | None = None,
    ) -> None:
        """`passed` is told of each piece, which is about to be written."""
        self._read = read
        self._hash = hashlib.sha256()
        self._stop = stop
        self._passed = passed
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        if self._stop is not None and self._stop.is_set():
            raise InternalError("the registration was cancelled")
        piece = self._read(size if size > 0 else _PIECE)
        self._passed(len(piece))
        self._hash.update(piece)
        self.size += len(piece)
        return piece

    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()
