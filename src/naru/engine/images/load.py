"""`docker load`: images from a docker-archive or an OCI layout, read as the stream comes.

Members may come in any order, and what they mean is known at the end only. So layers are taken in
at once (see `layer_intake`; a compressed one goes into the blob store as it is), documents are kept
aside (see `received`), and the layers get their places in the end. What turns out to be unneeded is
swept.

What attests to an image is kept with it; half of one is no reason not to load.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from naru.engine.images import attestations, events, layouts, progress
from naru.engine.images.layer_intake import Arrived, KeptLayer, LayerIntake
from naru.engine.images.library import Library
from naru.engine.images.progress import Message
from naru.engine.images.received import Received, Receiver, blob_name
from naru.engine.pipes import BrokenStream, Inbound
from naru.spec import oci
from naru.spec import reference as references
from naru.spec.errors import InternalError, InvalidParameter, NotFound
from naru.spec.images import BlobRecord, ImageRecord
from naru.spec.jsonfit import without_nulls
from naru.spec.oci import Descriptor, Platform
from naru.spec.reference import Reference
from naru.store.blobs import BlobStore, Lease
from naru.store.tarentry import TarError


class _Item(msgspec.Struct, rename="pascal"):
    """One image of a docker-archive's manifest.json."""

    config: str
    repo_tags: list[str] = []
    layers: list[str] = []


class Loader:
    def __init__(self, *, library: Library) -> None:
        self._library = library

    async def load(
        self, stream: AsyncIterator[bytes], *, platforms: list[Platform] | None = None
    ) -> AsyncIterator[Message]:
        """Docker's messages; `Loaded image: ...` for each. `platforms`: only these, all must be."""
        library = self._library
        try:
            async with library.taking_in() as lease, LayerIntake(library, lease) as intake:
                receiver = Receiver(library.blobs, lease, intake)
                received = await Inbound(stream).run(receiver.receive)
                load = _Load(library, intake, lease)
                async for message in load.images(received, platforms):
                    yield message
        except (TarError, msgspec.MsgspecError) as error:
            raise InvalidParameter(f"invalid archive: {error}") from error
        except BrokenStream as error:
            raise InvalidParameter(str(error)) from error
        except OSError as error:
            raise InternalError(f"load: {error}") from error


class _Load:
    """From an archive that has arrived to images."""

    def __init__(self, library: Library, intake: LayerIntake, lease: Lease) -> None:
        self._library = library
        self._intake = intake
        self._lease = lease
        self._told: set[Reference] = set()

    async def images(
        self, received: Received, platforms: list[Platform] | None
    ) -> AsyncIterator[Message]:
        if received.has("manifest.json") and not layouts.says_more(received):
            items = _items(received.document("manifest.json"))
            loaded = 0
            for item in items:
                config = received.document(item.config)
                if not layouts.is_wanted(oci.read_config(config).platform, platforms):
                    continue
                loaded += 1
                async for message in self._docker(received, config, item):
                    yield message
            if platforms and not loaded:
                raise NotFound(f"no image in the archive matches {_listed(platforms)}")
        elif received.has("index.json"):
            async for message in self._layout(received, platforms):
                yield message
        else:
            raise InvalidParameter("open manifest.json: no such file or directory")

    async def _docker(
        self, received: Received, config: bytes, item: _Item
    ) -> AsyncIterator[Message]:
        names = [references.parse(text).tagged() for text in item.repo_tags]
        layers = [received.layer(name) for name in item.layers]
        manifest = layouts.beside(received, config, layers)
        descriptors = oci.read_manifest(manifest).layers if manifest else None
        async for message in self._image(config, names, layers, manifest, descriptors):
            yield message

    async def _image(
        self,
        config: bytes,
        names: list[Reference],
        layers: list[Arrived],
        manifest: bytes | None = None,
        descriptors: list[Descriptor] | None = None,
        index: bytes | None = None,
        attested: Sequence[str] = (),
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
                attestations=attested,
                archived=True,
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
        self, received: Received, platforms: list[Platform] | None
    ) -> AsyncIterator[Message]:
        loaded = 0
        for names, data, media_type, index in layouts.images(received, platforms):
            manifest = oci.read_manifest(data, media_type)
            config = received.document(blob_name(manifest.config.digest))
            if not layouts.is_wanted(oci.read_config(config).platform, platforms):
                continue
            loaded += 1
            layers = [received.named(layer) for layer in manifest.layers]
            attested = await self._attested(received, index, oci.digest_of(data))
            async for message in self._image(
                config, names, layers, data, manifest.layers, index, attested
            ):
                yield message
        if not loaded:
            wanted = _listed(platforms) if platforms else str(oci.host_platform())
            raise NotFound(f"no image in the archive matches {wanted}")

    async def _attested(self, received: Received, index: bytes | None, image: str) -> list[str]:
        """Keep what attests to a manifest -> the digests of all its blobs."""
        if index is None:
            return []
        blobs = self._library.blobs
        return await asyncio.to_thread(
            attestations.take_in, blobs, self._lease, index, image, received.bring
        )


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


def _items(data: bytes) -> list[_Item]:
    return msgspec.convert(without_nulls(msgspec.json.decode(data)), list[_Item])


def _listed(platforms: list[Platform]) -> str:
    return ", ".join(str(platform) for platform in platforms)
