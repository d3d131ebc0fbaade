"""Push: what the registry lacks is sent, under the digests by which it came.

An image that came by a manifest goes by the same manifest. One that was made here gets one, from
the blobs that are kept, and keeps it, so that the next push has the same digest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import msgspec

from naru.engine.images import attestations, events, progress
from naru.engine.images.layer_blobs import LayerBlobs, NotKept
from naru.engine.images.library import Library
from naru.engine.images.platforms import companions
from naru.engine.images.progress import Message, Progress
from naru.engine.tasks import Tasks
from naru.registry.credentials import ANONYMOUS, Credentials
from naru.registry.repository import Repository
from naru.registry.transport import Transport
from naru.registry.upload import Uploader
from naru.spec import oci
from naru.spec import reference as references
from naru.spec.errors import NaruError, NotFound
from naru.spec.images import ImageRecord, TagRecord
from naru.spec.oci import Descriptor, Platform
from naru.spec.reference import Reference
from naru.store.blobs import Lease
from naru.store.records import Change, put


class Pusher:
    def __init__(
        self,
        *,
        library: Library,
        transport: Transport,
        tasks: Tasks,
        blobs: LayerBlobs,
        at_once: int = 5,
    ) -> None:
        self._library = library
        self._blobs = blobs
        self._transport = transport
        self._tasks = tasks
        self._slots = asyncio.Semaphore(max(1, at_once))

    async def push(
        self,
        reference: Reference,
        *,
        credentials: Credentials = ANONYMOUS,
        platform: Platform | None = None,
    ) -> AsyncIterator[Message]:
        """Docker's messages; without a tag, all tags of the repository."""
        report = Progress()
        self._tasks.spawn(
            self._run(report, reference, credentials, platform), name=f"push of {reference}"
        )
        async for message in report.watch():
            yield message

    def _chosen(self, reference: Reference) -> list[tuple[ImageRecord, Reference]]:
        records = self._library.records
        chosen = []
        for tag in records.tags.values():
            name = references.parse(tag.name)
            wanted = name == reference or (reference.bare and name.name == reference.name)
            if wanted and name.tag and (image := records.images.get(tag.image_id)) is not None:
                chosen.append((image, name))
        if not chosen:
            if not any(tag.name.startswith(f"{reference.name}:") for tag in records.tags.values()):
                raise NotFound(
                    f"An image does not exist locally with the tag: {reference.familiar_name}"
                )
            raise NotFound(f"tag does not exist: {reference.familiar}")
        return chosen

    async def _run(
        self,
        report: Progress,
        reference: Reference,
        credentials: Credentials,
        platform: Platform | None,
    ) -> None:
        error: BaseException | None = None
        try:
            report.emit(progress.status(
                f"The push refers to repository [{reference.name}]"
            ))  # fmt: skip
            images = self._chosen(reference)
            if platform is not None:
                images = [(self._library.find(name.familiar, platform), name) for _, name in images]
            sources = self._sources([image for image, _ in images], reference)
            repository = Repository(
                self._transport, reference, credentials, push=True, mount_from=sources
            )
            uploader = await Uploader.open(repository)
            for image, name in images:
                whole = None if platform else await self._whole(image)
                if whole is None:
                    await self._push_one(uploader, image, name, report)
                else:
                    try:
                        await self._push_index(uploader, image, *whole, name, report)
                    except NotKept:
                        if len(whole[1]) > 1:
                            raise
                        await self._push_one(uploader, image, name, report)
        except NaruError as failed:
            error = failed
        except BaseException as failed:
            error = failed
            raise
        finally:
            report.finish(error)

    def _sources(self, images: Sequence[ImageRecord], reference: Reference) -> list[str]:
        """Repositories of the same registry that have some of the layers."""
        paths: dict[str, None] = {}
        for image in images:
            for layer in image.layers:
                blob = self._library.records.blobs.get(layer.digest)
                for name in blob.repositories if blob else ():
                    place = references.parse(name)
                    if place.domain == reference.domain and place.path != reference.path:
                        paths[place.path] = None
        return list(paths)[:8]

    async def _whole(self, image: ImageRecord) -> tuple[bytes, list[ImageRecord]] | None:
        """The index that the image came by, where all that it names is here, with its images."""
        blobs = self._library.blobs
        if not image.index or not blobs.has(image.index):
            return None
        index = await asyncio.to_thread(blobs.read, image.index)
        here = {i.manifest: i for i in companions(image, self._library.records)}
        entries = oci.read_manifest(index).manifests
        if any(e.digest not in here and not attestations.is_here(e, blobs) for e in entries):
            return None
        return index, [here[entry.digest] for entry in entries if entry.digest in here]

    async def _push_index(
        self,
        uploader: Uploader,
        image: ImageRecord,
        index: bytes,
        images: Sequence[ImageRecord],
        name: Reference,
        report: Progress,
    ) -> None:
        """Every platform's image by its digest, then the index by the tag."""
        for each in images:
            await self._push_one(uploader, each, name.with_digest(each.manifest), report)
        attesting = [e for e in oci.read_manifest(index).manifests if e.attests]
        await attestations.push(uploader, self._library.blobs, attesting)
        await uploader.put_manifest(name.tag, index, oci.read_manifest(index).media_type)
        digest = oci.digest_of(index)
        others = [each.id for each in images if each.id != image.id]
        record = TagRecord(
            name=str(name.with_digest(digest)), image_id=image.id, others=others,
            created=time.time_ns(),
        )  # fmt: skip
        await self._library.records.commit(put(self._library.records.tags, record))
        _tell(report, name.tag, index)

    async def _push_one(
        self, uploader: Uploader, image: ImageRecord, name: Reference, report: Progress
    ) -> None:
        try:
            await self._push_as(uploader, image, name, report, anew=False)
        except NotKept as error:
            if not name.tag:
                raise  # a part of an index, which names what it came by
            report.emit(progress.status(f"{error}: the image gets a manifest of new ones"))
            await self._push_as(uploader, image, name, report, anew=True)

    async def _push_as(
        self,
        uploader: Uploader,
        image: ImageRecord,
        name: Reference,
        report: Progress,
        *,
        anew: bool,
    ) -> None:
        """`anew`: by a manifest made for the blobs that can be had."""
        library = self._library
        with (
            library.held() as hold,
            library.blobs.lease([image.id, image.manifest]) as lease,
        ):
            hold(image)
            manifest = await self._manifest(image, lease, anew=anew)
            parsed = oci.read_manifest(manifest)
            lease.add(oci.digest_of(manifest))
            for layer in parsed.layers:
                lease.add(layer.digest)
                report.emit(progress.step("Preparing", _short(layer)))
            unique = {layer.digest: layer for layer in parsed.layers}
            diff_ids = dict(
                zip((each.digest for each in parsed.layers), image.diff_ids, strict=False)
            )
            try:
                async with asyncio.TaskGroup() as group:
                    for layer in unique.values():
                        diff_id = diff_ids.get(layer.digest, "")
                        group.create_task(
                            self._layer(uploader, layer, diff_id, lease, name, report)
                        )
            except BaseExceptionGroup as several:
                raise several.exceptions[0] from several
            config = Descriptor(parsed.config.media_type, image.id, library.blobs.size(image.id))
            if not await uploader.has(config.digest):
                path = library.blobs.path(config.digest)
                await uploader.upload(config.digest, config.size, path, lambda _: None)
            await uploader.put_manifest(name.target, manifest, parsed.media_type)
            await self._remember(image, name, manifest, parsed, anew=anew)
        self._tasks.spawn(self._blobs.settle(image), name=f"blobs of {name}")
        if name.tag:
            _tell(report, name.tag, manifest)

    async def _layer(
        self,
        uploader: Uploader,
        layer: Descriptor,
        diff_id: str,
        lease: Lease,
        name: Reference,
        report: Progress,
    ) -> None:
        short = _short(layer)
        async with self._slots:
            if await uploader.has(layer.digest):
                report.emit(progress.step("Layer already exists", short))
                return
            blob = self._library.records.blobs.get(layer.digest)
            for place in blob.repositories if blob else ():
                source = references.parse(place)
                same = source.domain == name.domain and source.path != name.path
                if same and await uploader.mount(layer.digest, source.path):
                    report.emit(progress.step(f"Mounted from {source.familiar_name}", short))
                    return
            if not self._library.blobs.has(layer.digest):
                await self._blobs.restore(layer.digest, diff_id, lease)
            path = self._library.blobs.path(layer.digest)
            await uploader.upload(
                layer.digest, layer.size, path,
                lambda sent: report.figures("Pushing", short, sent, layer.size),
            )  # fmt: skip
            report.emit(progress.step("Pushed", short))

    async def _manifest(self, image: ImageRecord, lease: Lease, *, anew: bool) -> bytes:
        """The one that the image came by, or one of blobs that are made for it."""
        blobs = self._library.blobs
        if image.manifest and blobs.has(image.manifest) and not anew:
            return await asyncio.to_thread(blobs.read, image.manifest)
        layers = []
        for diff_id in image.diff_ids:
            blob = await self._blobs.of(diff_id, lease)
            layers.append(
                {"mediaType": oci.DOCKER_LAYER_GZIP, "size": blob.size, "digest": blob.id}
            )
        config = {
            "mediaType": oci.DOCKER_CONFIG, "size": blobs.size(image.id), "digest": image.id,
        }  # fmt: skip
        document = {
            "schemaVersion": 2, "mediaType": oci.DOCKER_MANIFEST, "config": config,
            "layers": layers,
        }  # fmt: skip
        return msgspec.json.format(msgspec.json.encode(document), indent=3)

    async def _remember(
        self,
        image: ImageRecord,
        name: Reference,
        manifest: bytes,
        parsed: oci.Manifest,
        *,
        anew: bool,
    ) -> None:
        """The manifest, the digest's name, and where the blobs are now."""
        library = self._library
        digest = await asyncio.to_thread(library.blobs.put, manifest)
        async with library.changing:
            current = library.records.images.get(image.id)
            if current is None:
                return
            changes: list[Change] = []
            kept = current
            if current.manifest != digest and not anew:
                kept = msgspec.structs.replace(kept, manifest=digest, layers=parsed.layers)
            if name.name not in kept.origins:
                kept = msgspec.structs.replace(kept, origins=[*kept.origins, name.name])
            if kept is not current:
                changes.append(put(library.records.images, kept))
            if name.tag:  # else it is a part of an index, which is what gets the name
                record = TagRecord(name=str(name.with_digest(digest)), image_id=image.id)
                changes.append(put(library.records.tags, record))
            for layer in parsed.layers:
                blob = library.records.blobs.get(layer.digest)
                if blob is not None and name.name not in blob.repositories:
                    places = [*blob.repositories, name.name]
                    changes.append(put(
                        library.records.blobs, msgspec.structs.replace(blob, repositories=places)
                    ))  # fmt: skip
            said = [events.of_reference("push", name, image.labels)]
            await library.records.commit(*changes, events=said)


def _tell(report: Progress, tag: str, manifest: bytes) -> None:
    digest = oci.digest_of(manifest)
    report.emit(progress.status(f"{tag}: digest: {digest} size: {len(manifest)}"))
    report.emit({
        "progressDetail": {},
        "aux": {"Tag": tag, "Digest": digest, "Size": len(manifest)},
    })  # fmt: skip


def _short(layer: Descriptor) -> str:
    return layer.digest.partition(":")[2][:12]
