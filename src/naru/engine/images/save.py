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
from naru.engine.pipes import outbound
from naru.spec import oci
from naru.spec import reference as references
from naru.spec.errors import InvalidParameter, NotFound
from naru.spec.images import ImageRecord
from naru.spec.oci import Platform
from naru.spec.reference import Reference
from naru.store.tarstream import BLOCK, DIRECTORY, Entry
from naru.store.tarwriter import TarWriter


class _Layer(NamedTuple):
    diff_id: str
    size: int  # of the plain tar


class Saver:
    def __init__(self, *, library: Library) -> None:
        self._library = library
        self._tars = LayerTars(library)

    async def save(
        self, refs: Sequence[str], *, platforms: list[Platform] | None = None
    ) -> AsyncIterator[bytes]:
        """A tar, piece by piece. A reference without tag means all tags of that repository."""
        chosen = self._chosen(refs)
        for image, _ in chosen.values():
            offered = Platform(image.architecture, image.os, variant=image.variant)
            for wanted in platforms or ():
                if not oci.platform_matches(wanted, offered):
                    raise NotFound(
                        f"no suitable export target found for platform {wanted}:"
                        f" image {image.id} is {offered}"
                    )
        with self._library.blobs.lease() as lease, self._library.held() as held:
            layers: dict[str, _Layer] = {}
            for image, _ in chosen.values():
                lease.add(image.id)
                held(image)
                for diff_id in image.diff_ids:
                    if (blob := self._library.layer_blob(diff_id)) is not None:
                        lease.add(blob.id)
                    layers[diff_id] = _Layer(diff_id, 0)
            async for piece in outbound(lambda out: self._write(out, chosen, layers)):
                yield piece
        said = [events.of_image("save", image) for image, _ in chosen.values()]
        await self._library.records.commit(events=said)

    def _chosen(self, refs: Sequence[str]) -> dict[str, tuple[ImageRecord, list[Reference]]]:
        chosen: dict[str, tuple[ImageRecord, list[Reference]]] = {}
        for ref in refs:
            for image, name in self._named(ref):
                names = chosen.setdefault(image.id, (image, []))[1]
                if name is not None and name not in names:
                    names.append(name)
        return chosen

    def _named(self, ref: str) -> list[tuple[ImageRecord, Reference | None]]:
        library = self._library
        try:
            named = references.parse(ref)
        except InvalidParameter:
            return [(library.find(ref), None)]
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

    def _write(
        self,
        out: BinaryIO,
        chosen: dict[str, tuple[ImageRecord, list[Reference]]],
        layers: dict[str, _Layer],
    ) -> None:
        writer = TarWriter(out)
        writer.add(Entry("blobs", DIRECTORY, mode=0o755))
        writer.add(Entry("blobs/sha256", DIRECTORY, mode=0o755))
        for diff_id, layer in layers.items():
            layers[diff_id] = self._write_layer(out, writer, layer)
        docker: list[dict[str, Any]] = []
        index: list[dict[str, Any]] = []
        written: set[str] = set()
        for image, names in chosen.values():
            config = self._library.blobs.read(image.id)
            manifest = _manifest(config, [layers[diff_id] for diff_id in image.diff_ids])
            for data in (config, manifest):
                digest = oci.digest_of(data)
                if digest not in written:
                    written.add(digest)
                    writer.add(Entry(_path(digest), size=len(data)), [data])
            docker.append({
                "Config": _path(image.id),
                "RepoTags": [name.familiar for name in names] or None,
                "Layers": [_path(diff_id) for diff_id in image.diff_ids],
            })  # fmt: skip
            index += _index_entries(manifest, names)
        repositories: dict[str, dict[str, str]] = {}
        for image, names in chosen.values():
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


def _index_entries(manifest: bytes, names: Sequence[Reference]) -> list[dict[str, Any]]:
    entry: dict[str, Any] = {
        "mediaType": oci.OCI_MANIFEST, "digest": oci.digest_of(manifest), "size": len(manifest),
    }  # fmt: skip
    if not names:
        return [entry]
    return [
        {**entry, "annotations": {
            "io.containerd.image.name": str(name), "org.opencontainers.image.ref.name": name.tag,
        }}
        for name in names
    ]  # fmt: skip
