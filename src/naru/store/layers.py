"""Layers: unpacked once per chain id, mounted for containers, gone when nothing needs them.

A read-only layer exists when its record does: what is on disk without one is half made, and
`recover()` removes it at start. Writable layers are named by the container's id. The storage driver
describes; this is the one place that mounts.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from naru.kernel import mounts
from naru.spec.errors import InternalError, InvalidParameter, NaruError, NotFound
from naru.spec.layers import LayerRecord, chain_id
from naru.store.driver import Change, StorageDriver, Usage
from naru.store.extract import ExtractError
from naru.store.records import Records, delete, put
from naru.store.tarstream import TarError

T = TypeVar("T")

_log = logging.getLogger(__name__)


class LayerStore:
    def __init__(
        self, *, root: Path, records: Records, driver: StorageDriver, run_root: Path
    ) -> None:
        """`root` is the data root: layers are below `root/<driver>`; `run_root` is for views."""
        self.driver = driver
        self._root = root / driver.name
        self._views = run_root / "views"
        self._records = records
        self._registering: dict[str, asyncio.Task[LayerRecord]] = {}
        self._held: dict[str, int] = {}
        self._sweeping = asyncio.Lock()
        self._locks: dict[str, _Lock] = {}
        # Unpacking is long, taking down a mount can be (900 ms were seen): neither waits for
        # the other, nor for whatever else uses the loop's default executor.
        self._bulk = ThreadPoolExecutor(max(2, os.cpu_count() or 1), "layers")
        self._quick = ThreadPoolExecutor(8, "mounts")

    # -- read-only layers -----------------------------------------------------------------------

    async def register(self, parent_chain: str | None, diff_id: str, tar: BinaryIO) -> LayerRecord:
        """Unpack an uncompressed layer tar, unless that layer is here -> its record.

        Whoever comes with the same chain id meanwhile waits for the first one's work (its own
        `tar` stays unread). `tar` is read in a worker thread. The layer is protected from
        `release_unused` until `release(chain_id)` is called as often as it was registered.
        """
        chain = chain_id(parent_chain, diff_id)
        async with self._sweeping:
            self.acquire(chain)
        try:
            while True:
                if (known := self._records.layers.get(chain)) is not None:
                    return known
                task = self._registering.get(chain)
                mine = task is None
                if task is None:
                    work = self._unpack(chain, parent_chain, diff_id, tar)
                    task = asyncio.create_task(work, name=f"register {chain[:19]}")
                    self._registering[chain] = task
                    task.add_done_callback(lambda _: self._registering.pop(chain, None))
                try:
                    return await asyncio.shield(task)
                except NaruError:
                    if mine:
                        raise
                    # The other's tar was bad, or its download broke: ours may be whole.
        except BaseException:
            self.release(chain)
            raise

    def get(self, chain: str) -> LayerRecord | None:
        return self._records.layers.get(chain)

    def acquire(self, chain: str) -> None:
        """Keep a layer that no image or container record needs yet."""
        self._held[chain] = self._held.get(chain, 0) + 1

    def release(self, chain: str) -> None:
        """Undo one `acquire` or `register`. It removes nothing: see `release_unused`."""
        left = self._held.get(chain, 0) - 1
        if left > 0:
            self._held[chain] = left
        else:
            self._held.pop(chain, None)

    async def release_unused(self) -> list[LayerRecord]:
        """Remove the layers that no image, container, holder or other layer needs -> those."""
        async with self._sweeping:
            needed = self._needed()
            unused = [r for r in self._records.layers.values() if r.chain_id not in needed]
            if not unused:
                return []
            # The records go first: a directory without one is rubbish that `recover` knows.
            await self._records.commit(*(delete(self._records.layers, r.chain_id) for r in unused))
        for record in unused:
            await self._run(self._bulk, self.driver.remove, record.storage_id)
        return unused

    async def diff_layer(self, chain: str, out: BinaryIO) -> None:
        """Write a read-only layer's changeset tar: for exports where the blob was not kept."""
        await self._run(self._bulk, self.driver.diff, self._storage_id(chain), out)

    # -- writable layers ------------------------------------------------------------------------

    async def create_writable(
        self, container_id: str, chain_id: str, *, size: int | None = None
    ) -> None:
        """`chain_id` "" is for a container without an image's layers; `size` a limit in bytes."""
        parent = self._storage_id(chain_id) if chain_id else None

        def create() -> None:
            try:
                self.driver.create(container_id, parent, writable=True, size=size)
            except BaseException:
                self.driver.remove(container_id)
                raise

        await self._run(self._quick, create)

    async def mount(self, container_id: str, *, init: Callable[[Path], None] | None = None) -> Path:
        """Mount a writable layer over its image -> the merged tree. Idempotent.

        `init` runs in a worker thread after each real mount, before anyone else gets the path.
        """
        target = self.target(container_id)
        async with self._lock(container_id):
            # Not in a thread: an overlay mount takes a third of a millisecond, about what the
            # way to a thread and back costs.
            if mounts.is_mounted(target):
                return target
            try:
                self._mount(container_id, target)
            except FileNotFoundError as error:
                raise NotFound(f"no layer for container {container_id}: {error}") from error
            except OSError as error:
                raise InternalError(f"error creating overlay mount to {target}: {error}") from error
            if init is not None:
                try:
                    await self._run(self._quick, init, target)
                except BaseException:
                    await self._run(self._quick, mounts.unmount, target)
                    raise
        return target

    async def unmount(self, container_id: str) -> None:
        """Idempotent. Processes that still use the tree keep it until they end."""
        target = self.target(container_id)
        async with self._lock(container_id):
            if mounts.is_mounted(target):
                await self._run(self._quick, _unmount_all, target)

    async def remove_writable(self, container_id: str) -> None:
        """Unmount and delete; a layer that is gone already is no error."""
        target = self.target(container_id)
        async with self._lock(container_id):
            await self._run(self._quick, _unmount_all, target)
            await self._run(self._bulk, self.driver.remove, container_id)

    async def view(self, chain: str) -> Path:
        """Mount a read-only layer with all below it, for reading -> the tree. Idempotent."""
        storage_id = self._storage_id(chain)
        target = self._views / storage_id
        async with self._lock(storage_id):
            if not mounts.is_mounted(target):
                target.mkdir(parents=True, exist_ok=True)
                for mount in self.driver.mounts(storage_id, target, read_only=True):
                    mounts.mount(mount)
        return target

    async def end_view(self, chain: str) -> None:
        target = self._views / self._storage_id(chain)
        async with self._lock(target.name):
            await self._run(self._quick, _unmount_all, target)
            if target.exists():
                target.rmdir()

    async def diff(self, container_id: str, out: BinaryIO) -> None:
        """Write a container's changes as an OCI changeset tar."""
        await self._run(self._bulk, self.driver.diff, container_id, out)

    async def changes(self, container_id: str) -> list[Change]:
        return await self._run(self._bulk, lambda: list(self.driver.changes(container_id)))

    async def usage(self, container_id: str) -> Usage:
        return await self._run(self._bulk, self.driver.usage, container_id)

    def target(self, container_id: str) -> Path:
        """Where a container's tree is, or would be, mounted."""
        return self._root / container_id / "merged"

    def data(self, container_id: str) -> dict[str, str]:
        """`GraphDriver.Data` of a container."""
        return self.driver.data(container_id, self.target(container_id))

    def image_data(self, chain: str) -> dict[str, str]:
        """`GraphDriver.Data` of an image."""
        storage_id = self._storage_id(chain)
        return self.driver.data(storage_id, self.target(storage_id))

    # -- start and end --------------------------------------------------------------------------

    async def recover(self) -> list[str]:
        """Remove what is on disk without a record, and mounts nobody needs -> what was removed."""
        known = {record.storage_id for record in self._records.layers.values()}
        known.update(record.id for record in self._records.containers.values())
        return await self._run(self._bulk, self._recover, known)

    async def close(self) -> None:
        """Wait for the work under way. Mounts stay: containers may run in them."""
        for task in list(self._registering.values()):
            task.cancel()
        await asyncio.gather(*self._registering.values(), return_exceptions=True)
        await asyncio.to_thread(self._bulk.shutdown)
        await asyncio.to_thread(self._quick.shutdown)

    # -- inside ---------------------------------------------------------------------------------

    def _storage_id(self, chain: str) -> str:
        record = self._records.layers.get(chain)
        if record is None:
            raise NotFound(f"layer {chain} does not exist")
        if record.driver != self.driver.name:
            raise NotFound(f"layer {chain} is in the storage of driver {record.driver}")
        return record.storage_id

    def _mount(self, container_id: str, target: Path) -> None:
        done = False
        try:
            for mount in self.driver.mounts(container_id, target):
                mounts.mount(mount)
                done = True
        except BaseException:
            if done:
                _unmount_all(target)
            raise

    async def _unpack(
        self, chain: str, parent: str | None, diff_id: str, tar: BinaryIO
    ) -> LayerRecord:
        below = self._storage_id(parent) if parent else None
        # Not the chain id: the same layer's last life may still be being removed.
        storage_id = secrets.token_hex(32)
        stop = threading.Event()
        work = asyncio.ensure_future(
            self._run(self._bulk, self._unpack_to, storage_id, below, diff_id, tar, stop)
        )
        try:
            size = await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([work])
            raise
        record = LayerRecord(
            chain_id=chain,
            diff_id=diff_id,
            parent=parent,
            driver=self.driver.name,
            storage_id=storage_id,
            size=size,
            created=time.time_ns(),
        )
        try:
            await self._records.commit(put(self._records.layers, record))
        except NaruError:
            await self._run(self._bulk, self.driver.remove, storage_id)
            raise
        return record

    def _unpack_to(
        self, layer: str, parent: str | None, diff_id: str, tar: BinaryIO, stop: threading.Event
    ) -> int:
        hashed = _Hashed(tar, stop)
        try:
            self.driver.create(layer, parent, writable=False)
            size = self.driver.apply(layer, cast(BinaryIO, hashed))
            hashed.drain()
            if hashed.digest() != diff_id:
                raise InvalidParameter(
                    f"filesystem layer verification failed: expected {diff_id},"
                    f" got {hashed.digest()}"
                )
        except BaseException as error:
            self.driver.remove(layer)
            if isinstance(error, TarError | ExtractError):
                raise InvalidParameter(f"failed to register layer: {error}") from error
            if isinstance(error, OSError):
                raise InternalError(f"failed to register layer: {error}") from error
            raise
        return size

    def _needed(self) -> set[str]:
        records = self._records
        pending: list[str] = [image.chain_id for image in records.images.values()]
        pending += [container.chain_id for container in records.containers.values()]
        pending += [*self._held, *self._registering]
        needed: set[str] = set()
        while pending:
            chain: str | None = pending.pop()
            while chain and chain not in needed:
                needed.add(chain)
                record = records.layers.get(chain)
                chain = record.parent if record else None
        return needed

    def _recover(self, known: Collection[str]) -> list[str]:
        removed = []
        for target in mounts.mounts_below(self._views) if self._views.exists() else []:
            mounts.unmount(target)
        for layer in sorted(set(self.driver.layers())):
            if layer in known:
                continue
            try:
                _unmount_all(self.target(layer))
                self.driver.remove(layer)
            except OSError as error:
                _log.warning("layers: the remains of %s are not removed: %s", layer, error)
            else:
                removed.append(layer)
                _log.info("layers: removed %s, which no record knows", layer)
        return removed

    def _lock(self, name: str) -> _Lock:
        return self._locks.setdefault(name, _Lock(self._locks, name))

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[..., T], *args: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, work, *args)


class _Lock:
    """One layer's mount state, changed by one task at a time; it leaves the table when free."""

    def __init__(self, table: dict[str, _Lock], name: str) -> None:
        self._table = table
        self._name = name
        self._lock = asyncio.Lock()
        self._users = 0

    async def __aenter__(self) -> None:
        self._users += 1
        try:
            await self._lock.acquire()
        except BaseException:
            self._left()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()
        self._left()

    def _left(self) -> None:
        self._users -= 1
        if not self._users:
            self._table.pop(self._name, None)


class _Hashed:
    """A reader that hashes what passes, and ends in the middle when told to stop."""

    def __init__(self, source: BinaryIO, stop: threading.Event) -> None:
        self._read: Callable[[int], bytes] = getattr(source, "read1", None) or source.read
        self._hash = hashlib.sha256()
        self._stop = stop

    def read(self, size: int = 1 << 20) -> bytes:
        if self._stop.is_set():
            raise InternalError("the registration was cancelled")
        piece = self._read(size if size and size > 0 else 1 << 20)
        self._hash.update(piece)
        return piece

    def drain(self) -> None:
        while self.read():
            pass

    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


def _unmount_all(target: Path) -> None:
    """Unmount `target`, however many mounts are stacked on it."""
    while mounts.is_mounted(target):
        mounts.unmount(target)
