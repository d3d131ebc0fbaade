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
from naru.spec.layers import INIT, LayerRecord, chain_id
from naru.store.compression import Readable
from naru.store.driver import Stages, StorageDriver
from naru.store.holds import Holds
from naru.store.initlayer import make_init_layer
from naru.store.making import Making
from naru.store.needed import needed_layers
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
        self._making = Making(records.layers.get)
        self._holds = Holds(self.release_unused)
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
        self._holds.take(chain)

    def release(self, chain: str) -> None:
        """Undo one `acquire` or `register`.

        It removes nothing (see `release_unused`), but for what was kept from a removal by this.
        """
        self._holds.drop(chain)

    async def release_unused(self) -> list[LayerRecord]:
        """Remove the layers that no image, container, holder or other layer needs -> those."""
        async with self._sweeping:
            unused = self._unused()
            self._holds.pass_over(needed_layers(self._records, making=self._making))
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
        key = INIT + chain
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
        """Its record; it is protected from `release_unused` from before it is made."""
        async with self._sweeping:
            self.acquire(chain)
        try:
            return await self._making.once(chain, make)
        except BaseException:
            self.release(chain)
            raise

    async def _make_init(self, key: str, parent: str | None) -> LayerRecord:
        below = self.storage_id(parent) if parent else None
        self.check_room("making a container's layer")
        storage_id = secrets.token_hex(32)
        target = self.target(storage_id)
        with self._unrecorded_yet(storage_id):
            try:
                await self._run(self._bulk, make_init_layer, self.driver, storage_id, below, target)
            except OSError as error:
                failed = f"failed to make the init layer of {parent}"
                if is_full(error):
                    raise NoSpace(f"no space left on device: {failed}: {error}") from error
                raise InternalError(f"{failed}: {error}") from error
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
        below = None
        if parent:
            await self._making.done(parent)
            below = self.storage_id(parent)
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
            below = None
            if parent:
                below = await self._making.placed(parent) or self.storage_id(parent)
            await self._run(self._bulk, driver.place, staged.storage_id, below)
            self._making.place(chain, staged.storage_id)
            # Once for all that is placed by now: a call for each file would take minutes.
            await self._syncing.round()
            if parent:
                await self._making.done(parent)
            record = await self._record(chain, parent, staged.storage_id, staged.unpacked)
        except OSError as error:
            await self.discard(staged)
            raise InternalError(f"failed to register layer: {error}") from error
        except BaseException:
            await self.discard(staged)
            raise
        self._unrecorded.discard(staged.storage_id)
        return record

    def _unused(self) -> list[LayerRecord]:
        """With `_sweeping` held."""
        needed = needed_layers(self._records, making=self._making, held=self._holds)
        return [r for r in self._records.layers.values() if r.chain_id not in needed]

    async def _remove_unless_needed(self, key: str, chain: str) -> None:
        """Remove the layer with an image's mount points if no container is on it."""
        async with self._sweeping:
            record = self._records.layers.get(key)
            containers = self._records.containers.values()
            if record is None or key in self._holds or any(c.chain_id == chain for c in containers):
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

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[..., T], *args: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, work, *args)
