"""Images: the documents that they are made of are there, and names lead to images."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator

from naru.engine.check.finding import Finding
from naru.engine.images.library import Library
from naru.spec import reference as references
from naru.spec.images import ImageRecord, TagRecord
from naru.spec.layers import chains
from naru.store.records import delete

AGAIN = "pull or load the image again, or remove it"


class ImageInspection:
    def __init__(self, *, library: Library) -> None:
        self._library = library

    async def findings(self, *, verify: bool) -> AsyncIterator[Finding]:
        for image in self._library.records.images.values():
            for finding in self._parts(image):
                yield finding
        for tag in self._library.records.tags.values():
            for finding in self._documents(tag):
                yield finding
            if tag.image_id not in self._library.records.images:
                yield Finding(
                    "loose-name", tag.name, f"it names no image: {tag.image_id}",
                    functools.partial(self._untag, tag.name), "remove the name",
                )  # fmt: skip

    def _parts(self, image: ImageRecord) -> list[Finding]:
        blobs, layers = self._library.blobs, self._library.layers
        name = self._shown(image)
        found = [
            Finding("missing-blob", digest, f"it is the {what} of image {name}", remedy=AGAIN)
            for what, digest in (
                ("config", image.id), ("manifest", image.manifest), ("index", image.index)
            )
            if digest and not blobs.has(digest)
        ]  # fmt: skip
        for chain in chains(image.diff_ids):
            if layers.get(chain) is None:
                found.append(Finding("missing-layer", chain, f"image {name} has it", remedy=AGAIN))
        return found

    def _documents(self, tag: TagRecord) -> list[Finding]:
        """What a name needs that its image does not, having come otherwise last."""
        blobs, images = self._library.blobs, self._library.records.images
        name = references.parse(tag.name).familiar
        return [
            Finding("missing-blob", digest, f"it is the {what} of image {name}", remedy=AGAIN)
            for image, arrival in tag.arrivals.items()
            if (own := images.get(image)) is not None
            for what, digest in (("manifest", arrival.manifest), ("index", arrival.index))
            if digest not in ("", own.manifest, own.index) and not blobs.has(digest)
        ]

    def _shown(self, image: ImageRecord) -> str:
        names = self._library.names_of(image.id)
        return names[0].familiar if names else image.id.removeprefix("sha256:")[:12]

    async def _untag(self, name: str) -> None:
        records = self._library.records
        async with self._library.changing:
            tag = records.tags.get(name)
            if tag is not None and tag.image_id not in records.images:
                await records.commit(delete(records.tags, name))
