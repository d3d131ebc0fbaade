"""`GET /images/{name}/attestations`: what an image's attestations say, as in-toto statements.

BuildKit keeps each statement as a layer of an attestation manifest, whose annotation names the type
of its predicate. https://docs.docker.com/build/metadata/attestations/attestation-storage/
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from naru.engine.images.library import Library
from naru.spec import oci
from naru.spec.errors import InternalError, NotFound
from naru.spec.images import ImageRecord
from naru.spec.oci import Descriptor, Platform
from naru.store.blobs import BlobStore

_PREDICATE_TYPE = "in-toto.io/predicate-type"


async def statements(
    library: Library,
    ref: str,
    *,
    platform: Platform | None = None,
    types: Collection[str] = (),
    bodies: bool = False,
) -> list[dict[str, Any]]:
    """`AttestationStatement`s of the image for `platform`, or for this machine; of `types` alone,
    where any are given.
    """
    image = library.find(ref, platform)
    if platform is None and image.index:
        image = library.find(ref, oci.host_platform())
    return await asyncio.to_thread(_read, library.blobs, image, types, bodies)


def _read(
    blobs: BlobStore, image: ImageRecord, types: Collection[str], bodies: bool
) -> list[dict[str, Any]]:
    return [
        _shown(blobs, layer, predicate, bodies)
        for layer in _layers(blobs, image)
        if (predicate := layer.annotations.get(_PREDICATE_TYPE))
        and (not types or predicate in types)
    ]


def _layers(blobs: BlobStore, image: ImageRecord) -> Iterator[Descriptor]:
    if not image.index:
        return
    for entry in oci.read_manifest(blobs.read(image.index)).manifests:
        if entry.attests != image.manifest:
            continue
        if not blobs.has(entry.digest):
            raise NotFound(f"attestation {entry.digest} of {image.id} did not come with the image")
        yield from oci.read_manifest(blobs.read(entry.digest)).layers


def _shown(blobs: BlobStore, layer: Descriptor, predicate: str, body: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Descriptor": msgspec.to_builtins(layer),
        "PredicateType": predicate,
    }
    if body:
        shown["Statement"] = _statement(blobs, layer.digest)
    return shown


def _statement(blobs: BlobStore, digest: str) -> msgspec.Raw:
    """As its maker wrote it, and certainly JSON."""
    if not blobs.has(digest):
        raise InternalError(f"attestation statement {digest} is not available locally")
    data = blobs.read(digest)
    try:
        msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError as error:
        raise InternalError(f"attestation statement {digest}: {error}") from error
    return msgspec.Raw(data)
