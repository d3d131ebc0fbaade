"""Pull: manifests, then all layers at once, each unpacked while it arrives.

The layers of an image are downloaded in parallel and unpacked from the lowest up. Nothing is used
before its digest was verified: the layer's record comes after that of its tar, the image's after
all its blobs. A pull belongs to the daemon: clients that ask for the same one watch it together,
and one that hangs up does not end it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from naru.engine.images import attestations, events, progress
from naru.engine.images import downloads as states
from naru.engine.images.downloads import Downloads, LayerDownload, Listener
from naru.engine.images.layer_blobs import LayerBlobs
from naru.engine.images.library import Library
from naru.engine.images.progress import Message, Progress
from naru.engine.tasks import Tasks
from naru.registry.credentials import ANONYMOUS, Credentials
from naru.registry.repository import Fetched, Repository
from naru.registry.transport import Transport
from naru.spec import oci
from naru.spec.errors import InternalError, InvalidParameter, NaruError, NotFound
from naru.spec.images import BlobRecord
from naru.spec.layers import chain_id, chains
from naru.spec.oci import Descriptor, ImageConfig, Manifest, Platform
from naru.spec.reference import Reference
from naru.store.growing import GrowingReader
from naru.store.room import is_full


class _Found(NamedTuple):
    """What a reference led to: the image's manifest, and the index that named it, if any."""

    top: Fetched
    image: Fetched
    manifest: Manifest


class Puller:
    def __init__(
        self,
        *,
        library: Library,
        transport: Transport,
        tasks: Tasks,
        blobs: LayerBlobs,
        at_once: int = 3,
    ) -> None:
        self._library = library
        self._blobs = blobs
        self._transport = transport
        self._tasks = tasks
        self._downloads = Downloads(blobs=library.blobs, tasks=tasks, at_once=at_once)
        self._running: dict[tuple[str, str, Credentials], Progress] = {}

    def pull(
        self,
        reference: Reference,
        *,
        credentials: Credentials = ANONYMOUS,
        platform: Platform | None = None,
        all_tags: bool = False,
    ) -> AsyncIterator[Message]:
        """Docker's progress messages; an error ends them."""
        wanted = reference if all_tags else reference.tagged()
        key = (f"{wanted}{' -a' if all_tags else ''}", str(platform or ""), credentials)
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = Progress()
            self._tasks.spawn(
                self._run(key, running, wanted, credentials, platform, all_tags),
                name=f"pull of {wanted}",
            )
        return running.watch()

    async def _run(
        self,
        key: tuple[str, str, Credentials],
        report: Progress,
        reference: Reference,
        credentials: Credentials,
        platform: Platform | None,
        all_tags: bool,
    ) -> None:
        error: BaseException | None = None
        try:
            repository = Repository(self._transport, reference, credentials)
            names = [reference]
            if all_tags:
                names = [reference.with_tag(tag) for tag in await repository.tags()]
            for name in names:
                await self._pull_one(repository, name, platform, report)
        except NaruError as failed:
            error = failed
        except OSError as failed:
            error = InternalError(f"pull of {reference.familiar}: {failed}")
        except BaseException as failed:
            error = failed
            raise
        finally:
            del self._running[key]
            report.finish(error)

    async def _pull_one(
        self,
        repository: Repository,
        reference: Reference,
        platform: Platform | None,
        report: Progress,
    ) -> None:
        found = await self._find(repository, reference, platform)
        report.emit(progress.status(f"Pulling from {reference.path}", reference.target))
        names = [reference.with_digest(found.top.digest)]
        if reference.tag and not reference.digest:
            names.insert(0, reference)
        digests = [found.manifest.config.digest, *(d.digest for d in found.manifest.layers)]
        with self._retryable(digests), self._library.blobs.lease(digests) as lease:
            config = await self._config(repository, found.manifest)
            parsed = _checked(config, found.manifest)
            known = self._library.records.tags.get(str(names[0]))
            same = known is not None and known.image_id == found.manifest.config.digest
            async with self._library.used_or_swept() as held:
                layers = _Layers(self._library, self._downloads, repository, report, held)
                await layers.get(found.manifest.layers, parsed.rootfs.diff_ids)
                attested = await attestations.fetch(
                    repository, self._library.blobs, lease, found.top, found.image.digest
                )
                image = await self._library.add(
                    config,
                    names=names,
                    manifest=found.image.data,
                    index=found.top.data if found.top is not found.image else None,
                    layers=found.manifest.layers,
                    blobs=_blob_records(found.manifest, parsed, reference.name, layers.sizes),
                    attestations=attested,
                    origin=reference.name,
                    said=[events.of_reference("pull", reference, parsed.config.labels)],
                )
        self._tasks.spawn(self._blobs.settle(image), name=f"blobs of {reference}")
        report.emit(progress.status(f"Digest: {found.top.digest}"))
        if platform is not None and not oci.platform_matches(platform, parsed.platform):
            report.emit(progress.status(
                f"WARNING: image with reference {reference.familiar} was found but does not match"
                f" the specified platform: wanted {platform}, actual: {parsed.platform}"
            ))  # fmt: skip
        state = "Image is up to date" if same else "Downloaded newer image"
        report.emit(progress.status(f"Status: {state} for {reference.familiar}"))

    @contextlib.contextmanager
    def _retryable(self, digests: Sequence[str]) -> Iterator[None]:
        """What a pull that fails has brought here stays for the next one, while there is room."""
        try:
            yield
        except BaseException as error:
            if is_full(error):
                self._tasks.spawn(self._library.sweep(), name="sweep after pull")
            else:
                self._library.blobs.spare(digests)
            raise

    async def _find(
        self, repository: Repository, reference: Reference, platform: Platform | None
    ) -> _Found:
        top = fetched = await repository.manifest(reference.target)
        manifest = oci.read_manifest(fetched.data, fetched.media_type)
        if manifest.is_index:
            wanted = platform or oci.host_platform()
            entry = oci.select_platform(manifest.manifests, wanted)
            if entry is None:
                raise NotFound(f"no matching manifest for {wanted} in the manifest list entries")
            fetched = await self._known_manifest(repository, entry)
            manifest = oci.read_manifest(fetched.data, fetched.media_type)
        if manifest.is_index or not manifest.config.digest:
            raise InvalidParameter(f"unsupported manifest of type {manifest.media_type!r}")
        return _Found(top, fetched, manifest)

    async def _known_manifest(self, repository: Repository, entry: Descriptor) -> Fetched:
        """What an index names; from here where we have it."""
        if self._library.blobs.has(entry.digest):
            data = await asyncio.to_thread(self._library.blobs.read, entry.digest)
            return Fetched(data, entry.media_type, entry.digest)
        return await repository.manifest(entry.digest)

    async def _config(self, repository: Repository, manifest: Manifest) -> bytes:
        digest = manifest.config.digest
        if self._library.blobs.has(digest):
            return await asyncio.to_thread(self._library.blobs.read, digest)
        return await repository.document(digest, manifest.config.size)


class _Layers:
    """The layers of one image: brought here, and held until the image's record needs them."""

    def __init__(
        self,
        library: Library,
        downloads: Downloads,
        repository: Repository,
        report: Progress,
        held: contextlib.AsyncExitStack,
    ) -> None:
        self._library = library
        self._downloads = downloads
        self._repository = repository
        self._report = report
        self._held = held
        self._leaving: list[Callable[[], None]] = []
        self.sizes: dict[str, int] = {}  # of the plain tars, by the blob's digest

    async def get(self, descriptors: Sequence[Descriptor], diff_ids: Sequence[str]) -> None:
        if self._library.layers.workers is not None:
            await asyncio.to_thread(self._library.layers.workers.warm)
        known = self._take_known(diff_ids)
        for descriptor in descriptors[:known]:
            self._report.emit(progress.step("Already exists", _short(descriptor)))
        missing = list(zip(descriptors, diff_ids, strict=True))[known:]
        for descriptor, _ in missing:
            self._report.emit(progress.step("Pulling fs layer", _short(descriptor)))
        coming = [each for each, _ in missing if not self._library.blobs.has(each.digest)]
        self._library.blobs.check_room("pull", sum(descriptor.size for descriptor in coming))
        transfers = [
            None if self._library.blobs.has(descriptor.digest) else self._begin(descriptor)
            for descriptor, _ in missing
        ]
        await self._unpack_all(_chain(diff_ids[:known]), missing, transfers)
        for transfer in transfers:
            if transfer is not None:
                await transfer.finished()

    async def _unpack_all(
        self,
        chain: str | None,
        missing: Sequence[tuple[Descriptor, str]],
        transfers: Sequence[LayerDownload | None],
    ) -> None:
        """All at once; each gets its place when the one below has it."""
        unpacking: list[asyncio.Task[None]] = []
        for (descriptor, diff_id), transfer in zip(missing, transfers, strict=True):
            below = unpacking[-1] if unpacking else None
            work = self._unpack_over(below, chain, (descriptor, diff_id), transfer)
            unpacking.append(asyncio.create_task(work, name=f"layer {_short(descriptor)}"))
            chain = chain_id(chain, diff_id)
        if not unpacking:
            return
        try:
            await asyncio.wait(unpacking, return_when=asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError:
            for task in unpacking:
                task.cancel()
            await asyncio.wait(unpacking)
            raise
        failed = _failures(unpacking)
        if not failed:
            return
        for transfer in transfers:
            if transfer is not None:
                transfer.unwanted = is_full(failed[0])
        # The others' downloads end here, unless somebody else wants them, and with them what
        # unpacks them.
        for leave in self._leaving:
            leave()
        await asyncio.wait(unpacking)
        raise failed[0]

    async def _unpack_over(
        self,
        below: asyncio.Task[None] | None,
        chain: str | None,
        missing: tuple[Descriptor, str],
        transfer: LayerDownload | None,
    ) -> None:
        try:
            await self._unpack(chain, *missing, transfer)
        except NotFound:
            if below is None:
                raise
            await asyncio.shield(below)  # raises why the layer below is not there
            # It came first, and was asked for a layer that nobody had begun.
            await self._unpack(chain, *missing, transfer)

    def _take_known(self, diff_ids: Sequence[str]) -> int:
        """Hold the layers that are here -> how many, from the lowest up."""
        layers = self._library.layers
        for count, chain in enumerate(chains(diff_ids)):
            if layers.get(chain) is None:
                return count
            layers.acquire(chain)
            self._held.callback(layers.release, chain)
        return len(diff_ids)

    def _begin(self, descriptor: Descriptor) -> LayerDownload:
        transfer = self._downloads.fetch(self._repository, descriptor)
        listener = self._listener(descriptor)
        transfer.listen(listener)
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._downloads.leave(transfer, listener)

        self._leaving.append(leave)
        self._held.callback(leave)
        return transfer

    def _listener(self, descriptor: Descriptor) -> Listener:
        name, report = _short(descriptor), self._report
        last = ""

        def listen(state: str, current: int) -> None:
            nonlocal last
            if state == states.DOWNLOADING:
                report.figures(state, name, current, descriptor.size)
            elif state != last:
                report.emit(progress.step(state, name))
            last = state

        return listen

    async def _unpack(
        self,
        parent: str | None,
        descriptor: Descriptor,
        diff_id: str,
        transfer: LayerDownload | None,
    ) -> None:
        layers, blobs = self._library.layers, self._library.blobs
        source: BinaryIO | GrowingReader
        if transfer is None:
            source = await asyncio.to_thread(blobs.open, descriptor.digest)
        else:
            source = await transfer.open()
        loop = asyncio.get_running_loop()

        def passed(count: int) -> None:
            if transfer is None or transfer.task.done():
                self._report.figures("Extracting", _short(descriptor), count, descriptor.size)

        counted = _Counted(source, lambda n: loop.call_soon_threadsafe(passed, n))
        try:
            record = await layers.register(parent, diff_id, counted)
            self.sizes[descriptor.digest] = record.tar_size
        except NaruError:
            if transfer is not None and (reason := transfer.failure()) is not None:
                raise reason from None
            raise
        finally:
            await asyncio.to_thread(source.close)
        self._held.callback(layers.release, record.chain_id)
        self._report.emit(progress.step("Pull complete", _short(descriptor)))


def _failures(tasks: Sequence[asyncio.Task[None]]) -> list[BaseException]:
    ended = [task for task in tasks if task.done() and not task.cancelled()]
    return [error for task in ended if (error := task.exception()) is not None]


class _Counted:
    def __init__(self, source: BinaryIO | GrowingReader, told: Callable[[int], object]) -> None:
        self._source = source
        self._told = told
        self.count = 0
        self._next = 0

    def read(self, size: int = -1, /) -> bytes:
        piece = self._source.read(size)
        self.count += len(piece)
        if self.count >= self._next or not piece:
            self._next = self.count + (1 << 20)
            self._told(self.count)
        return piece


def _short(descriptor: Descriptor) -> str:
    return descriptor.digest.partition(":")[2][:12]


def _chain(diff_ids: Sequence[str]) -> str | None:
    return list(chains(diff_ids))[-1] if diff_ids else None


def _checked(config: bytes, manifest: Manifest) -> ImageConfig:
    parsed = oci.read_config(config)
    if len(parsed.rootfs.diff_ids) != len(manifest.layers):
        raise InvalidParameter("invalid rootfs in image configuration")
    if parsed.os not in ("", "linux"):
        raise InvalidParameter(
            f'cannot download image with operating system "{parsed.os}" when requesting "linux"'
        )
    return parsed


def _blob_records(
    manifest: Manifest, config: ImageConfig, repository: str, sizes: Mapping[str, int]
) -> list[BlobRecord]:
    now = time.time_ns()
    return [
        BlobRecord(
            id=layer.digest, size=layer.size, media_type=layer.media_type, diff_id=diff_id,
            plain_size=sizes.get(layer.digest, 0), created=now, repositories=[repository],
        )
        for layer, diff_id in zip(manifest.layers, config.rootfs.diff_ids, strict=True)
    ]  # fmt: skip
