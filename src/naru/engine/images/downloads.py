"""Layers on their way: each is fetched once, however many pulls want it, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from naru.engine.tasks import Tasks
from naru.registry.repository import Repository
from naru.spec.errors import InternalError, NaruError, NoSpace
from naru.spec.oci import Descriptor
from naru.store.blobs import BlobStore
from naru.store.growing import GrowingReader
from naru.store.partial_blobs import Download
from naru.store.room import is_full

Listener = Callable[[str, int], None]
"""Told (state, bytes so far): Waiting, Downloading, Verifying Checksum, Download complete."""

WAITING = "Waiting"
DOWNLOADING = "Downloading"
VERIFYING = "Verifying Checksum"
COMPLETE = "Download complete"


class LayerDownload:
    """One blob being fetched. `open()` gives its bytes from the start, while they arrive."""

    def __init__(self, descriptor: Descriptor, repository: Repository) -> None:
        self.descriptor = descriptor
        self.sources = [repository]
        """Where it may be had, each with the credentials of a client that waits for it."""
        self.listeners: list[Listener] = []
        self.task: asyncio.Task[NaruError | None]
        self.users = 0
        self.unwanted = False
        """What has arrived is not for another attempt: the disk is too small for it."""
        self._file: asyncio.Future[Download] = asyncio.get_running_loop().create_future()
        self._state = (WAITING, 0)

    def listen(self, listener: Listener) -> None:
        self.listeners.append(listener)
        listener(*self._state)

    def say(self, state: str, current: int) -> None:
        self._state = (state, current)
        for listener in self.listeners:
            listener(state, current)

    async def open(self) -> GrowingReader:
        both: set[asyncio.Future[Any]] = {self.task, self._file}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not self._file.done():
            await self.finished()  # raises: it failed before it began
        try:
            return await asyncio.to_thread(self._file.result().reader)
        except FileNotFoundError as error:
            await self.finished()  # raises: it was thrown away
            raise InternalError(f"{self.descriptor.digest}: {error}") from error

    async def finished(self) -> None:
        """Wait until the blob is here; raises what prevented it."""
        if (error := await asyncio.shield(self.task)) is not None:
            raise error

    def failure(self) -> NaruError | None:
        """What prevented it, as far as is known now."""
        done = self.task.done() and not self.task.cancelled()
        return self.task.result() if done else None

    async def run(self, blobs: BlobStore) -> None:
        digest, size = self.descriptor.digest, self.descriptor.size
        file = await asyncio.to_thread(blobs.download, digest, size)
        try:
            self._file.set_result(file)
            self.say(DOWNLOADING, file.offset)
            await self._fetch(file)
            self.say(VERIFYING, size)
            await asyncio.to_thread(file.commit)
            self.say(COMPLETE, size)
        except BaseException as error:
            file.fail(error)
            raise
        finally:
            await asyncio.to_thread(file.close)
            if self.unwanted:
                await asyncio.to_thread(blobs.forget_download, digest)

    async def _fetch(self, file: Download) -> None:
        """From the first client's place; where that fails, with what the others may."""
        digest, size, urls = self.descriptor.digest, self.descriptor.size, self.descriptor.urls
        tried = 0
        while True:
            try:
                pieces = self.sources[tried].blob(digest, size, offset=file.offset, urls=urls)
                await self._store(pieces, file)
            except NaruError as error:
                tried += 1
                if isinstance(error, NoSpace) or tried == len(self.sources):
                    raise
            else:
                return

    async def _store(self, pieces: AsyncIterator[bytes], file: Download) -> None:
        """One piece is written, and hashed, while the next one arrives."""
        writing: asyncio.Future[None] | None = None
        try:
            async for piece in pieces:
                if writing is not None:
                    await writing
                    self.say(DOWNLOADING, file.offset)
                writing = asyncio.ensure_future(asyncio.to_thread(file.write, piece))
        finally:
            if writing is not None:
                await writing
                self.say(DOWNLOADING, file.offset)


class Downloads:
    def __init__(self, *, blobs: BlobStore, tasks: Tasks, at_once: int = 3) -> None:
        self._blobs = blobs
        self._tasks = tasks
        self._slots = asyncio.Semaphore(max(1, at_once))
        self._running: dict[str, LayerDownload] = {}

    def fetch(self, repository: Repository, descriptor: Descriptor) -> LayerDownload:
        """Join, or begin, the download of a blob; `leave` when it is no longer needed."""
        download = self._running.get(descriptor.digest)
        if download is None:
            download = LayerDownload(descriptor, repository)
            self._running[descriptor.digest] = download
            download.task = self._tasks.spawn(
                self._run(download), name=f"download of {descriptor.digest[:19]}"
            )
            download.task.add_done_callback(lambda _: self._gone(descriptor.digest, download))
        else:
            download.sources.append(repository)
        download.users += 1
        return download

    def leave(self, download: LayerDownload, listener: Listener) -> None:
        """The last one to leave stops it; what has arrived stays for the next attempt."""
        if listener in download.listeners:
            download.listeners.remove(listener)
        download.users -= 1
        if not download.users and not download.task.done():
            self._gone(download.descriptor.digest, download)
            download.task.cancel()

    def _gone(self, digest: str, download: LayerDownload) -> None:
        if self._running.get(digest) is download:
            del self._running[digest]

    async def _run(self, download: LayerDownload) -> NaruError | None:
        try:
            async with self._slots:
                await download.run(self._blobs)
        except NaruError as error:
            return error  # for those who wait; it is no failure of the daemon's
        except OSError as error:
            if is_full(error):
                return NoSpace(f"{download.descriptor.digest}: no space left on device: {error}")
            return InternalError(f"{download.descriptor.digest}: {error}")
        return None
