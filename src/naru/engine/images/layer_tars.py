"""A layer's tar, wherever it can be had from: the driver that keeps it, or a blob that inflates to
it.

Its bytes are the same everywhere, so a storage driver that goes out of use in the middle is no end:
another source goes on from there. Who reads slowly holds nobody up: the driver is held for each
piece alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from naru.engine.images.library import Library
from naru.spec.errors import InternalError
from naru.spec.images import BlobRecord
from naru.spec.layers import LayerRecord
from naru.store.apart import writing
from naru.store.compression import Inflated, Readable
from naru.store.driver import KeepsTars, StorageDriver, StoresTars
from naru.store.read_ahead import ReadAhead

_PIECE = 1 << 20


class NoTar(InternalError):
    """The storage driver in use cannot write the tar of a layer."""


class LayerTars:
    def __init__(self, library: Library, *, inside: bool = False) -> None:
        """`inside`: for work in which the storage driver cannot go out of use anyway."""
        self._library = library
        self._inside = inside

    def kept_by_driver(self, diff_id: str) -> LayerRecord | None:
        """A layer of which the storage driver can write the tar."""
        records = self._library.records.layers.values()
        return next((r for r in records if r.diff_id == diff_id and self.keeps(r)), None)

    def keeps(self, layer: LayerRecord) -> bool:
        return _tar_size(self._library.layers.driver, layer) is not None

    def size(self, diff_id: str) -> int:
        """Bytes of the tar. Blocks where it has to be inflated to be measured."""
        with self._driver() as driver:
            record = self.kept_by_driver(diff_id)
            if record is not None and (size := _tar_size(driver, record)) is not None:
                return size
        blob = self._library.layer_blob(diff_id)
        if blob is not None and blob.plain_size:
            return blob.plain_size
        return sum(len(piece) for piece in self.pieces(diff_id))

    def pieces(self, diff_id: str) -> Iterator[bytes]:
        """The tar, verified: the last piece comes after the digest was found right. Blocks."""
        hashed = hashlib.sha256()
        last = b""
        for piece in self._unverified(diff_id):
            hashed.update(piece)
            if last:
                yield last
            last = piece
        found = "sha256:" + hashed.hexdigest()
        if found != diff_id:
            raise InternalError(f"layer {diff_id} is damaged: its tar has the digest {found}")
        yield last

    def _unverified(self, diff_id: str) -> Iterator[bytes]:
        done = 0
        blob = self._library.layer_blob(diff_id)
        stored = isinstance(self._library.layers.driver, StoresTars)
        # A thousand files take longer to read than a blob to inflate.
        if blob is None or (stored and self.kept_by_driver(diff_id) is not None):
            try:
                for piece in self.from_driver(diff_id):
                    done += len(piece)
                    yield piece
                return
            except NoTar:
                # What a migration takes the tar from leaves a blob in its place.
                blob = self._library.layer_blob(diff_id)
                if blob is None:
                    raise
        yield from _from(done, self._inflated(blob))

    def _inflated(self, blob: BlobRecord) -> Iterator[bytes]:
        with self._library.blobs.open(blob.id) as source, self._plain(source) as plain:
            while piece := plain.read(_PIECE):
                yield piece

    @contextlib.contextmanager
    def _plain(self, source: BinaryIO) -> Iterator[Readable]:
        """What the open blob inflates to: by a worker, while what it wrote is used."""
        if (workers := self._library.layers.workers) is None:
            yield Inflated(source)
            return
        with writing(workers, _inflate, fds=[source.fileno()]) as plain:
            yield plain

    def from_driver(self, diff_id: str) -> Iterator[bytes]:
        """The tar as the storage driver gives it, not verified; `NoTar` if not. Blocks."""
        return self._driven(lambda: self.kept_by_driver(diff_id))

    def of_layer(self, layer: LayerRecord) -> Iterator[bytes]:
        """The same of this one of all layers with that tar."""
        return self._driven(lambda: self._library.records.layers.get(layer.chain_id))

    def _driven(self, find: Callable[[], LayerRecord | None]) -> Iterator[bytes]:
        done = 0
        used: StorageDriver | None = None
        pieces: Iterator[bytes] = iter(())
        while True:
            with self._driver() as driver:
                if driver is not used:
                    used, pieces = driver, _from(done, _pieces(driver, find()))
                piece = next(pieces, None)
            if piece is None:
                return
            done += len(piece)
            yield piece

    def _driver(self) -> AbstractContextManager[StorageDriver]:
        layers = self._library.layers
        return contextlib.nullcontext(layers.driver) if self._inside else layers.reading_in_thread()


def _inflate(fds: list[int]) -> None:
    """In a worker: write to the first what the second inflates to."""
    with open(fds[0], "wb") as out, open(fds[1], "rb", buffering=0) as source:
        shutil.copyfileobj(ReadAhead(Inflated(source).read), out, _PIECE)


def _tar_size(driver: StorageDriver, layer: LayerRecord) -> int | None:
    if layer.diff_id and layer.driver == driver.name and isinstance(driver, KeepsTars):
        return driver.tar_size(layer.storage_id)
    return None


def _pieces(driver: StorageDriver, layer: LayerRecord | None) -> Iterator[bytes]:
    if layer is None or not isinstance(driver, KeepsTars) or _tar_size(driver, layer) is None:
        raise NoTar(f"the tar of layer {layer.diff_id if layer else ''} was not kept")
    return driver.tar_pieces(layer.storage_id)


def _from(offset: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Without the first `offset` bytes."""
    for piece in pieces:
        if offset < len(piece):
            yield piece[offset:] if offset else piece
            offset = 0
        else:
            offset -= len(piece)
