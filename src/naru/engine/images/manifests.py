"""Which manifests an image has: `Manifests` and `Descriptor` of the API, from its index and from
what of that is here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from naru.engine.images import attestations, platforms
from naru.engine.images.library import Library
from naru.spec.images import ImageRecord
from naru.spec.oci import Descriptor, Platform, read_manifest
from naru.spec.reference import Reference
from naru.store.blobs import BlobStore


class Manifests:
    def __init__(self, *, library: Library) -> None:
        self._library = library

    def as_named(self, image: ImageRecord, names: Sequence[Reference]) -> list[ImageRecord]:
        """With those of other platforms, as it came under names; as it came last, where it came
        under these in several forms."""
        ways = [self._library.find_all(str(name)) for name in names if name.tag]
        if ways and all(way == ways[0] for way in ways):
            return ways[0]
        return platforms.companions(image, self._library.records)

    def summaries(
        self, sharing: Sequence[ImageRecord], *, identity: bool = False
    ) -> list[dict[str, Any]]:
        """`ImageManifestSummary` of what the index names by which images came, or of one alone."""
        here = {each.manifest: each for each in sharing}
        shown = self._manifests(sharing[0], here)
        if identity:
            for item in shown:
                found = here.get(item["ID"])
                if found is not None and found.origins:
                    item["ImageData"]["Identity"] = identity_of(found)
        return shown

    def _manifests(
        self, image: ImageRecord, here: Mapping[str, ImageRecord]
    ) -> list[dict[str, Any]]:
        if not image.index:
            return [self._here(image, self._manifest(image.manifest))]
        return [
            self._here(here[entry.digest], entry)
            if entry.digest in here
            else _elsewhere(entry, self._library.blobs)
            for entry in self._entries(image)
        ]

    def _entries(self, image: ImageRecord) -> Sequence[Descriptor]:
        return read_manifest(self._library.blobs.read(image.index)).manifests if image.index else ()

    def _here(self, image: ImageRecord, descriptor: Descriptor) -> dict[str, Any]:
        blobs = self._library.blobs
        parts = {image.manifest, image.id, *(layer.digest for layer in image.layers)}
        content = sum(blobs.size(digest) for digest in parts if blobs.has(digest))
        containers = [
            c.id for c in self._library.records.containers.values() if c.image_id == image.id
        ]
        return {
            "ID": image.manifest,
            "Descriptor": _describe(descriptor),
            "Available": True,
            "Size": {"Content": content, "Total": content + image.size},
            "Kind": "image",
            "ImageData": {
                "Platform": _shown_platform(platforms.platform_of(image)),
                "Containers": containers,
                "Size": {"Unpacked": image.size},
            },
        }

    def descriptor(self, image: ImageRecord, *, alone: bool = False) -> dict[str, Any]:
        """Of what the image came by, or of its own manifest `alone`."""
        if alone:
            return _describe(self._described(image))
        return _describe(self._manifest(image.index or image.manifest))

    def _described(self, image: ImageRecord) -> Descriptor:
        """The image's manifest, as its index describes it, and with its platform."""
        found = self._manifest(image.manifest)
        for entry in self._entries(image):
            if entry.digest == image.manifest:
                found = entry
        platform = found.platform or platforms.platform_of(image)
        return msgspec.structs.replace(found, platform=platform)

    def _manifest(self, digest: str) -> Descriptor:
        data = self._library.blobs.read(digest)
        return Descriptor(media_type=read_manifest(data).media_type, digest=digest, size=len(data))


def identity_of(image: ImageRecord) -> dict[str, Any]:
    """`Identity`, for an image with origins: the registries that it was at, whatever its names."""
    return {"Pull": [{"Repository": repository} for repository in image.origins]}


def _describe(descriptor: Descriptor) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.annotations:
        shown["annotations"] = descriptor.annotations
    if descriptor.platform is not None:
        shown["platform"] = _shown_platform(descriptor.platform)
    return shown


def _shown_platform(platform: Platform) -> dict[str, Any]:
    shown = {"architecture": platform.architecture, "os": platform.os}
    return {**shown, "variant": platform.variant} if platform.variant else shown


def _elsewhere(entry: Descriptor, blobs: BlobStore) -> dict[str, Any]:
    """What an index names that is no image here."""
    shown: dict[str, Any] = {
        "ID": entry.digest,
        "Descriptor": _describe(entry),
        "Available": False,
        "Size": {"Content": 0, "Total": 0},
    }
    if entry.attests:
        if attestations.is_here(entry, blobs):
            size = attestations.content(entry, blobs)
            shown |= {"Available": True, "Size": {"Content": size, "Total": size}}
        return {**shown, "Kind": "attestation", "AttestationData": {"For": entry.attests}}
    platform = _shown_platform(entry.platform or Platform())
    data = {"Platform": platform, "Containers": [], "Size": {"Unpacked": 0}}
    return {**shown, "Kind": "image", "ImageData": data}
