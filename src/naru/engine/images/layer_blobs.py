"""The compressed blobs of layers that are unpacked here: kept, or dropped and made anew for a push.

A layer that came by a stream has none until it is pushed. With the policy `drop` one that was
pulled goes once it is unpacked, if it can be made again to the byte: that is tried out before. It
may leave a blob of notes in its place, a hundredth of its size (`store/recipes`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

import msgspec

from naru.engine.images.layer_tars import LayerTars, NoTar
from naru.engine.images.library import Library
from naru.spec.errors import InternalError
from naru.spec.images import BlobRecord, ImageRecord
from naru.spec.oci import DOCKER_LAYER_GZIP
from naru.store import recipes
from naru.store.blobs import Lease
from naru.store.named_locks import NamedLocks
from naru.store.records import put

log = logging.getLogger(__name__)


class NotKept(InternalError):
    """A compressed layer cannot be had any more in the form in which it came."""


class LayerBlobs:
    def __init__(self, *, library: Library, drop: bool) -> None:
        self._library = library
        self._tars = LayerTars(library)
        self._drop = drop
        self._making = NamedLocks()
        self._tried: set[str] = set()
        """Blobs that no recipe was found for: that takes long."""
        if drop and not library.recipes.takes_notes:
            log.info(
                "layer-blobs=drop: layers that Go's compressors made are kept twice, for want of"
                " numba (the extra `deflate` of naru-engine)"
            )

    async def of(self, diff_id: str, lease: Lease) -> BlobRecord:
        """A compressed blob of a layer, made where there never was one; it may not be here now."""
        async with self._making.hold(diff_id):
            for record in self._library.records.blobs.values():
                made = record.recipe and self._library.recipes.can(record.recipe)
                if record.diff_id == diff_id and (made or self._library.blobs.has(record.id)):
                    lease.add(record.id)
                    return record
            digest, size, plain = await asyncio.to_thread(
                self._make, recipes.OURS, diff_id, None, lease
            )
            record = BlobRecord(
                id=digest, size=size, media_type=DOCKER_LAYER_GZIP, diff_id=diff_id,
                plain_size=plain, created=time.time_ns(), recipe=recipes.OURS,
            )  # fmt: skip
            await self._library.records.commit(put(self._library.records.blobs, record))
            return record

    async def restore(self, digest: str, diff_id: str, lease: Lease) -> None:
        """Have the blob here, under the digest by which it came."""
        async with self._making.hold(diff_id):
            if self._library.blobs.has(digest):
                return
            record = self._library.records.blobs.get(digest)
            recipe = record.recipe if record else ""
            if digest == diff_id:
                recipe = recipes.PLAIN
            if not recipe:
                raise NotKept(f"layer {digest} was not kept, and cannot be made again")
            self._library.recipes.hold(recipe, lease)
            try:
                await asyncio.to_thread(self._make, recipe, diff_id, digest, lease)
            except recipes.Unmakable as error:
                raise NotKept(f"layer {digest} was not kept: {error}") from error
            if record is not None and not record.kept:
                kept = msgspec.structs.replace(record, kept=True)
                await self._library.records.commit(put(self._library.records.blobs, kept))

    def _make(
        self, recipe: str, diff_id: str, expected: str | None, lease: Lease
    ) -> tuple[str, int, int]:
        """-> (digest and size of the blob, size of the tar)"""
        plain = 0
        with self._library.blobs.ingest() as ingest:
            with self._library.recipes.compressor(recipe, ingest) as made:
                for piece in self._tars.pieces(diff_id):
                    plain += made.write(piece)
                made.close()
            lease.add(ingest.digest)
            return ingest.commit(expected), ingest.size, plain

    async def settle(self, image: ImageRecord) -> None:
        """After a pull or a push: drop what the policy wants dropped, and nobody is using."""
        if not self._drop:
            return
        with self._library.held() as hold:
            hold(image)
            for diff_id in image.diff_ids:
                if self._tars.kept_by_driver(diff_id) is not None:
                    for record in self._here(diff_id):
                        await self._settle(record)

    def _here(self, diff_id: str) -> Iterable[BlobRecord]:
        return [
            record
            for record in self._library.records.blobs.values()
            if record.diff_id == diff_id and self._library.blobs.has(record.id)
        ]

    async def _settle(self, record: BlobRecord) -> None:
        library = self._library
        if record.id in self._tried:
            return
        async with library.taking_in() as lease:
            # Verified before it is needed: the tar must come back, and the blob from it.
            recipe = await asyncio.to_thread(self._recipe, record, lease)
            if recipe is None:
                self._tried.add(record.id)
                return
            async with library.changing, library.layers.reading():
                known = library.records.blobs.get(record.id)
                if known is None or self._tars.kept_by_driver(record.diff_id) is None:
                    return
                if library.blobs.is_leased(record.id):
                    return
                gone = msgspec.structs.replace(known, recipe=recipe, kept=False)
                await library.records.commit(put(library.records.blobs, gone))
                await library.records.flush()  # how to make it again is known for good
                await asyncio.to_thread(library.blobs.remove, record.id)

    def _recipe(self, record: BlobRecord, lease: Lease) -> str | None:
        def tar() -> Iterable[bytes]:
            return self._tars.from_driver(record.diff_id)

        known = self._library.recipes
        try:
            if record.recipe and known.can(record.recipe):
                known.hold(record.recipe, lease)
                if known.rebuilt_digest(record.recipe, tar()) == record.id:
                    return record.recipe
            return known.find(record.id, tar, lease)
        except NoTar:  # the storage driver that could write it is no longer in use
            return None
