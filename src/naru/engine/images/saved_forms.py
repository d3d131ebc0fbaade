"""In which form an image goes into an archive: with plain tars and a manifest made of them, or as
it came.

As it came goes an image that came in an archive, so that it leaves with the digest that it had, and
one with attestations: each is a statement about the digest of the manifest, by an annotation in the
index and, perhaps signed, within itself, and of plain tars comes another manifest. Docker's
containerd store saves all images so; what reads a docker-archive (older daemons,
skopeo) inflates such layers too. Where the layers cannot be had as they came any more, the image
goes with plain tars and without attestations: nobody stated anything about that manifest.
https://github.com/moby/moby/pull/44833
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import msgspec

from naru.engine.images import attestations
from naru.engine.images.attestations import Attestation
from naru.engine.images.layer_tars import LayerTars
from naru.engine.images.library import Library
from naru.engine.images.platforms import platform_of
from naru.spec import oci
from naru.spec.errors import InternalError, NaruError
from naru.spec.images import ImageRecord
from naru.spec.oci import Descriptor
from naru.store import recipes
from naru.store.blobs import Lease
from naru.store.tarentry import BLOCK, Entry
from naru.store.tarwriter import TarWriter

log = logging.getLogger(__name__)

_PIECE = 1 << 20


class SavedLayer(NamedTuple):
    """`recipe` "" is a blob that is here; `size` 0 of a plain tar is one not yet measured."""

    digest: str
    diff_id: str
    size: int = 0
    recipe: str = recipes.PLAIN


class Form(NamedTuple):
    """`manifest` b"" is one to be made; else `entry` describes it as the index `came_by` does, if
    it came by one.
    """

    layers: list[SavedLayer]
    manifest: bytes = b""
    entry: Descriptor = Descriptor()
    came_by: bytes = b""
    attested: Sequence[Attestation] = ()


def choose(images: Sequence[ImageRecord], library: Library, lease: Lease) -> dict[str, Form]:
    """The forms, by id, of images that share their names, with a lease on what they need."""
    for image in images:
        layers = [layer.digest for layer in image.layers]
        for digest in (image.id, image.manifest, image.index, *layers, *image.attestations):
            lease.add(digest)
        for diff_id in image.diff_ids:
            if (blob := library.layer_blob(diff_id)) is not None:
                lease.add(blob.id)
    forms = {image.id: _original(image, library, lease) for image in images}
    # Where one goes as it came all do: then their index can stay what it is.
    as_they_came = any(image.archived for image in images) or any(
        form is not None and form.attested for form in forms.values()
    )
    return {
        image.id: form if as_they_came and (form := forms[image.id]) is not None
        else Form([SavedLayer(diff_id, diff_id) for diff_id in image.diff_ids])
        for image in images
    }  # fmt: skip


def _original(image: ImageRecord, library: Library, lease: Lease) -> Form | None:
    """None where the manifest is not here, or a layer in another form only."""
    index, manifest = _document(image.index, library), _document(image.manifest, library)
    if manifest is None:
        return None
    try:
        attested = attestations.kept(index, [image.manifest], library.blobs) if index else []
        parsed = oci.read_manifest(manifest)
        entries = oci.read_manifest(index).manifests if index else []
    except NaruError as error:
        log.warning("save: %s goes without its attestations: %s", image.id, error)
        return None
    for attestation in attested:
        for digest in attestation.digests:
            lease.add(digest)
    layers = [
        found
        for layer, diff_id in zip(parsed.layers, image.diff_ids, strict=False)
        if (found := _as_it_came(layer, diff_id, library, lease)) is not None
    ]
    if not len(layers) == len(parsed.layers) == len(image.diff_ids):
        if attested:
            log.warning("save: the layers of %s are not kept as they came: it goes without its"
                        " attestations", image.id)  # fmt: skip
        return None
    named = next((each for each in entries if each.digest == image.manifest), Descriptor())
    entry = msgspec.structs.replace(
        named,
        media_type=parsed.media_type or named.media_type or oci.OCI_MANIFEST,
        digest=image.manifest,
        size=len(manifest),
        platform=named.platform or platform_of(image),
    )
    return Form(layers, manifest, entry, index or b"", attested)


def _document(digest: str, library: Library) -> bytes | None:
    """A manifest or index that is here, and undamaged."""
    if not digest or not library.blobs.has(digest):
        return None
    data = library.blobs.read(digest)
    return data if oci.digest_of(data) == digest else None


def _as_it_came(
    layer: Descriptor, diff_id: str, library: Library, lease: Lease
) -> SavedLayer | None:
    if layer.digest == diff_id:
        return SavedLayer(diff_id, diff_id)
    if library.blobs.has(layer.digest):
        return SavedLayer(layer.digest, diff_id, library.blobs.size(layer.digest), "")
    record = library.records.blobs.get(layer.digest)
    if record is None or not record.recipe or not library.recipes.can(record.recipe):
        return None
    library.recipes.hold(record.recipe, lease)
    return SavedLayer(layer.digest, diff_id, record.size, record.recipe)


class LayerWriter:
    """Writes layers as members of an archive. Blocks."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._tars = LayerTars(library)

    def write(self, out: BinaryIO, writer: TarWriter, name: str, layer: SavedLayer) -> SavedLayer:
        """-> the same with its size, which goes in front of the data."""
        if layer.recipe == recipes.PLAIN:
            layer = layer._replace(size=self._tars.size(layer.diff_id))
        out.write(writer.header(Entry(name, size=layer.size)))
        if layer.recipe == recipes.PLAIN:
            for piece in self._tars.pieces(layer.diff_id):  # it verifies them
                out.write(piece)
        else:
            self._write_as_it_came(out, layer)
        out.write(bytes(-layer.size % BLOCK))
        return layer

    def _write_as_it_came(self, out: BinaryIO, layer: SavedLayer) -> None:
        checked = _Checked(out)
        if layer.recipe:
            with self._library.recipes.compressor(layer.recipe, checked) as made:
                for piece in self._tars.pieces(layer.diff_id):
                    made.write(piece)
                made.close()
        else:
            with self._library.blobs.open(layer.digest) as blob:
                while piece := blob.read(_PIECE):
                    checked.write(piece)
        if (checked.digest, checked.size) != (layer.digest, layer.size):
            raise InternalError(
                f"layer {layer.digest} is damaged: its blob has the digest {checked.digest}"
            )


class _Checked:
    """Hashes and counts what it passes on."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes, /) -> int:
        self._hash.update(data)
        self._out.write(data)
        self.size += len(data)
        return len(data)

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()
