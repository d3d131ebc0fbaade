"""What no image needs any more is swept: layers, and blobs of every kind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from naru.engine.images import arrivals
from naru.store.blobs import BlobStore
from naru.store.layers import LayerStore
from naru.store.recipes import notes_of
from naru.store.records import Records, delete


class Sweeper:
    def __init__(
        self, *, records: Records, blobs: BlobStore, layers: LayerStore, changing: asyncio.Lock
    ) -> None:
        """`changing` is held by whoever changes names and images."""
        self._records = records
        self._blobs = blobs
        self._layers = layers
        self._changing = changing
        self._sweeping = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def sweeping(self) -> AsyncIterator[None]:
        """Where images and names change: what only those that are gone or moved needed goes."""
        before = self.needed_blobs()
        yield
        if before - self.needed_blobs():
            await self.sweep()

    async def sweep(self) -> int:
        """Remove layers and blobs that no image needs -> bytes of the blobs freed."""
        async with self._sweeping:
            return await self._sweep()

    async def settled(self) -> None:
        """Wait for the removals that have begun: what is unneeded after it is so for good."""
        async with self._changing:
            pass
        async with self._sweeping:
            pass

    async def _sweep(self) -> int:
        await self._layers.release_unused()
        # What an image needed has lost its record for good, before it is gone.
        await self._records.flush()
        self._blobs.begin_sweep()
        needed = self.needed_blobs()
        freed = await asyncio.to_thread(self._blobs.sweep, needed)
        gone = [
            b.id
            for b in self._records.blobs.values()
            # Where one that was not kept may be had is remembered as long as an image needs it.
            if not self._blobs.has(b.id) and (b.kept or b.id not in needed)
        ]
        if gone:
            await self._records.commit(*(delete(self._records.blobs, blob) for blob in gone))
        return freed

    def needed_blobs(self) -> set[str]:
        needed: set[str] = set()
        diff_ids: set[str] = set()
        for image in self._records.images.values():
            needed.add(image.id)
            needed.update(arrivals.digests(image))
            diff_ids.update(image.diff_ids)
        for tag in self._records.tags.values():
            needed.add(tag.name.partition("@")[2])
            for arrival in tag.arrivals.values():
                needed.update(arrivals.digests(arrival))
        for blob in self._records.blobs.values():
            if blob.diff_id in diff_ids:
                needed.update((blob.id, notes_of(blob.recipe)))
        needed.discard("")
        return needed

    async def recover(self) -> None:
        """At start, after the layers' own recovery: nothing half made stays on the disk."""
        await asyncio.to_thread(self._blobs.clean)
        for blob in self._records.blobs.values():
            if blob.recipe and not blob.kept:  # it was about to be removed
                self._blobs.remove(blob.id)
        with contextlib.suppress(FileNotFoundError):
            await self.sweep()
