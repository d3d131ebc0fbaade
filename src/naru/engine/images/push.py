"""Push: what the registry lacks is sent, under the digests by which it came.

An image goes by the index that it came by, where all that this names is here; else by its manifest
alone (see `sender`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import msgspec

from naru.engine.images import arrivals, attestations, progress
from naru.engine.images.layer_blobs import LayerBlobs, NotKept
from naru.engine.images.library import Library
from naru.engine.images.platforms import platform_of
from naru.engine.images.progress import Message, Progress
from naru.engine.images.sender import Sender
from naru.engine.tasks import Tasks
from naru.registry.credentials import ANONYMOUS, Credentials
from naru.registry.repository import Repository
from naru.registry.transport import Transport
from naru.registry.upload import Uploader
from naru.spec import oci
from naru.spec import reference as references
from naru.spec.errors import NaruError, NotFound
from naru.spec.images import ImageRecord
from naru.spec.oci import Descriptor, Platform
from naru.spec.reference import Reference
from naru.store.records import put


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
            if wanted and name.tag and (found := arrivals.under(tag, records)):
                chosen.append((found[0], name))
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
            sender = Sender(
                library=self._library,
                blobs=self._blobs,
                tasks=self._tasks,
                slots=self._slots,
                uploader=await Uploader.open(repository),
                report=report,
            )
            for image, name in images:
                index = None if platform else await self._index(image)
                if index is None:
                    await sender.send(image, name)
                elif not await self._push_index(sender, index, name):
                    sent = await sender.send(image, name)
                    report.emit(_instead_of(index, sent, image))
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

    async def _index(self, image: ImageRecord) -> bytes | None:
        """That by which the image came."""
        blobs = self._library.blobs
        if not image.index or not blobs.has(image.index):
            return None
        return await asyncio.to_thread(blobs.read, image.index)

    async def _push_index(self, sender: Sender, index: bytes, name: Reference) -> bool:
        """Every platform's image by its digest, then the index by the tag -> False where not all
        that it names can be had."""
        blobs = self._library.blobs
        manifest = oci.read_manifest(index)
        images = self._library.find_all(str(name))
        here = {each.manifest: each for each in images}
        named = {entry.digest for entry in manifest.manifests}
        for entry in manifest.manifests:
            if entry.digest not in here and not attestations.is_here(entry, blobs):
                return False
        images = [each for each in images if each.manifest in named]
        try:
            for each in images:
                await sender.send(each, name.with_digest(each.manifest))
        except NotKept:
            if len(images) > 1:
                raise
            return False
        attesting = [entry for entry in manifest.manifests if entry.attests]
        await attestations.push(sender.uploader, blobs, attesting)
        await sender.uploader.put_manifest(name.tag, index, manifest.media_type)
        digest = oci.digest_of(index)
        record = arrivals.tagged(str(name.with_digest(digest)), images, time.time_ns())
        await self._library.records.commit(put(self._library.records.tags, record))
        sender.tell(name.tag, index)
        return True


def _instead_of(index: bytes, sent: Descriptor, image: ImageRecord) -> Message:
    """What a client prints as a note: that a manifest went in place of its index."""
    whole = Descriptor(oci.read_manifest(index).media_type, oci.digest_of(index), len(index))
    selected = msgspec.structs.replace(sent, platform=platform_of(image))
    note = {
        "manifestPushedInsteadOfIndex": True,
        "originalIndex": msgspec.to_builtins(whole),
        "selectedManifest": msgspec.to_builtins(selected),
    }
    return {"progressDetail": {}, "aux": note}
