"""`docker load`: images from a docker-archive or an OCI layout, read as the stream comes.

Members may come in any order, and what they mean is known at the end only. So layers are taken in
at once (see `layer_intake`; a compressed one goes into the blob store as it is), documents are kept
aside, and the layers get their places in the end. What turns out to be unneeded is swept.
"""

from __future__ import annotations

import contextlib
import itertools
import posixpath
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import BinaryIO, cast

import msgspec

from naru.engine.images import events, progress
from naru.engine.images.layer_intake import Arrived, KeptLayer, LayerIntake
from naru.engine.images.library import Library
from naru.engine.images.progress import Message
from naru.engine.pipes import BrokenStream, Inbound
from naru.engine.tasks import Tasks
from naru.spec import oci
from naru.spec import reference as references
from naru.spec.errors import InternalError, InvalidParameter, NaruError, NotFound
from naru.spec.images import BlobRecord, ImageRecord
from naru.spec.jsonfit import without_nulls
from naru.spec.oci import Descriptor, Platform
from naru.spec.reference import Reference
from naru.store.blobs import BlobStore, Lease
from naru.store.compression import Inflated
from naru.store.piece_reader import PieceReader
from naru.store.tarentry import HARDLINK, SYMLINK, Entry, TarError
from naru.store.tarstream import TarReader

_MAX_DOCUMENTS = 64 << 20
_PIECE = 1 << 20
_REF_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"


class _Item(msgspec.Struct, rename="pascal"):
    """One image of a docker-archive's manifest.json."""

    config: str
    repo_tags: list[str] = []
    layers: list[str] = []


@dataclass
class _Received:
    """What the archive held: documents, and layers by member name."""

    documents: dict[str, bytes] = field(default_factory=dict)
    layers: dict[str, Arrived] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def follow(self, name: str) -> str:
        name = posixpath.normpath(name)
        for _ in range(8):
            if name not in self.links:
                break
            name = self.links[name]
        return name

    def document(self, name: str) -> bytes:
        data = self.documents.get(self.follow(name))
        if data is None:
            raise InvalidParameter(f"open {name}: no such file or directory")
        return data

    def layer(self, name: str) -> Arrived:
        layer = self.layers.get(self.follow(name))
        if layer is None:
            raise InvalidParameter(f"open {name}: no such file or directory")
        return layer


class Loader:
    def __init__(self, *, library: Library, tasks: Tasks) -> None:
        self._library = library
        self._tasks = tasks

    async def load(
        self, stream: AsyncIterator[bytes], *, platforms: list[Platform] | None = None
    ) -> AsyncIterator[Message]:
        """Docker's messages; `Loaded image: ...` for each. `platforms`: only these, all must be."""
        blobs = self._library.blobs
        with blobs.lease() as lease:
            try:
                async with LayerIntake(self._library, lease) as intake:
                    receiver = _Receiver(blobs, lease, intake)
                    received = await Inbound(stream).run(receiver.receive)
                    async for message in _Load(self._library, intake).images(received, platforms):
                        yield message
            except (TarError, msgspec.MsgspecError) as error:
                raise InvalidParameter(f"invalid archive: {error}") from error
            except BrokenStream as error:
                raise InvalidParameter(str(error)) from error
            except OSError as error:
                raise InternalError(f"load: {error}") from error
            finally:
                unneeded = set(lease.held)
        if unneeded - self._library.needed_blobs():
            self._tasks.spawn(self._library.sweep(), name="sweep after load")


class _Load:
    """From an archive that has arrived to images."""

    def __init__(self, library: Library, intake: LayerIntake) -> None:
        self._library = library
        self._intake = intake
        self._told: set[Reference] = set()

    async def images(
        self, received: _Received, platforms: list[Platform] | None
    ) -> AsyncIterator[Message]:
        if "manifest.json" in received.documents and not _has_platforms(received):
            items = _items(received.documents["manifest.json"])
            loaded = 0
            for item in items:
                config = received.document(item.config)
                if not _wanted(oci.read_config(config).platform, platforms):
                    continue
                loaded += 1
                layers = [received.layer(name) for name in item.layers]
                async for message in self._docker(config, item, layers):
                    yield message
            if platforms and not loaded:
                raise NotFound(f"no image in the archive matches {_listed(platforms)}")
        elif "index.json" in received.documents:
            async for message in self._layout(received, platforms):
                yield message
        else:
            raise InvalidParameter("open manifest.json: no such file or directory")

    async def _docker(
        self, config: bytes, item: _Item, layers: list[Arrived]
    ) -> AsyncIterator[Message]:
        names = [references.parse(text).tagged() for text in item.repo_tags]
        async for message in self._image(config, names, layers):
            yield message

    async def _image(
        self,
        config: bytes,
        names: list[Reference],
        layers: list[Arrived],
        manifest: bytes | None = None,
        descriptors: list[Descriptor] | None = None,
        index: bytes | None = None,
    ) -> AsyncIterator[Message]:
        parsed = oci.read_config(config)
        diff_ids = parsed.rootfs.diff_ids
        if len(diff_ids) != len(layers):
            raise InvalidParameter(
                "invalid manifest, layers length mismatch:"
                f" expected {len(diff_ids)}, got {len(layers)}"
            )
        if parsed.os not in ("", "linux"):
            raise InvalidParameter(f"cannot load {parsed.os} image on linux")
        library = self._library
        async with library.used_or_swept() as held:
            named = list(zip(diff_ids, layers, strict=True))
            for diff_id, layer in named:
                if layer.diff_id and layer.diff_id != diff_id:
                    raise InvalidParameter(f'invalid diffID for layer: expected "{diff_id}",'
                                           f' got "{layer.diff_id}"')  # fmt: skip
            chains = await self._intake.unpack_all(held, None, named)
            for diff_id, chain in zip(diff_ids, chains, strict=True):
                record = library.layers.get(chain)
                short, size = diff_id.partition(":")[2][:12], record.size if record else 0
                yield progress.figures("Loading layer", short, size, size)
            known = {str(name): self._holder(name) for name in names}
            image = await library.add(
                config,
                names=names,
                manifest=manifest,
                index=index,
                layers=descriptors or (),
                blobs=_blob_records(library.blobs, layers, diff_ids, descriptors),
                said=[events.of_id("load", oci.digest_of(config), parsed.config.labels)],
            )  # fmt: skip
        for name in names:
            before = known[str(name)]
            if before is not None and self._library.names_of(before.id) == []:
                yield {
                    "stream": f"The image {name.familiar} already exists, renaming the old one with"
                    f" ID {before.id} to empty string\n"
                }
            if name not in self._told:  # once for all platforms
                self._told.add(name)
                yield {"stream": f"Loaded image: {name.familiar}\n"}
        if not names:
            yield {"stream": f"Loaded image ID: {image.id}\n"}

    def _holder(self, name: Reference) -> ImageRecord | None:
        tag = self._library.records.tags.get(str(name))
        return self._library.records.images.get(tag.image_id) if tag else None

    # -- OCI layout -----------------------------------------------------------------------------

    async def _layout(
        self, received: _Received, platforms: list[Platform] | None
    ) -> AsyncIterator[Message]:
        top = oci.read_manifest(received.documents["index.json"], oci.OCI_INDEX)
        loaded = 0
        for entry in top.manifests:
            names = _names(entry)
            for data, index in _manifests(received, entry, platforms):
                manifest = oci.read_manifest(data, entry.media_type)
                config = received.document(_blob_name(manifest.config.digest))
                if not _wanted(oci.read_config(config).platform, platforms):
                    continue
                loaded += 1
                layers = [_as_named(received, layer) for layer in manifest.layers]
                async for message in self._image(
                    config, names, layers, data, manifest.layers, index
                ):
                    yield message
        if not loaded:
            wanted = _listed(platforms) if platforms else str(oci.host_platform())
            raise NotFound(f"no image in the archive matches {wanted}")


class _Receiver:
    """Reads the archive, in a worker thread."""

    def __init__(self, blobs: BlobStore, lease: Lease, intake: LayerIntake) -> None:
        self._blobs = blobs
        self._lease = lease
        self._intake = intake
        self._soon: dict[str, Future[Arrived]] = {}  # layers by member name

    def receive(self, source: BinaryIO) -> _Received:
        received = _Received()
        total = 0
        reader = TarReader(cast(BinaryIO, Inflated(source)))
        for entry in reader:
            name = posixpath.normpath(entry.name)
            if entry.kind in (SYMLINK, HARDLINK):
                base = posixpath.dirname(name) if entry.kind == SYMLINK else ""
                received.links[name] = posixpath.normpath(posixpath.join(base, entry.linkname))
            elif entry.is_file and entry.sparse is None:
                document = self._file(reader, entry, name, received)
                if document is not None:
                    received.documents[name] = document
                    total += len(document)
                    if total > _MAX_DOCUMENTS:
                        raise InvalidParameter("the archive holds too many documents")
        received.layers.update({name: soon.result() for name, soon in self._soon.items()})
        return received

    def _file(
        self, reader: TarReader, entry: Entry, name: str, received: _Received
    ) -> bytes | None:
        """Take in a layer, or return a document."""
        pieces = reader.data()
        head = b""
        while len(head) < 512 and (piece := next(pieces, None)) is not None:
            head += bytes(piece)
        small = entry.size <= oci.MAX_DOCUMENT
        if head[:1] in (b"{", b"[") or (small and not _is_layer(head, name)):
            data = bytearray(head)
            for piece in pieces:
                data += piece
                if len(data) > oci.MAX_DOCUMENT:
                    raise InvalidParameter(
                        f"{name}: document of more than {oci.MAX_DOCUMENT} bytes"
                    )
            return bytes(data)
        whole = cast(BinaryIO, PieceReader(itertools.chain([head], pieces)))
        if _is_plain_tar(head):
            self._soon[name] = self._intake.take_soon(whole, _digest_named(name))
        else:
            self._soon.pop(name, None)
            received.layers[name] = self._compressed(whole)
        return None

    def _compressed(self, source: BinaryIO) -> KeptLayer:
        with self._blobs.ingest() as ingest:
            while piece := source.read(_PIECE):
                ingest.write(piece)
            self._lease.add(ingest.digest)
            return KeptLayer("", ingest.commit())


def _as_named(received: _Received, layer: Descriptor) -> Arrived:
    """The layer of an OCI layout, by the digest that the manifest gives it."""
    found = received.layer(_blob_name(layer.digest))
    digests = (found.diff_id, found.blob) if isinstance(found, KeptLayer) else (found.diff_id,)
    if layer.digest not in digests:
        raise InvalidParameter(f"blob {layer.digest} of the archive has another digest")
    return found


def _blob_records(
    blobs: BlobStore,
    layers: Sequence[Arrived],
    diff_ids: Sequence[str],
    descriptors: Sequence[Descriptor] | None,
) -> list[BlobRecord]:
    """Records of the layers that are here as blobs."""
    types = {each.digest: each.media_type for each in descriptors or ()}
    records = []
    for layer, diff_id in zip(layers, diff_ids, strict=True):
        if isinstance(layer, KeptLayer):
            record = layer.record(blobs)
            media_type = types.get(record.id, record.media_type)
            records.append(msgspec.structs.replace(record, diff_id=diff_id, media_type=media_type))
    return records


def _is_plain_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar" or (len(head) >= 512 and not any(head[:512]))


def _is_layer(head: bytes, name: str) -> bool:
    return _is_plain_tar(head) or head[:2] == b"\x1f\x8b" or head[:4] == b"\x28\xb5\x2f\xfd" \
        or name.endswith(".tar")  # fmt: skip


def _digest_named(name: str) -> str:
    """The digest that a member of an OCI layout is named by; "" for another member."""
    digits = name.removeprefix("blobs/sha256/")
    return f"sha256:{digits}" if digits != name else ""


def _items(data: bytes) -> list[_Item]:
    return msgspec.convert(without_nulls(msgspec.json.decode(data)), list[_Item])


def _manifests(
    received: _Received, entry: Descriptor, platforms: list[Platform] | None
) -> list[tuple[bytes, bytes | None]]:
    """The manifests below an entry of index.json, each with the index that names it."""
    data = received.document(_blob_name(entry.digest))
    manifest = oci.read_manifest(data, entry.media_type)
    if not manifest.is_index:
        return [(data, None)]
    chosen: list[tuple[bytes, bytes | None]] = []
    for found in manifest.manifests:
        # Of an index more platforms may be named than are in the archive.
        attested = found.annotations.get("vnd.docker.reference.type")
        offered = found.platform or Platform()
        if attested or _blob_name(found.digest) not in received.documents:
            continue
        if _wanted(offered, platforms):
            chosen.append((received.document(_blob_name(found.digest)), data))
    return chosen


def _has_platforms(received: _Received) -> bool:
    """Whether the archive holds an index within its index, which a docker-archive cannot say."""
    data = received.documents.get("index.json")
    entries = oci.read_manifest(data, oci.OCI_INDEX).manifests if data else []
    return any(entry.media_type in oci.INDEX_TYPES for entry in entries)


def _names(entry: Descriptor) -> list[Reference]:
    text = entry.annotations.get(_CONTAINERD_NAME) or entry.annotations.get(_REF_NAME, "")
    if not text or (":" not in text and "/" not in text):
        return []  # a bare tag names no repository
    with contextlib.suppress(NaruError):
        return [references.parse(text).tagged()]
    return []


def _blob_name(digest: str) -> str:
    return "blobs/" + references.check_digest(digest).replace(":", "/")


def _wanted(offered: Platform, platforms: list[Platform] | None) -> bool:
    return not platforms or any(oci.platform_matches(wanted, offered) for wanted in platforms)


def _listed(platforms: list[Platform]) -> str:
    return ", ".join(str(platform) for platform in platforms)
