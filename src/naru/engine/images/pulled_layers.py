"""The layers of one image that is pulled: brought here, unpacked, and held.

All are downloaded at once, each is unpacked while it arrives, and gets its place when the one below
has it. What is here already is not fetched.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import BinaryIO

from naru.engine.images import downloads as states
from naru.engine.images import progress
from naru.engine.images.downloads import Downloads, LayerDownload, Listener
from naru.engine.images.library import Library
from naru.engine.images.progress import Progress
from naru.registry.repository import Repository
from naru.spec.errors import NaruError, NotFound
from naru.spec.layers import chain_id, chains
from naru.spec.oci import Descriptor
from naru.store.growing import GrowingReader
from naru.store.room import is_full


class PulledLayers:
    """Of one image; `held` keeps them until the image's record needs them."""

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
