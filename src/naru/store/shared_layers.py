"""Read-only layers: unpacked once per chain id, kept while an image or a container needs them.

A layer exists when its record does: what is on disk without one is half made, or half removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from naru.kernel.filesystems import sync_filesystem
from naru.kernel.workers import Workers
from naru.spec.errors import InternalError, NaruError, NoSpace, NotFound
from naru.spec.layers import LayerRecord, chain_id
from naru.store.compression import Readable
from naru.store.driver import Stages, StorageDriver
from naru.store.initlayer import make_mount_points
from naru.store.mounting import mount_all, unmount_layer
from naru.store.records import Records, delete, put
from naru.store.room import Room, is_full
from naru.store.rounds import Rounds
from naru.store.unpack import Unpacked, Unpacker, check_digest

T = TypeVar("T")


class StagedLayer(NamedTuple):
    """A layer that is unpacked, over nothing and without a record."""

    storage_id: str
    unpacked: Unpacked

    @property
    def diff_id(self) -> str:
        return self.unpacked.diff_id


_INIT = "init:"
"""Before an image's chain id: the name of the layer that its containers' own are made on."""


class SharedLayers:
    def __init__(
        self,
        *,
        root: Path,
        records: Records,
        driver: StorageDriver,
        room: Room | None = None,
        workers: Workers | None = None,
    ) -> None:
        """`root` is the data root: layers are below `root/<driver>`."""
        self.driver = driver
        self._root = root / driver.name
        self._records = records
        self.room = room
        self.workers = workers
        self._unpacker = Unpacker(root, room=room, workers=workers)
        self._syncing = Rounds(self._sync)
        self._unrecorded: set[str] = set()
        """Storage ids on disk whose record is not there yet, or gone before them."""
        self._making: dict[str, asyncio.Task[LayerRecord]] = {}
        self._placed: dict[str, asyncio.Future[str]] = {}
        """Of those, the storage id of what others may be put over, though it has no record yet."""
        self._held: dict[str, int] = {}
        self._passed_over: set[str] = set()  # held ones that the last removal has left for that
        self._belated: set[asyncio.Future[list[LayerRecord]]] = set()
        self._sweeping = asyncio.Lock()
        # Unpacking is long, taking down a mount can be (900 ms were seen): neither waits for
        # the other, nor for whatever else uses the loop's default executor.
        self._bulk = ThreadPoolExecutor(max(2, os.cpu_count() or 1), "layers")
        self._quick = ThreadPoolExecutor(8, "mounts")

    async def register(self, parent_chain: str | None, diff_id: str, tar: Readable) -> LayerRecord:
        """Unpack a layer's tar, compressed or not, unless that layer is here -> its record.

        Whoever comes with the same chain id meanwhile waits for the first one's work (its own
        `tar` stays unread). `tar` is read in a worker thread. The layer is protected from
        `release_unused` until `release(chain_id)` is called as often as it was registered.
        """
        chain = chain_id(parent_chain, diff_id)
        return await self._held_once(chain, lambda: self._unpack(chain, parent_chain, diff_id, tar))

    def stage(self, tar: Readable, stop: threading.Event | None = None) -> StagedLayer:
        """Unpack a layer of which neither the place nor the digest is known yet.

        For worker threads, and only with a driver that `Stages`. What comes of it is to be given
        to `adopt` or to `discard`.
        """
        storage_id = secrets.token_hex(32)
        self._unrecorded.add(storage_id)
        try:
            done = self._unpacker.unpack(self.driver, storage_id, None, tar, stop)
        except BaseException:
            self._unrecorded.discard(storage_id)
            raise
        return StagedLayer(storage_id, done)

    async def adopt(self, parent_chain: str | None, staged: StagedLayer) -> LayerRecord:
        """As `register`, of a layer that is staged already; it is used up, or discarded."""
        chain = chain_id(parent_chain, staged.diff_id)
        record = await self._held_once(chain, lambda: self._place(chain, parent_chain, staged))
        if record.storage_id != staged.storage_id:
            await self.discard(staged)
        return record

    async def discard(self, staged: StagedLayer) -> None:
        """Remove what nobody adopted. Idempotent."""
        if staged.storage_id in self._unrecorded:
            await self._run(self._bulk, self.driver.remove, staged.storage_id)
            self._unrecorded.discard(staged.storage_id)

    def get(self, chain: str) -> LayerRecord | None:
        return self._records.layers.get(chain)

    def acquire(self, chain: str) -> None:
        """Keep a layer that no image or container record needs yet."""
        self._held[chain] = self._held.get(chain, 0) + 1

    def release(self, chain: str) -> None:
        """Undo one `acquire` or `register`.

        It removes nothing (see `release_unused`), but for what was kept from a removal by this.
        """
        left = self._held.get(chain, 0) - 1
        if left > 0:
            self._held[chain] = left
            return
        self._held.pop(chain, None)
        if chain in self._passed_over:
            task = asyncio.ensure_future(self.release_unused())
            self._belated.add(task)
            task.add_done_callback(self._belated.discard)

    async def release_unused(self) -> list[LayerRecord]:
        """Remove the layers that no image, container, holder or other layer needs -> those."""
        async with self._sweeping:
            needed = self._needed()
            # Of what only holders need, the last one to let go comes back here.
            self._passed_over = set(self._held) - self._needed(held=False)
            unused = [r for r in self._records.layers.values() if r.chain_id not in needed]
            await self._forget(unused)
        await self._remove_forgotten(unused)
        return unused

    async def diff_layer(self, chain: str, out: BinaryIO) -> None:
        """Write a read-only layer's changeset tar: for exports where the blob was not kept."""
        await self._run(self._bulk, self.driver.diff, self.storage_id(chain), out)

    def target(self, layer: str) -> Path:
        """Where a layer's tree is, or would be, mounted."""
        return self._root / layer / "merged"

    @contextlib.asynccontextmanager
    async def base(self, chain: str) -> AsyncIterator[str]:
        """The driver's name of the layer to make a container's own on; "" is no image's.

        Where the block finds no space it goes again, unless a container is made on it: with
        drivers that copy it is as large as the image.
        """
        key = _INIT + chain
        record = await self._held_once(key, lambda: self._make_init(key, chain or None))
        try:
            try:
                yield record.storage_id
            finally:
                self.release(key)
        except NoSpace:
            await self._remove_unless_needed(key, chain)
            raise

    def storage_id(self, chain: str) -> str:
        """The driver's name of a read-only layer."""
        record = self._records.layers.get(chain)
        if record is None:
            raise NotFound(f"layer {chain} does not exist")
        if record.driver != self.driver.name:
            raise NotFound(f"layer {chain} is in the storage of driver {record.driver}")
        return record.storage_id

    # -- inside ---------------------------------------------------------------------------------

    async def _held_once(
        self, chain: str, make: Callable[[], Coroutine[Any, Any, LayerRecord]]
    ) -> LayerRecord:
        """As `_once`, of a layer that is protected from `release_unused` from now on."""
        async with self._sweeping:
            self.acquire(chain)
        try:
            return await self._once(chain, make)
        except BaseException:
            self.release(chain)
            raise

    async def _once(
        self, key: str, make: Callable[[], Coroutine[Any, Any, LayerRecord]]
    ) -> LayerRecord:
        """The record of that key, made by the first who asks while the others wait."""
        while (known := self._records.layers.get(key)) is None:
            task = self._making.get(key)
            mine = task is None
            if task is None:
                task = asyncio.create_task(make(), name=f"layer {key[:19]}")
                self._making[key] = task
                self._placed[key] = asyncio.get_running_loop().create_future()
                task.add_done_callback(lambda _: self._made(key))
            try:
                return await asyncio.shield(task)
            except NaruError:
                if mine:
                    raise
                # The other's tar was bad, or its download broke: ours may be whole.
        return known

    def _made(self, key: str) -> None:
        self._making.pop(key, None)
        self._placed.pop(key).cancel()

    async def _make_init(self, key: str, parent: str | None) -> LayerRecord:
        below = self.storage_id(parent) if parent else None
        self.check_room("making a container's layer")
        storage_id = secrets.token_hex(32)

        def make() -> None:
            target = self.target(storage_id)
            try:
                self.driver.create(storage_id, below, writable=True)
                mount_all(self.driver.mounts(storage_id, target))
                try:
                    make_mount_points(target)
                finally:
                    unmount_layer(self.driver, storage_id, target)
                _sync_directory(self._root / storage_id)
            except BaseException as error:
                self.driver.remove(storage_id)
                if not isinstance(error, OSError):
                    raise
                failed = f"failed to make the init layer of {parent}"
                if is_full(error):
                    raise NoSpace(f"no space left on device: {failed}: {error}") from error
                raise InternalError(f"{failed}: {error}") from error

        with self._unrecorded_yet(storage_id):
            await self._run(self._bulk, make)
            return await self._record(key, parent, storage_id, Unpacked(0, "", 0))

    async def _record(
        self, key: str, parent: str | None, storage_id: str, unpacked: Unpacked
    ) -> LayerRecord:
        record = LayerRecord(
            chain_id=key,
            diff_id=unpacked.diff_id,
            parent=parent,
            driver=self.driver.name,
            storage_id=storage_id,
            size=unpacked.size,
            created=time.time_ns(),
            tar_size=unpacked.tar_size,
        )
        try:
            await self._records.commit(put(self._records.layers, record))
        except NaruError:
            await self._run(self._bulk, self.driver.remove, storage_id)
            raise
        return record

    async def _unpack(
        self, chain: str, parent: str | None, diff_id: str, tar: Readable
    ) -> LayerRecord:
        if isinstance(self.driver, Stages):
            # Unpacked while the layers below it are: only then it is put over them.
            staged = await self._stage(tar)
            try:
                check_digest(diff_id, staged.diff_id)
            except BaseException:
                await self.discard(staged)
                raise
            return await self._place(chain, parent, staged)
        await self._ready(parent)
        below = self.storage_id(parent) if parent else None
        # Not the chain id: the same layer's last life may still be being removed.
        storage_id = secrets.token_hex(32)
        stop = threading.Event()
        with self._unrecorded_yet(storage_id):
            unpack = functools.partial(self._unpacker.unpack, self.driver, diff_id=diff_id)
            work = asyncio.ensure_future(
                self._run(self._bulk, unpack, storage_id, below, tar, stop)
            )
            try:
                done = await asyncio.shield(work)
            except asyncio.CancelledError:
                stop.set()
                await asyncio.wait([work])
                raise
            try:
                # Once for the whole layer: a call for each of its files would take minutes.
                await self._syncing.round()
            except BaseException:
                await self._run(self._bulk, self.driver.remove, storage_id)
                raise
            return await self._record(chain, parent, storage_id, done)

    async def _stage(self, tar: Readable) -> StagedLayer:
        stop = threading.Event()
        work = asyncio.ensure_future(self._run(self._bulk, self.stage, tar, stop))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([work])
            if not work.cancelled() and work.exception() is None:
                await self.discard(work.result())
            raise

    async def _place(self, chain: str, parent: str | None, staged: StagedLayer) -> LayerRecord:
        driver = self.driver
        assert isinstance(driver, Stages)
        try:
            below = await self._placed_below(parent) if parent else None
            await self._run(self._bulk, driver.place, staged.storage_id, below)
            self._placed[chain].set_result(staged.storage_id)
            # Once for all that is placed by now: a call for each file would take minutes.
            await self._syncing.round()
            await self._ready(parent)
            record = await self._record(chain, parent, staged.storage_id, staged.unpacked)
        except OSError as error:
            await self.discard(staged)
            raise InternalError(f"failed to register layer: {error}") from error
        except BaseException:
            await self.discard(staged)
            raise
        self._unrecorded.discard(staged.storage_id)
        return record

    async def _placed_below(self, parent: str) -> str:
        """The storage id of a layer to put another over, as soon as that can be done."""
        if (making := self._making.get(parent)) is not None:
            placed = self._placed[parent]
            both: set[asyncio.Future[Any]] = {making, placed}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if placed.done() and not placed.cancelled():
                return placed.result()
            await asyncio.shield(making)
        return self.storage_id(parent)

    async def _remove_unless_needed(self, key: str, chain: str) -> None:
        """Remove the layer with an image's mount points if no container is on it."""
        async with self._sweeping:
            record = self._records.layers.get(key)
            containers = self._records.containers.values()
            if record is None or key in self._held or any(c.chain_id == chain for c in containers):
                return
            await self._forget([record])
        await self._remove_forgotten([record])

    async def _forget(self, unused: Sequence[LayerRecord]) -> None:
        """Delete records, before their layers: without one these are rubbish that `recover` knows.

        While it holds `_sweeping`, so that nobody comes to need one of them meanwhile.
        """
        if not unused:
            return
        doomed = {record.storage_id for record in unused}
        self._unrecorded |= doomed
        try:
            await self._records.commit(*(delete(self._records.layers, r.chain_id) for r in unused))
        except BaseException:
            self._unrecorded -= doomed
            raise

    async def _remove_forgotten(self, unused: Sequence[LayerRecord]) -> None:
        if not unused:
            return
        try:
            # For good: after a power cut no record may come back for what is gone by then.
            await self._records.flush()
            for record in unused:
                await self._run(self._bulk, self.driver.remove, record.storage_id)
        finally:
            self._unrecorded -= {record.storage_id for record in unused}

    async def _ready(self, parent: str | None) -> None:
        """Wait for the layer below where it is in the making."""
        if parent and (making := self._making.get(parent)) is not None:
            await asyncio.shield(making)

    def check_room(self, what: str) -> None:
        """`NoSpace` where the disk is as full as it may become."""
        if self.room is not None:
            self.room.check(what)

    @contextlib.contextmanager
    def _unrecorded_yet(self, storage_id: str) -> Iterator[None]:
        self._unrecorded.add(storage_id)
        try:
            yield
        finally:
            self._unrecorded.discard(storage_id)

    async def _sync(self) -> None:
        try:
            await self._run(self._bulk, sync_filesystem, self._root)
        except OSError as error:
            raise InternalError(f"failed to register layer: {error}") from error

    def _needed(self, *, held: bool = True) -> set[str]:
        records = self._records
        used = {"", *(self._held if held else ())}
        used.update(image.chain_id for image in records.images.values())
        used.update(container.chain_id for container in records.containers.values())
        pending: list[str] = [*used, *(_INIT + chain for chain in used), *self._making]
        needed: set[str] = set()
        while pending:
            chain: str | None = pending.pop()
            while chain and chain not in needed:
                needed.add(chain)
                record = records.layers.get(chain)
                chain = record.parent if record else None
        return needed

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[..., T], *args: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, work, *args)


def _sync_directory(home: Path) -> None:
    """Make what was made in and below a directory durable: its journal's entry is the last.

    Files directly in it, which say what the layer lies on, with what they hold.
    """
    if not home.exists():
        return
    files = [Path(each) for each in os.scandir(home) if each.is_file(follow_symlinks=False)]
    for path in (*files, home):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
