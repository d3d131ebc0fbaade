"""Blobs: those that nobody needs, that are not all there, or not what they are named."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator

import msgspec

from naru.engine.check.finding import Finding
from naru.engine.images.library import Library
from naru.spec.errors import NotFound
from naru.store.recipes import notes_of
from naru.store.records import delete, put


class BlobInspection:
    def __init__(self, *, library: Library) -> None:
        self._library = library

    async def findings(self, *, verify: bool) -> AsyncIterator[Finding]:
        for leftover in await asyncio.to_thread(self._library.blobs.leftovers):
            yield Finding(
                "half-done", f"blobs/partial/{leftover}", "a blob that nobody is making",
                functools.partial(asyncio.to_thread, self._library.blobs.discard, leftover),
                "remove it",
            )  # fmt: skip
        for digest in await self._orphans():
            yield Finding(
                "orphan-blob", digest, "no image needs it", self._library.sweeper.sweep, "remove it"
            )
        async for finding in self._contents(verify=verify):
            yield finding
        needed = self._library.sweeper.needed_blobs()
        for blob in self._library.records.blobs.values():
            # It is remembered how or where it may be had, and no file is kept of it.
            elsewhere = not blob.kept and blob.id in needed
            notes = notes_of(blob.recipe)
            if elsewhere and notes and not self._library.blobs.has(notes):
                yield Finding(
                    "missing-blob", notes, f"layer {blob.id} cannot be compressed again without it",
                    functools.partial(self._forget_recipe, blob.id), "forget how it was made",
                )  # fmt: skip
            if elsewhere or self._library.blobs.has(blob.id):
                continue
            if not self._library.blobs.is_leased(blob.id):
                yield Finding(
                    "missing-blob", blob.id, "it has a record, and no file",
                    functools.partial(self._forget, blob.id), "remove the record",
                )  # fmt: skip

    async def _orphans(self) -> list[str]:
        blobs = self._library.blobs
        here = await asyncio.to_thread(lambda: list(blobs.digests()))
        unneeded = self._unneeded(here)
        if unneeded:
            await self._library.sweeper.settled()
        return [digest for digest in self._unneeded(unneeded) if blobs.has(digest)]

    def _unneeded(self, digests: list[str]) -> list[str]:
        needed, blobs = self._library.sweeper.needed_blobs(), self._library.blobs
        return [
            each
            for each in digests
            if not (each in needed or blobs.is_leased(each) or blobs.is_spared(each))
        ]

    async def _contents(self, *, verify: bool) -> AsyncIterator[Finding]:
        blobs, sizes = self._library.blobs, self._sizes()
        for digest in sorted(self._library.sweeper.needed_blobs()):
            text = await asyncio.to_thread(self._fault, digest, sizes.get(digest), verify)
            # Still needed, and still there: an image may be removed while its blobs are read.
            if text and digest in self._library.sweeper.needed_blobs() and blobs.has(digest):
                yield Finding(
                    "damaged-blob", digest, text, functools.partial(self._remove, digest),
                    "remove it",
                )  # fmt: skip

    def _fault(self, digest: str, size: int | None, verify: bool) -> str:
        blobs = self._library.blobs
        try:
            found = blobs.size(digest)
            if size is not None and found != size:
                return f"it has {found} bytes instead of {size}"
            if verify and not blobs.verify(digest):
                return "its bytes are not what it is named"
        except (NotFound, FileNotFoundError):
            pass  # that is for others to judge
        except OSError as error:
            return f"it cannot be read: {error}"
        return ""

    def _sizes(self) -> dict[str, int]:
        records = self._library.records
        sizes = {blob.id: blob.size for blob in records.blobs.values()}
        for image in records.images.values():
            sizes |= {layer.digest: layer.size for layer in image.layers}
        return sizes

    async def _remove(self, digest: str) -> None:
        record = self._library.records.blobs.get(digest)
        if record is None or not record.recipe:
            await self._forget(digest)
        await asyncio.to_thread(self._library.blobs.remove, digest)

    async def _forget_recipe(self, digest: str) -> None:
        records = self._library.records
        if (blob := records.blobs.get(digest)) is not None:
            forgetting = msgspec.structs.replace(blob, recipe="")
            await records.commit(put(records.blobs, forgetting))

    async def _forget(self, digest: str) -> None:
        records = self._library.records
        if digest in records.blobs:
            await records.commit(delete(records.blobs, digest))
