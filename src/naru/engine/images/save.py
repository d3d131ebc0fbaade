"""`docker save`: images as an archive that is a docker-archive and an OCI layout at once.

Layers go straight into the answer; nothing is spooled. They are plain tars, but of an image with
attestations, which goes as it came (see `saved_forms`). A blob is named by the digest of what is
written, so an archive of the same images has the same members.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, BinaryIO, NamedTuple

import msgspec

from naru.engine.images import attestations, events, saved_forms
from naru.engine.images.library import Library
from naru.engine.images.platforms import choose, companions, platform_of
from naru.engine.images.saved_forms import Form, LayerWriter, SavedLayer
from naru.engine.pipes import outbound
from naru.spec import oci
from naru.spec import reference as references
from naru.spec.images import ImageRecord
from naru.spec.oci import Platform
from naru.spec.reference import Reference
from naru.store.tarentry import DIRECTORY, Entry
from naru.store.tarwriter import TarWriter

_PIECE = 1 << 20


class _Group(NamedTuple):
    """Images of several platforms, or one, that go by the same names."""

    images: list[ImageRecord]
    names: list[Reference]


class Saver:
    def __init__(self, *, library: Library) -> None:
        self._library = library
        self._layers = LayerWriter(library)

    async def save(
        self, refs: Sequence[str], *, platforms: list[Platform] | None = None
    ) -> AsyncIterator[bytes]:
        """A tar, piece by piece. A reference without tag means all tags of that repository."""
        groups = self._groups(refs, platforms)
        images = {image.id: image for group in groups for image in group.images}
        with self._library.blobs.lease() as lease, self._library.held() as held:
            forms: dict[str, Form] = {}
            for image in images.values():
                held(image)
            for group in groups:
                forms |= saved_forms.choose(group.images, self._library, lease)
            async for piece in outbound(lambda out: self._write(out, groups, forms)):
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

    def _write(self, out: BinaryIO, groups: list[_Group], forms: dict[str, Form]) -> None:
        writer = TarWriter(out)
        writer.add(Entry("blobs", DIRECTORY, mode=0o755))
        writer.add(Entry("blobs/sha256", DIRECTORY, mode=0o755))
        layers = {layer.digest: layer for form in forms.values() for layer in form.layers}
        for digest, layer in layers.items():
            layers[digest] = self._layers.write(out, writer, _path(digest), layer)
        written = set(layers)

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
            attesting = []
            for image in images:
                form = forms[image.id]
                config = added(self._library.blobs.read(image.id))
                if form.manifest:
                    added(form.manifest)
                    entries.append(msgspec.to_builtins(form.entry))
                else:
                    own = [layers[layer.digest] for layer in form.layers]
                    made = _entry(oci.OCI_MANIFEST, added(_manifest(config, own)))
                    entries.append({**made, "platform": msgspec.to_builtins(platform_of(image))})
                for attestation in form.attested:
                    if attestations.is_sound(attestation, self._library.blobs):
                        for digest in attestation.digests:
                            self._add_blob(writer, digest, written)
                        attesting.append(msgspec.to_builtins(attestation.entry))
            # A docker-archive knows no platforms: what reads it so gets the one for here.
            image = images[0]
            docker.append({
                "Config": _path(image.id),
                "RepoTags": [name.familiar for name in names] or None,
                "Layers": [_path(layer.digest) for layer in forms[image.id].layers],
            })  # fmt: skip
            entries += attesting
            if len(entries) == 1:
                entry = {key: entries[0][key] for key in ("mediaType", "digest", "size")}
                index += _named_entries(entry, names)
            else:
                nested = added(_index_of(entries, {forms[each.id].came_by for each in images}))
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

    def _add_blob(self, writer: TarWriter, digest: str, written: set[str]) -> None:
        if digest not in written:
            written.add(digest)
            blobs = self._library.blobs
            with blobs.open(digest) as blob:
                pieces = iter(lambda: blob.read(_PIECE), b"")
                writer.add(Entry(_path(digest), size=blobs.size(digest)), pieces)


def _path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _manifest(config: bytes, layers: Sequence[SavedLayer]) -> bytes:
    """The OCI manifest of the archive: its layers are plain tars."""
    return msgspec.json.encode({
        "schemaVersion": 2,
        "mediaType": oci.OCI_MANIFEST,
        "config": {
            "mediaType": oci.OCI_CONFIG, "digest": oci.digest_of(config), "size": len(config),
        },
        "layers": [
            {"mediaType": oci.OCI_LAYER, "digest": layer.digest, "size": layer.size}
            for layer in layers
        ],
    })  # fmt: skip


def _entry(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": oci.digest_of(data), "size": len(data)}


def _index_of(entries: Sequence[dict[str, Any]], came_by: Collection[bytes]) -> bytes:
    """The index of several manifests: the one by which all came, if it names these alone."""
    digests = {entry["digest"] for entry in entries}
    if len(came_by) == 1:
        [known] = came_by
        if known and {each.digest for each in oci.read_manifest(known).manifests} == digests:
            return known
    return msgspec.json.encode({
        "schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": entries,
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
