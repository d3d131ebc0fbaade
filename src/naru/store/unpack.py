"""Unpack a layer tar through a storage driver, with its digest checked on the way."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from naru.spec.errors import InternalError, InvalidParameter, NoSpace
from naru.store.driver import StorageDriver
from naru.store.extract import ExtractError
from naru.store.room import Room, is_full
from naru.store.tarentry import TarError

_PIECE = 1 << 20


def unpack(
    driver: StorageDriver,
    layer: str,
    parent: str | None,
    diff_id: str,
    tar: BinaryIO,
    stop: threading.Event,
    room: Room | None = None,
) -> int:
    """Make the layer from `tar` -> bytes of its files. A failure, or `stop`, removes it again."""
    with undone(driver, layer):
        size, found = _apply(driver, layer, parent, tar, stop, room)
        check_digest(diff_id, found)
    return size


def stage(
    driver: StorageDriver,
    layer: str,
    tar: BinaryIO,
    stop: threading.Event,
    room: Room | None = None,
) -> tuple[int, str]:
    """Make the layer from `tar`, over nothing yet -> (bytes of its files, the tar's digest)."""
    with undone(driver, layer):
        return _apply(driver, layer, None, tar, stop, room)


def check_digest(expected: str, found: str) -> None:
    if found != expected:
        raise InvalidParameter(
            f"filesystem layer verification failed: expected {expected}, got {found}"
        )


def _apply(
    driver: StorageDriver,
    layer: str,
    parent: str | None,
    tar: BinaryIO,
    stop: threading.Event,
    room: Room | None,
) -> tuple[int, str]:
    hashed = _Hashed(tar, stop, room)
    driver.create(layer, parent, writable=False)
    size = driver.apply(layer, cast(BinaryIO, hashed))
    hashed.drain()
    return size, hashed.digest()


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


class _Hashed:
    """A reader that hashes what passes, and ends in the middle when told to stop."""

    def __init__(self, source: BinaryIO, stop: threading.Event, room: Room | None) -> None:
        self._read: Callable[[int], bytes] = getattr(source, "read1", None) or source.read
        self._hash = hashlib.sha256()
        self._stop = stop
        # What is read is about to be written.
        self._meter = room.meter("unpacking a layer") if room else lambda size: None

    def read(self, size: int = -1) -> bytes:
        if self._stop.is_set():
            raise InternalError("the registration was cancelled")
        piece = self._read(size if size > 0 else _PIECE)
        self._meter(len(piece))
        self._hash.update(piece)
        return piece

    def drain(self) -> None:
        while self.read():
            pass

    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()
