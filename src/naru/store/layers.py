"""Containers' writable layers: made, mounted, compared, removed; and the repair at start.

A writable layer is named by the container's id, and lives as long as the container's record does.
The storage driver describes what to mount; this and `mounting` are where it is mounted.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, TypeVar

from naru.kernel import mounts
from naru.kernel.mounts import Mount
from naru.kernel.workers import Workers
from naru.spec.layers import LayerRecord
from naru.store import writable
from naru.store.compression import Readable
from naru.store.diff_stream import take_diff
from naru.store.driver import Change, KeepsMounts, MountsSlowly, Releases, StorageDriver, Usage
from naru.store.mounting import mount_all, mount_writable, shown, unmount_all, unmount_layer
from naru.store.named_locks import NamedLocks
from naru.store.records import Records
from naru.store.room import Room
from naru.store.shared_layers import SharedLayers

T = TypeVar("T")

_log = logging.getLogger(__name__)


async def nothing_more() -> None:
    """Whose layer it is, is known."""


class LayerStore(SharedLayers):
    """All layers of a daemon: the shared ones, and each container's own."""

    def __init__(
        self,
        *,
        root: Path,
        records: Records,
        driver: StorageDriver,
        run_root: Path,
        room: Room | None = None,
        workers: Workers | None = None,
    ) -> None:
        """`root` is the data root: layers are below `root/<driver>`; `run_root` is for views."""
        super().__init__(root=root, records=records, driver=driver, room=room, workers=workers)
        self._views = run_root / "views"
        self._locks = NamedLocks()
        self._mounted: set[str] = set()  # containers whose tree this daemon has mounted

    # -- writable layers ------------------------------------------------------------------------

    async def create_writable(
        self,
        container_id: str,
        chain_id: str,
        *,
        size: int | None = None,
        record: Callable[[], Awaitable[None]] = nothing_more,
    ) -> None:
        """`chain_id` "" is for a container without an image's layers; `size` a limit in bytes.

        `record` is called when the layer is there, to write down whose it is.
        """
        self.check_room("making a container's layer")
        async with self.base(chain_id) as base:
            make = functools.partial(writable.create, chain_id=chain_id, size=size)
            await self._run(self._quick, make, self.driver, container_id, base)
            await record()

    async def mount(self, container_id: str, *, init: Callable[[Path], None] | None = None) -> Path:
        """Mount a writable layer over its image -> the merged tree. Idempotent.

        `init` runs in a worker thread after each real mount, before anyone else gets the path.
        """
        target = self.target(container_id)
        async with self._locks.hold(container_id):
            self._mounted.add(container_id)
            if mounts.is_mounted(target):
                return target
            with writable.mounting(self.driver, container_id, target):
                await self._mount(container_id, target)
            if init is not None:
                try:
                    await self._run(self._quick, init, target)
                except BaseException:
                    await self._run(self._quick, mounts.unmount, target)
                    raise
        return target

    @contextlib.contextmanager
    def peek(self, layer: str) -> Iterator[Path]:
        """Blocks. A layer's tree, to read, by the driver's name for it: for a few moments.

        Where its container has it mounted, that mount; what a crash leaves goes at the next start.
        """
        target = self.target(layer)
        if mounts.is_mounted(target):
            yield target
            return
        with shown(self.driver, layer, self._views, read_only=True) as view:
            yield view

    @contextlib.asynccontextmanager
    async def look(self, container_id: str) -> AsyncIterator[Path]:
        """The same of a container, for as long as it takes: its driver stays the one in use.

        What is mounted for it cannot be written to: the end of what can syncs the file system.
        """
        async with contextlib.AsyncExitStack() as undo:
            driver = await undo.enter_async_context(self.reading())
            view = self.peek(container_id)
            async with self._locks.hold(container_id):
                with writable.mounting(driver, container_id, self._views):
                    tree = await self._run(self._quick, view.__enter__)
            undo.push_async_callback(self._end_look, container_id, view)
            yield tree

    async def _end_look(self, container_id: str, view: AbstractContextManager[Path]) -> None:
        async with self._locks.hold(container_id):
            await self._run(self._quick, view.__exit__, None, None, None)

    async def unmount(self, container_id: str) -> None:
        """Idempotent. Processes that still use the tree keep it until they end."""
        target = self.target(container_id)
        async with self._locks.hold(container_id):
            if mounts.is_mounted(target) or isinstance(self.driver, Releases):
                await self._run(self._quick, unmount_layer, self.driver, container_id, target)
            self._mounted.discard(container_id)

    async def remove_writable(self, container_id: str) -> None:
        """Unmount and delete; a layer that is gone already is no error."""
        target = self.target(container_id)
        async with self._locks.hold(container_id):
            await self._run(self._quick, unmount_all, target)
            self._mounted.discard(container_id)
            await self._run(self._bulk, self.driver.remove, container_id)

    async def view(self, chain: str) -> Path:
        """Mount a read-only layer with all below it, for reading -> the tree. Idempotent."""
        storage_id = self.storage_id(chain)
        target = self._views / storage_id
        async with self._locks.hold(storage_id):
            if not mounts.is_mounted(target):
                target.mkdir(parents=True, exist_ok=True)
                plan = self.driver.mounts(storage_id, target, read_only=True)
                await self._run(self._quick, mount_all, plan)
        return target

    async def end_view(self, chain: str) -> None:
        target = self._views / self.storage_id(chain)
        async with self._locks.hold(target.name):
            await self._run(self._quick, unmount_layer, self.driver, target.name, target)
            if target.exists():
                target.rmdir()

    async def diff(self, container_id: str, out: BinaryIO) -> None:
        """Write a container's changes as an OCI changeset tar."""
        await self._run(self._bulk, self.driver.diff, container_id, out)

    async def diff_to(self, container_id: str, take: Callable[[Readable], T]) -> T:
        """Call `take`, in a thread, with a container's changes as an OCI changeset tar.

        The tar is written while it is read. Where that fails, its error is the one raised.
        """
        return await self._run(self._bulk, take_diff, self.driver, container_id, take, self.workers)

    async def changes(self, container_id: str) -> list[Change]:
        return await self._run(self._bulk, lambda: list(self.driver.changes(container_id)))

    async def usage(self, container_id: str) -> Usage:
        return await self._run(self._bulk, self.driver.usage, container_id)

    def data(self, container_id: str) -> dict[str, str]:
        """`GraphDriver.Data` of a container."""
        return self.driver.data(container_id, self.target(container_id))

    def image_data(self, chain: str) -> dict[str, str]:
        """`GraphDriver.Data` of an image."""
        storage_id = self.storage_id(chain)
        return self.driver.data(storage_id, self.target(storage_id))

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[StorageDriver]:
        """The driver, which stays the one in use until the end of the block."""
        yield self.driver

    @contextlib.contextmanager
    def reading_in_thread(self, *, on_behalf: bool = False) -> Iterator[StorageDriver]:
        """The same for worker threads; `on_behalf` of a call to the layers that is under way."""
        yield self.driver

    # -- start and end --------------------------------------------------------------------------

    async def recover(self) -> list[str]:
        """Remove what is on disk without a record, and mounts nobody needs -> what was removed."""
        if self.workers is not None:
            await self._run(self._bulk, self.workers.await_former)
        await self._run(self._bulk, self._end_views)
        return await self.remove_orphans(await self.orphans())

    async def orphans(self, busy: Callable[[], Collection[str]] = frozenset) -> list[str]:
        """Layers on disk without a record, which nobody is making or removing.

        `busy` gives the containers whose layers are being made or removed. What is on disk is
        listed before anyone is asked, so that what is made meanwhile is known by then; and once
        more after it, because what is removed meanwhile is gone.
        """
        found = await self._run(self._bulk, lambda: set(self.driver.layers()))
        known = {record.storage_id for record in self._records.layers.values()}
        known.update(record.id for record in self._records.containers.values())
        unknown = found - known - self._unrecorded - set(busy())
        if unknown:
            unknown &= await self._run(self._bulk, lambda: set(self.driver.layers()))
        return sorted(unknown)

    async def remove_orphans(self, orphans: Collection[str]) -> list[str]:
        """-> those that are gone; the log says why the others are not."""
        return await self._run(self._bulk, self._remove_orphans, orphans)

    async def missing(self) -> list[str]:
        """Storage ids that a record names, and containers, which the driver does not have."""
        found = await self._run(self._bulk, lambda: set(self.driver.layers()))
        named = self._named()
        if gone := named - found:
            # Recorded since the listing? What is there now has been there all the time.
            gone &= self._named() - await self._run(self._bulk, lambda: set(self.driver.layers()))
        return sorted(gone | await self._run(self._bulk, self._damaged, named - gone))

    async def unused(self) -> list[LayerRecord]:
        """What `release_unused` would remove."""
        await self._holds.settled()
        async with self._sweeping:
            return self._unused()

    async def stale_mounts(self, needed: Callable[[], Collection[str]]) -> list[str]:
        """Containers whose tree a former daemon has mounted, but for those that are `needed`."""
        found = await self._run(self._quick, mounts.mounts_below, self._root)
        ids = {path.parent.name for path in found if path.name == "merged"}
        return sorted(ids - self._mounted - self._unrecorded - set(self._locks) - set(needed()))

    async def close(self) -> None:
        """Wait for the work under way. Containers' mounts stay: they may run in them."""
        await self._making.close()
        await self._holds.settled()
        if isinstance(self.driver, KeepsMounts):
            await self._run(self._quick, self.driver.close)
        await asyncio.to_thread(self._bulk.shutdown)
        await asyncio.to_thread(self._quick.shutdown)
        if self.workers is not None:
            await asyncio.to_thread(self.workers.close)

    # -- inside ---------------------------------------------------------------------------------

    async def _mount(self, container_id: str, target: Path) -> None:
        driver = self.driver
        plan: Sequence[Mount] | None = None
        if not (isinstance(driver, MountsSlowly) and driver.mounts_slowly):
            plan = driver.mounts(container_id, target)
            if len(plan) == 1 and not plan[0].type.startswith("fuse."):
                # Not in a thread: an overlay mount takes a third of a millisecond, about what the
                # way to a thread and back costs.
                mount_writable(driver, container_id, target, plan)
                return
        await self._run(self._quick, mount_writable, driver, container_id, target, plan)

    def _named(self) -> set[str]:
        here = self.driver.name
        named = {r.storage_id for r in self._records.layers.values() if r.driver == here}
        return named | {c.id for c in self._records.containers.values() if c.driver == here}

    def _damaged(self, layers: Collection[str]) -> set[str]:
        """Containers' layers of which the driver cannot say what is below: it has lost that."""
        damaged = set()
        for layer in layers:
            if layer in self._records.containers:
                try:
                    self.driver.data(layer, self.target(layer))
                except FileNotFoundError:
                    damaged.add(layer)
        return damaged

    def _end_views(self) -> None:
        for target in mounts.mounts_below(self._views) if self._views.exists() else []:
            mounts.unmount(target)

    def _remove_orphans(self, orphans: Collection[str]) -> list[str]:
        removed = []
        for layer in orphans:
            try:
                unmount_all(self.target(layer))
                self.driver.remove(layer)
            except OSError as error:
                _log.warning("layers: the remains of %s are not removed: %s", layer, error)
            else:
                removed.append(layer)
                _log.info("layers: removed %s, which no record knows", layer)
        return removed
