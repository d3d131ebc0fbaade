"""Does the image store hold what its records say, and nothing else? `naru system check`.

Every blob is read and hashed, so it takes as long as reading the data root does. Repair removes
what nothing needs and what is damaged; an image that lacks a part is named, not removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

from naru.engine.images.library import Library
from naru.spec.images import ImageRecord
from naru.spec.layers import chain_id


class Problem(NamedTuple):
    """`kind`: orphan-blob, damaged-blob, missing-blob, missing-layer, orphan-layer, loose-name."""

    kind: str
    what: str  # a digest, a storage id or a name
    text: str
    repaired: bool = False


class Check:
    def __init__(self, *, library: Library) -> None:
        self._library = library

    async def run(self, *, repair: bool = False) -> AsyncIterator[Problem]:
        """Each problem as it is found."""
        for problem in self._records():
            yield problem
        async for problem in self._blobs(repair=repair):
            yield problem
        async for problem in self._layers():
            yield problem
        if repair:
            await self._library.sweep()

    def _records(self) -> list[Problem]:
        problems = []
        records = self._library.records
        for image in records.images.values():
            problems += self._parts(image)
        for tag in records.tags.values():
            if tag.image_id not in records.images:
                problems.append(Problem("loose-name", tag.name, f"names no image: {tag.image_id}"))
        return problems

    def _parts(self, image: ImageRecord) -> list[Problem]:
        blobs, layers = self._library.blobs, self._library.layers
        problems = [
            Problem("missing-blob", digest, f"{what} of image {image.id}")
            for what, digest in (
                ("config", image.id), ("manifest", image.manifest), ("index", image.index)
            )
            if digest and not blobs.has(digest)
        ]  # fmt: skip
        chain: str | None = None
        for diff_id in image.diff_ids:
            chain = chain_id(chain, diff_id)
            if layers.get(chain) is None:
                problems.append(Problem("missing-layer", chain, f"of image {image.id}"))
        return problems

    async def _blobs(self, *, repair: bool) -> AsyncIterator[Problem]:
        library = self._library
        for digest in await asyncio.to_thread(lambda: list(library.blobs.digests())):
            needed = digest in library.needed_blobs() or library.blobs.is_leased(digest)
            if not needed:
                yield Problem("orphan-blob", digest, "no image needs it", repair)
            elif library.blobs.has(digest) and not await asyncio.to_thread(
                library.blobs.verify, digest
            ):
                if repair:
                    await asyncio.to_thread(library.blobs.remove, digest)
                yield Problem("damaged-blob", digest, "its bytes are not what it is named", repair)

    async def _layers(self) -> AsyncIterator[Problem]:
        library = self._library
        on_disk = set(await asyncio.to_thread(lambda: set(library.layers.driver.layers())))
        driver = library.layers.driver.name
        known = {r.storage_id: r for r in library.records.layers.values() if r.driver == driver}
        containers = {container.id for container in library.records.containers.values()}
        for storage_id, record in known.items():
            if storage_id not in on_disk:
                yield Problem("missing-layer", record.chain_id, f"{driver} has no {storage_id}")
        # Not repaired here: some may be in the making. Half-made ones go when the daemon starts.
        for storage_id in sorted(on_disk - set(known) - containers):
            yield Problem("orphan-layer", storage_id, f"in {driver}, and in no record")
