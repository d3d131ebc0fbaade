"""A layer's tar, wherever it can be had from: the driver that keeps it, or a blob that inflates to
it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from naru.engine.images.library import Library
from naru.spec.errors import InternalError
from naru.spec.layers import LayerRecord
from naru.store.compression import Inflated
from naru.store.driver import KeepsTars

_PIECE = 1 << 20


class LayerTars:
    def __init__(self, library: Library) -> None:
        self._library = library

    def kept_by_driver(self, diff_id: str) -> LayerRecord | None:
        """A layer of which the storage driver can write the tar."""
        records = self._library.records.layers.values()
        return next((r for r in records if r.diff_id == diff_id and self.keeps(r)), None)

    def keeps(self, layer: LayerRecord) -> bool:
        driver = self._library.layers.driver
        return (
            isinstance(driver, KeepsTars)
            and layer.driver == driver.name
            and bool(layer.diff_id)
            and driver.tar_size(layer.storage_id) is not None
        )

    def size(self, diff_id: str) -> int:
        """Bytes of the tar. Blocks where it has to be inflated to be measured."""
        driver = self._library.layers.driver
        if (record := self.kept_by_driver(diff_id)) is not None and isinstance(driver, KeepsTars):
            size = driver.tar_size(record.storage_id)
            if size is not None:
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
        blob = self._library.layer_blob(diff_id)
        if blob is not None:  # quicker to inflate than a thousand files are to read
            with self._library.blobs.open(blob.id) as source:
                plain = Inflated(source)
                while piece := plain.read(_PIECE):
                    yield piece
            return
        yield from self.from_driver(diff_id)

    def from_driver(self, diff_id: str) -> Iterator[bytes]:
        """The tar as the storage driver gives it, not verified. Blocks."""
        driver = self._library.layers.driver
        record = self.kept_by_driver(diff_id)
        if record is None or not isinstance(driver, KeepsTars):
            raise InternalError(f"the tar of layer {diff_id} was not kept")
        yield from driver.tar_pieces(record.storage_id)
