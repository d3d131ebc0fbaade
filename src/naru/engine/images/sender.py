"""One image, sent to a repository: its layers and config, and the manifest that names them.

An image that came by a manifest goes by the same manifest. One that was made here gets one, from
the blobs that are kept, and keeps it, so that the next push has the same digest.
"""

from __future__ import annotations

import asyncio

import msgspec

from naru.engine.images import arrivals, events, progress
from naru.engine.images.layer_blobs import LayerBlobs, NotKept
from naru.engine.images.library import Library
from naru.engine.images.progress import Progress
from naru.engine.tasks import Tasks
from naru.registry.upload import Uploader
from naru.spec import oci
from naru.spec import reference as references
from naru.spec.images import Arrival, ImageRecord
from naru.spec.oci import Descriptor
from naru.spec.reference import Reference
from naru.store.blobs import Lease
from naru.store.records import Change, put


class Sender:
    """For one push: to the repository of `uploader`, with what it does told to `report`."""

    def __init__(
        self,
        *,
        library: Library,
        blobs: LayerBlobs,
        tasks: Tasks,
        slots: asyncio.Semaphore,
        uploader: Uploader,
        report: Progress,
    ) -> None:
        """`slots` bounds the layers that go at the same time."""
        self._library = library
        self._blobs = blobs
        self._tasks = tasks
        self._slots = slots
        self.uploader = uploader
        self._report = report

    async def send(self, image: ImageRecord, name: Reference) -> Descriptor:
        """By tag, or by the digest of the manifest that an index names -> the manifest.

        `NotKept` for a part of an index of which a layer cannot be had as it came.
        """
        try:
            return await self._send_as(image, name, anew=False)
        except NotKept as error:
            if not name.tag:
                raise  # a part of an index, which names what it came by
            self._report.emit(progress.status(f"{error}: the image gets a manifest of new ones"))
            return await self._send_as(image, name, anew=True)

    def tell(self, tag: str, manifest: bytes) -> None:
        """What went by the tag."""
        digest = oci.digest_of(manifest)
        self._report.emit(progress.status(f"{tag}: digest: {digest} size: {len(manifest)}"))
        self._report.emit({
            "progressDetail": {},
            "aux": {"Tag": tag, "Digest": digest, "Size": len(manifest)},
        })  # fmt: skip

    async def _send_as(self, image: ImageRecord, name: Reference, *, anew: bool) -> Descriptor:
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
                self._report.emit(progress.step("Preparing", _short(layer)))
            unique = {layer.digest: layer for layer in parsed.layers}
            diff_ids = dict(
                zip((each.digest for each in parsed.layers), image.diff_ids, strict=False)
            )
            await Tasks.together(
                self._layer(layer, diff_ids.get(layer.digest, ""), lease, name)
                for layer in unique.values()
            )
            config = Descriptor(parsed.config.media_type, image.id, library.blobs.size(image.id))
            if not await self.uploader.has(config.digest):
                path = library.blobs.path(config.digest)
                await self.uploader.upload(config.digest, config.size, path, lambda _: None)
            await self.uploader.put_manifest(name.target, manifest, parsed.media_type)
            await self._remember(image, name, manifest, parsed, anew=anew)
        self._tasks.spawn(self._blobs.settle(image), name=f"blobs of {name}")
        if name.tag:
            self.tell(name.tag, manifest)
        return Descriptor(parsed.media_type, oci.digest_of(manifest), len(manifest))

    async def _layer(self, layer: Descriptor, diff_id: str, lease: Lease, name: Reference) -> None:
        short = _short(layer)
        async with self._slots:
            if await self.uploader.has(layer.digest):
                self._report.emit(progress.step("Layer already exists", short))
                return
            blob = self._library.records.blobs.get(layer.digest)
            for place in blob.repositories if blob else ():
                source = references.parse(place)
                same = source.domain == name.domain and source.path != name.path
                if same and await self.uploader.mount(layer.digest, source.path):
                    self._report.emit(progress.step(f"Mounted from {source.familiar_name}", short))
                    return
            if not self._library.blobs.has(layer.digest):
                await self._blobs.restore(layer.digest, diff_id, lease)
            path = self._library.blobs.path(layer.digest)
            await self.uploader.upload(
                layer.digest, layer.size, path,
                lambda sent: self._report.figures("Pushing", short, sent, layer.size),
            )  # fmt: skip
            self._report.emit(progress.step("Pushed", short))

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
            pushed = Arrival(manifest=digest, layers=parsed.layers)
            kept = current
            if not anew and digest != image.manifest:
                kept = arrivals.by(kept, pushed)
            if name.name not in kept.origins:
                kept = msgspec.structs.replace(kept, origins=[*kept.origins, name.name])
            if kept is not current:
                changes.append(put(library.records.images, kept))
            if name.tag:  # else it is a part of an index, which is what gets the name
                by_digest = arrivals.tagged(
                    str(name.with_digest(digest)), [arrivals.by(current, pushed)]
                )
                changes.append(put(library.records.tags, by_digest))
                tag = library.records.tags.get(str(name))
                if digest != image.manifest and tag and tag.image_id == image.id:
                    forms = {**tag.arrivals, image.id: pushed}
                    tag = msgspec.structs.replace(tag, arrivals=forms)
                    changes.append(put(library.records.tags, tag))
            for layer in parsed.layers:
                blob = library.records.blobs.get(layer.digest)
                if blob is not None and name.name not in blob.repositories:
                    places = [*blob.repositories, name.name]
                    changes.append(put(
                        library.records.blobs, msgspec.structs.replace(blob, repositories=places)
                    ))  # fmt: skip
            said = [events.of_reference("push", name, image.labels)]
            await library.records.commit(*changes, events=said)


def _short(layer: Descriptor) -> str:
    return layer.digest.partition(":")[2][:12]
