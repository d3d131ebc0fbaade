"""What BuildKit says of an image: provenance and SBOMs, as manifests that its index names too.

They come with the image that they are about, and stay: with them an index can be pushed whole. One
that cannot be had is no reason to do without the image.
https://docs.docker.com/build/metadata/attestations/attestation-storage/
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from naru.registry.repository import Fetched, Repository
from naru.registry.upload import Uploader
from naru.spec import oci
from naru.spec.errors import NaruError
from naru.spec.oci import Descriptor
from naru.store.blobs import BlobStore, Lease

log = logging.getLogger(__name__)


class Attestation(NamedTuple):
    """One that is kept: its manifest, as the index names it, and what that names."""

    entry: Descriptor
    parts: list[Descriptor]

    @property
    def digests(self) -> list[str]:
        return [self.entry.digest, *(part.digest for part in self.parts)]


async def fetch(
    repository: Repository, blobs: BlobStore, lease: Lease, index: Fetched, image: str
) -> list[str]:
    """Bring what attests to the manifest `image` -> the digests of all its blobs."""
    manifest = oci.read_manifest(index.data, index.media_type)
    found: list[str] = []
    for entry in manifest.manifests:
        if entry.attests == image:
            try:
                found += await _fetch_one(repository, blobs, lease, entry)
            except NaruError as error:
                log.warning("pull: an attestation of %s does not come along: %s", image, error)
    return found


async def _fetch_one(
    repository: Repository, blobs: BlobStore, lease: Lease, entry: Descriptor
) -> list[str]:
    lease.add(entry.digest)
    if blobs.has(entry.digest):
        data = await asyncio.to_thread(blobs.read, entry.digest)
    else:
        data = (await repository.manifest(entry.digest)).data
    parts = _parts(data)
    for part in parts:
        lease.add(part.digest)
        if not blobs.has(part.digest):
            # An SBOM may be larger than what is read whole.
            with blobs.ingest() as ingest:
                async for piece in repository.blob(part.digest, part.size):
                    await asyncio.to_thread(ingest.write, piece)
                await asyncio.to_thread(ingest.commit, part.digest)
    await asyncio.to_thread(blobs.put, data)
    return [entry.digest, *(part.digest for part in parts)]


def take_in(
    blobs: BlobStore, lease: Lease, index: bytes, image: str, bring: Callable[[str], None]
) -> list[str]:
    """As `fetch`, from an archive: `bring` has the blob store keep what the archive names by a
    digest, or raises a `NaruError`. Blocks for the disk."""
    found: list[str] = []
    for entry in oci.read_manifest(index).manifests:
        if entry.attests == image:
            try:
                found += _take_in_one(blobs, lease, entry, bring)
            except NaruError as error:
                log.warning("load: an attestation of %s does not come along: %s", image, error)
    return found


def _take_in_one(
    blobs: BlobStore, lease: Lease, entry: Descriptor, bring: Callable[[str], None]
) -> list[str]:
    lease.add(entry.digest)
    bring(entry.digest)
    parts = _parts(blobs.read(entry.digest))
    for part in parts:
        lease.add(part.digest)
        bring(part.digest)
    return [entry.digest, *(part.digest for part in parts)]


def kept(index: bytes, images: Collection[str], blobs: BlobStore) -> list[Attestation]:
    """Those of the manifests `images` that are here with all their blobs, as the index has them."""
    entries = oci.read_manifest(index).manifests
    found = (_kept(entry, blobs) for entry in entries if entry.attests in images)
    return [attestation for attestation in found if attestation is not None]


def is_here(entry: Descriptor, blobs: BlobStore) -> bool:
    """Whether an entry of an index is an attestation that is kept, with all its blobs."""
    return _kept(entry, blobs) is not None


def is_sound(attestation: Attestation, blobs: BlobStore) -> bool:
    """Whether all its blobs still are what their names say. Blocks: reads them."""
    try:
        sound = all(blobs.verify(digest) for digest in attestation.digests)
    except OSError:
        sound = False
    if not sound:
        log.warning("attestation %s is damaged: left out", attestation.entry.digest)
    return sound


def content(entry: Descriptor, blobs: BlobStore) -> int:
    """Bytes of one that is here."""
    data = blobs.read(entry.digest)
    return len(data) + sum(part.size for part in _parts(data))


async def push(uploader: Uploader, blobs: BlobStore, entries: Sequence[Descriptor]) -> None:
    """Send those that are here, each under its digest."""
    for entry in entries:
        data = await asyncio.to_thread(blobs.read, entry.digest)
        for part in _parts(data):
            if not await uploader.has(part.digest):
                path = blobs.path(part.digest)
                await uploader.upload(part.digest, part.size, path, lambda _: None)
        media_type = oci.read_manifest(data, entry.media_type).media_type
        await uploader.put_manifest(entry.digest, data, media_type)


def _kept(entry: Descriptor, blobs: BlobStore) -> Attestation | None:
    try:
        if entry.attests and blobs.has(entry.digest):
            parts = _parts(blobs.read(entry.digest))
            if all(blobs.has(part.digest) for part in parts):
                return Attestation(entry, parts)
    except NaruError as error:
        log.debug("attestation %s cannot be read: %s", entry.digest, error)
    return None


def _parts(manifest: bytes) -> list[Descriptor]:
    parsed = oci.read_manifest(manifest)
    return list(_unique([parsed.config, *parsed.layers]))


def _unique(descriptors: Sequence[Descriptor]) -> Iterator[Descriptor]:
    yield from {each.digest: each for each in descriptors if each.digest}.values()
