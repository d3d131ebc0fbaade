"""`docker save`: images as an archive that is a docker-archive and an OCI layout at once.

Layers go straight into the answer; nothing is spooled. They are plain tars, but of an image that
goes as it came (see `saved_forms`). A blob is named by the digest of what is
written, so an archive of the same images has the same members.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, BinaryIO, NamedTuple

import msgspec

from naru.engine.images import arrivals, attestations, events, layouts, saved_forms
from naru.engine.images.library import Library
from naru.engine.images.platforms import choose, platform_of
from naru.engine.images.saved_forms import Form, LayerWriter
from naru.engine.pipes import outbound
from naru.kernel.pipes import Piped
from naru.spec import oci
from naru.spec import reference as references
from naru.spec.images import ImageRecord
from naru.spec.oci import Platform
from naru.spec.reference import Reference
from naru.store.blobs import Lease
from naru.store.tarentry import DIRECTORY, Entry
from naru.store.tarwriter import TarWriter

_PIECE = 1 << 20


class _Group(NamedTuple):
    """Images of several platforms, or one, that go by the same names; `forms` by image."""

    images: list[ImageRecord]
    names: list[Reference]
    forms: dict[str, Form]


class Saver:
    def __init__(self, *, library: Library) -> None:
        self._library = library
        self._layers = LayerWriter(library)

    async def save(
        self, refs: Sequence[str], *, platforms: list[Platform] | None = None
    ) -> AsyncIterator[bytes | Piped]:
        """A tar, piece by piece. A reference without tag means all tags of that repository."""
        found = self._groups(refs, platforms)
        images = {image.id: image for group in found for image in group.images}
        with self._library.blobs.lease() as lease, self._library.held() as held:
            for image in images.values():
                held(image)
            groups = self._formed(found, lease)
            async for piece in outbound(lambda out: self._write(out, groups)):
                yield piece
        said = [events.of_image("save", image) for image in images.values()]
        await self._library.records.commit(events=said)

    def _groups(self, refs: Sequence[str], platforms: list[Platform] | None) -> list[_Group]:
        """What is saved: each image with its names, or several that share them."""
        groups: dict[tuple[str, ...], _Group] = {}
        for ref in refs:
            for sharing, name in self._named(ref):
                images = sharing
                if platforms is not None:
                    chosen = (choose(ref, sharing, platform) for platform in platforms)
                    images = list({each.id: each for each in chosen}.values())
                key = tuple(part for i in images for part in (i.id, i.manifest, i.index))
                names = groups.setdefault(key, _Group(images, [], {})).names
                if name is not None and name not in names:
                    names.append(name)
        return list(groups.values())

    def _named(self, ref: str) -> list[tuple[list[ImageRecord], Reference | None]]:
        library = self._library
        named = references.parse(ref)
        if named.bare and (found := self._all_tags(named)):
            return list(found)
        images = library.find_all(ref)
        is_name = named.tag and str(named) in library.records.tags
        return [(images, named if is_name else None)]

    def _all_tags(self, repository: Reference) -> list[tuple[list[ImageRecord], Reference]]:
        found = []
        for tag in self._library.records.tags.values():
            name = references.parse(tag.name)
            if name.name == repository.name and name.tag:
                found.append((arrivals.under(tag, self._library.records), name))
        return [(images, name) for images, name in found if images]

    def _formed(self, groups: list[_Group], lease: Lease) -> list[_Group]:
        """With their forms; what came apart, and goes in one form, is one group."""
        formed: dict[tuple[object, ...], _Group] = {}
        for group in groups:
            forms = saved_forms.choose(group.images, self._library, lease)
            key = tuple((each, form.manifest, form.came_by) for each, form in forms.items())
            known = formed.setdefault(key, group._replace(names=[], forms=forms))
            known.names.extend(name for name in group.names if name not in known.names)
        return list(formed.values())

    # -- writing, in a worker thread ------------------------------------------------------------

    def _write(self, out: BinaryIO, groups: list[_Group]) -> None:
        writer = TarWriter(out)
        writer.add(Entry("blobs", DIRECTORY, mode=0o755))
        writer.add(Entry("blobs/sha256", DIRECTORY, mode=0o755))
        forms = [form for group in groups for form in group.forms.values()]
        layers = {layer.digest: layer for form in forms for layer in form.layers}
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
        for images, names, forms_of in groups:
            entries = []
            attesting = []
            for image in images:
                form = forms_of[image.id]
                config = added(self._library.blobs.read(image.id))
                if form.manifest:
                    added(form.manifest)
                    entries.append(msgspec.to_builtins(form.entry))
                else:
                    tars = [(each, layers[each].size) for each, *_ in form.layers]
                    made = _entry(oci.OCI_MANIFEST, added(layouts.of_tars(config, tars)))
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
                "Layers": [_path(layer.digest) for layer in forms_of[image.id].layers],
            })  # fmt: skip
            entries += attesting
            nested = _index_of(entries, {forms_of[each.id].came_by for each in images})
            if nested is None:
                entry = {key: entries[0][key] for key in ("mediaType", "digest", "size")}
            else:
                entry = _entry(oci.read_manifest(nested).media_type, added(nested))
            index += _named_entries(entry, names)
        repositories: dict[str, dict[str, str]] = {}
        for (image, *_), names, _ in groups:
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


def _entry(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": oci.digest_of(data), "size": len(data)}


def _index_of(entries: Sequence[dict[str, Any]], came_by: Collection[bytes]) -> bytes | None:
    """The index of manifests: the one by which all came, if it names these alone; else one is made
    for several of them, and none for one.
    """
    digests = {entry["digest"] for entry in entries}
    if len(came_by) == 1:
        [known] = came_by
        if known and {each.digest for each in oci.read_manifest(known).manifests} == digests:
            return known
    if len(entries) == 1:
        return None
    return msgspec.json.encode({
        "schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": entries,
    })  # fmt: skip


def _named_entries(entry: dict[str, Any], names: Sequence[Reference]) -> list[dict[str, Any]]:
    if not names:
        return [entry]
    return [
        {**entry, "annotations": {
            oci.CONTAINERD_NAME: str(name), oci.REF_NAME: name.tag,
        }}
        for name in names
    ]  # fmt: skip
