"""`docker save`: images as an archive that is a docker-archive and an OCI layout at once.

Layers go straight into the answer, as plain tars; nothing is spooled. A blob is named
by the digest of what is written, so an archive of the same images has the same members.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import msgspec

from naru.engine.images import events
from naru.engine.images.layer_tars import LayerTars
from naru.engine.images.library import Library
from naru.engine.images.platforms import choose, companions, platform_of
from naru.engine.pipes import outbound
from naru.spec import oci
from naru.spec import reference as references
from naru.spec.images import ImageRecord
from naru.spec.oci import Platform
from naru.spec.reference import Reference
from naru.store.tarentry import BLOCK, DIRECTORY, Entry
from naru.store.tarwriter import TarWriter


class _Layer(NamedTuple):
    diff_id: str
    size: int  # of the plain tar


class _Group(NamedTuple):
    """Images of several platforms, or one, that go by the same names."""

    images: list[ImageRecord]
    names: list[Reference]


class Saver:
    def __init__(self, *, library: Library) -> None:
        self._library = library
        self._tars = LayerTars(library)

    async def save(
        self, refs: Sequence[str], *, platforms: list[Platform] | None = None
    ) -> AsyncIterator[bytes]:
        """A tar, piece by piece. A reference without tag means all tags of that repository."""
        groups = self._groups(refs, platforms)
        images = {image.id: image for group in groups for image in group.images}
        with self._library.blobs.lease() as lease, self._library.held() as held:
            layers: dict[str, _Layer] = {}
            for image in images.values():
                lease.add(image.id)
                held(image)
                for diff_id in image.diff_ids:
                    if (blob := self._library.layer_blob(diff_id)) is not None:
                        lease.add(blob.id)
                    layers[diff_id] = _Layer(diff_id, 0)
            async for piece in outbound(lambda out: self._write(out, groups, layers)):
                yield piece
        said = [events.of_image("save", image) for image in images.values()]
        await self._library.records.commit(events=said)

    def _groups(self, refs: Sequence[str], platforms: list[Platform] | None) -> list[_Group]:
        """What is saved: each image with its names, or several that share them."""
        groups: dict[tuple[str, ...], _Group] = {}
        for ref in refs:
            for image, name in self._named(ref):
                images = self._of_platforms(ref, image, platforms)
                key = tuple(each.id for each in images)
                names = groups.setdefault(key, _Group(images, [])).names
                if name is not None and name not in names:
                    names.append(name)
        return list(groups.values())

    def _of_platforms(
        self, ref: str, image: ImageRecord, platforms: list[Platform] | None
    ) -> list[ImageRecord]:
        sharing = companions(image, self._library.records)
        if platforms is None:
            return sharing
        found = {each.id: each for each in (choose(ref, sharing, p) for p in platforms)}
        return list(found.values())

    def _named(self, ref: str) -> list[tuple[ImageRecord, Reference | None]]:
        library = self._library
        named = references.parse(ref)
        if named.bare and (found := self._all_tags(named)):
            return list(found)
        image = library.find(ref)
        is_name = named.tag and str(named) in library.records.tags
        return [(image, named if is_name else None)]

    def _all_tags(self, repository: Reference) -> list[tuple[ImageRecord, Reference]]:
        found = []
        for tag in self._library.records.tags.values():
            name = references.parse(tag.name)
            if name.name == repository.name and name.tag:
                found.append((self._library.records.images.get(tag.image_id), name))
        return [(image, name) for image, name in found if image is not None]

    # -- writing, in a worker thread ------------------------------------------------------------

    def _write(self, out: BinaryIO, groups: list[_Group], layers: dict[str, _Layer]) -> None:
        writer = TarWriter(out)
        writer.add(Entry("blobs", DIRECTORY, mode=0o755))
        writer.add(Entry("blobs/sha256", DIRECTORY, mode=0o755))
        for diff_id, layer in layers.items():
            layers[diff_id] = self._write_layer(out, writer, layer)
        written: set[str] = set()

        def added(data: bytes) -> bytes:
            digest = oci.digest_of(data)
            if digest not in written:
                written.add(digest)
                writer.add(Entry(_path(digest), size=len(data)), [data])
            return data

        docker: list[dict[str, Any]] = []
        index: list[dict[str, Any]] = []
        for images, names in groups:
            entries = []
            for image in images:
                config = added(self._library.blobs.read(image.id))
                own = [layers[diff_id] for diff_id in image.diff_ids]
                entries.append((image, added(_manifest(config, own))))
            # A docker-archive knows no platforms: what reads it so gets the one for here.
            image = images[0]
            docker.append({
                "Config": _path(image.id),
                "RepoTags": [name.familiar for name in names] or None,
                "Layers": [_path(diff_id) for diff_id in image.diff_ids],
            })  # fmt: skip
            if len(entries) == 1:
                index += _named_entries(_entry(oci.OCI_MANIFEST, entries[0][1]), names)
            else:
                nested = added(_index_of(entries))
                index += _named_entries(_entry(oci.OCI_INDEX, nested), names)
        repositories: dict[str, dict[str, str]] = {}
        for (image, *_), names in groups:
            top = image.diff_ids[-1].partition(":")[2] if image.diff_ids else ""
            for name in names:
                repositories.setdefault(name.familiar_name, {})[name.tag] = top
        documents = {
            "index.json": {
                "schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": index,
            },
            "manifest.json": docker,
            "oci-layout": {"imageLayoutVersion": "1.0.0"},
            "repositories": repositories,
        }  # fmt: skip
        for member, document in documents.items():
            data = msgspec.json.encode(document)
            writer.add(Entry(member, size=len(data)), [data])
        writer.close()

    def _write_layer(self, out: BinaryIO, writer: TarWriter, layer: _Layer) -> _Layer:
        """The size goes in front of the data."""
        size = self._tars.size(layer.diff_id)
        out.write(writer.header(Entry(_path(layer.diff_id), size=size)))
        for piece in self._tars.pieces(layer.diff_id):
            out.write(piece)
        out.write(bytes(-size % BLOCK))
        return layer._replace(size=size)


def _path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _manifest(config: bytes, layers: Sequence[_Layer]) -> bytes:
    """The OCI manifest of the archive: its layers are plain tars."""
    return msgspec.json.encode({
        "schemaVersion": 2,
        "mediaType": oci.OCI_MANIFEST,
        "config": {
            "mediaType": oci.OCI_CONFIG, "digest": oci.digest_of(config), "size": len(config),
        },
        "layers": [
            {"mediaType": oci.OCI_LAYER, "digest": layer.diff_id, "size": layer.size}
            for layer in layers
        ],
    })  # fmt: skip


def _entry(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": oci.digest_of(data), "size": len(data)}


def _index_of(entries: Sequence[tuple[ImageRecord, bytes]]) -> bytes:
    """The index of several platforms' manifests."""
    return msgspec.json.encode({
        "schemaVersion": 2,
        "mediaType": oci.OCI_INDEX,
        "manifests": [
            {**_entry(oci.OCI_MANIFEST, manifest), "platform": platform_of(image)}
            for image, manifest in entries
        ],
    })  # fmt: skip


def _named_entries(entry: dict[str, Any], names: Sequence[Reference]) -> list[dict[str, Any]]:
    if not names:
        return [entry]
    return [
        {**entry, "annotations": {
            "io.containerd.image.name": str(name), "org.opencontainers.image.ref.name": name.tag,
        }}
        for name in names
    ]  # fmt: skip
