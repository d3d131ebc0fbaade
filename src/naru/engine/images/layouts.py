"""What the index.json of an OCI layout says: which images are there, under which names, and by
which index each came.

An image may be named by an index within index.json, or by index.json itself, with what attests to
it beside it. Of those an index is made, as if they had come in one: by it what attests to an image
is found, and goes out with it.
https://github.com/opencontainers/image-spec/blob/main/image-layout.md#indexjson-file
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from naru.engine.images.layer_intake import Arrived
from naru.engine.images.received import Received, blob_name
from naru.spec import oci
from naru.spec import reference as references
from naru.spec.errors import NaruError
from naru.spec.oci import Descriptor, Platform
from naru.spec.reference import Reference


class LaidOut(NamedTuple):
    """One image of a layout; `came_by` is the index that names it, or one made for it."""

    names: list[Reference]
    manifest: bytes
    media_type: str  # of the manifest, where that does not say itself
    came_by: bytes | None


def says_more(received: Received) -> bool:
    """Whether there is an index.json with what a docker-archive cannot say: platforms, and what
    attests to an image."""
    if not received.has("index.json"):
        return False
    top = _top(received)
    digests = {entry.digest for entry in top}
    return any(e.media_type in oci.INDEX_TYPES or e.attests in digests for e in top)


def images(received: Received, platforms: Sequence[Platform] | None) -> Iterator[LaidOut]:
    """Those of a layout for `platforms`, as far as the layout says what they are for."""
    top = _top(received)
    for entry in top:
        if not _is_no_image(entry):
            names = _names(entry)
            for data, index in _manifests(received, entry, top, platforms):
                yield LaidOut(names, data, entry.media_type, index)


def beside(received: Received, config: bytes, layers: Sequence[Arrived]) -> bytes | None:
    """The manifest of an image of a docker-archive, where there is one with the same config and
    layers in the same form; `Received.named` may be asked for these.

    Of plain tars a save makes its manifest: one that is no other is worth nothing.
    """
    for entry in _top(received) if received.has("index.json") else ():
        with contextlib.suppress(NaruError):  # it may name what is not in the archive
            data = received.document(blob_name(entry.digest))
            manifest = oci.read_manifest(data, entry.media_type)
            digests = (oci.digest_of(data), manifest.config.digest)
            if (
                digests == (entry.digest, oci.digest_of(config))
                and [received.named(layer) for layer in manifest.layers] == list(layers)
            ):  # fmt: skip
                tars = [(layer.digest, layer.size) for layer in manifest.layers]
                return data if data != of_tars(config, tars) else None
    return None


def of_tars(config: bytes, tars: Sequence[tuple[str, int]]) -> bytes:
    """The manifest of an image whose layers are plain tars, by (digest, size)."""
    return msgspec.json.encode({
        "schemaVersion": 2,
        "mediaType": oci.OCI_MANIFEST,
        "config": {
            "mediaType": oci.OCI_CONFIG, "digest": oci.digest_of(config), "size": len(config),
        },
        "layers": [
            {"mediaType": oci.OCI_LAYER, "digest": digest, "size": size} for digest, size in tars
        ],
    })  # fmt: skip


def is_wanted(offered: Platform, platforms: Sequence[Platform] | None) -> bool:
    return not platforms or any(oci.platform_matches(wanted, offered) for wanted in platforms)


def _top(received: Received) -> list[Descriptor]:
    return oci.read_manifest(received.document("index.json"), oci.OCI_INDEX).manifests


def _manifests(
    received: Received,
    entry: Descriptor,
    top: Sequence[Descriptor],
    platforms: Sequence[Platform] | None,
) -> list[tuple[bytes, bytes | None]]:
    """The manifests below an entry of index.json, each with its index."""
    data = received.document(blob_name(entry.digest))
    manifest = oci.read_manifest(data, entry.media_type)
    if not manifest.is_index:
        return [(data, _made_index(received, entry, top))]
    chosen: list[tuple[bytes, bytes | None]] = []
    for found in manifest.manifests:
        # Of an index more platforms may be named than are in the archive.
        offered = found.platform or Platform()
        if _is_no_image(found) or not received.has(blob_name(found.digest)):
            continue
        if is_wanted(offered, platforms):
            chosen.append((received.document(blob_name(found.digest)), data))
    return chosen


def _made_index(received: Received, entry: Descriptor, top: Sequence[Descriptor]) -> bytes | None:
    """Of the images that index.json gives the names of this one, and what attests to them; None
    where nothing does."""
    names = _names(entry)
    sharing = {
        each.digest: each
        for each in top
        if each.digest == entry.digest
        or (names and _names(each) == names and _is_manifest(received, each))
    }
    attesting = {each.digest: each for each in top if each.attests in sharing}
    if not attesting:
        return None
    entries = [_unnamed(received, each) for each in sharing.values()]
    return msgspec.json.encode({
        "schemaVersion": 2,
        "mediaType": oci.OCI_INDEX,
        "manifests": [*entries, *attesting.values()],
    })  # fmt: skip


def _is_manifest(received: Received, entry: Descriptor) -> bool:
    """Whether it is an image's manifest that is in the archive."""
    if _is_no_image(entry) or not received.has(blob_name(entry.digest)):
        return False
    data = received.document(blob_name(entry.digest))
    return not oci.read_manifest(data, entry.media_type).is_index


def _unnamed(received: Received, entry: Descriptor) -> Descriptor:
    """As an index has it: by platform, and without a name, which is the index's."""
    data = received.document(blob_name(entry.digest))
    manifest = oci.read_manifest(data, entry.media_type)
    platform = entry.platform
    if platform is None:
        config = received.document(blob_name(manifest.config.digest))
        platform = oci.read_config(config).platform
    annotations = {
        key: value
        for key, value in entry.annotations.items()
        if key not in (oci.REF_NAME, oci.CONTAINERD_NAME)
    }
    return msgspec.structs.replace(
        entry,
        media_type=manifest.media_type or oci.OCI_MANIFEST,
        size=len(data),
        platform=platform,
        annotations=annotations,
    )


def _is_no_image(entry: Descriptor) -> bool:
    """What says something of an image, as an attestation does: no system can run it."""
    kind = entry.annotations.get("vnd.docker.reference.type")
    return bool(kind) or (entry.platform is not None and entry.platform.os == "unknown")


def _names(entry: Descriptor) -> list[Reference]:
    text = entry.annotations.get(oci.CONTAINERD_NAME) or entry.annotations.get(oci.REF_NAME, "")
    if not text or (":" not in text and "/" not in text):
        return []  # a bare tag names no repository
    with contextlib.suppress(NaruError):
        return [references.parse(text).tagged()]
    return []
