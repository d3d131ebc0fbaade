"""Pull: manifests, then all layers at once (see `pulled_layers`).

Nothing is used before its digest was verified: the layer's record comes after that of its tar, the
image's after all its blobs. A pull belongs to the daemon: clients that ask for the same one watch
it together, and one that hangs up does not end it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import NamedTuple

from naru.engine.images import attestations, events, progress
from naru.engine.images.downloads import Downloads
from naru.engine.images.layer_blobs import LayerBlobs
from naru.engine.images.library import Library
from naru.engine.images.progress import Message, Progress
from naru.engine.images.pulled_layers import PulledLayers
from naru.engine.tasks import Tasks
from naru.registry.credentials import ANONYMOUS, Credentials
from naru.registry.repository import Fetched, Repository
from naru.registry.transport import Transport
from naru.spec import oci
from naru.spec.errors import InternalError, InvalidParameter, NaruError, NotFound
from naru.spec.images import BlobRecord
from naru.spec.oci import Descriptor, ImageConfig, Manifest, Platform
from naru.spec.reference import Reference
from naru.store.room import is_full

log = logging.getLogger(__name__)


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
                layers = PulledLayers(self._library, self._downloads, repository, report, held)
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
                self._tasks.spawn(self._library.sweeper.sweep(), name="sweep after pull")
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
        if (data := await asyncio.to_thread(self._document, entry.digest)) is not None:
            return Fetched(data, entry.media_type, entry.digest)
        return await repository.manifest(entry.digest)

    async def _config(self, repository: Repository, manifest: Manifest) -> bytes:
        digest = manifest.config.digest
        if (data := await asyncio.to_thread(self._document, digest)) is not None:
            return data
        return await repository.document(digest, manifest.config.size)

    def _document(self, digest: str) -> bytes | None:
        """One that is here, and undamaged."""
        try:
            return self._library.blobs.read(digest)
        except NotFound:
            return None
        except InternalError as error:
            log.warning("pull: %s is fetched again: %s", digest, error)
            return None


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
