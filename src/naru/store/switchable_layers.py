"""A layer store whose driver can be exchanged while the daemon serves.

Whatever makes, mounts, reads or removes layers passes a gate. While the gate is closed such calls
wait, and go on with the driver that is in use then: nobody sees a switch but as a short wait.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from naru.kernel import mounts
from naru.kernel.workers import Workers
from naru.spec.layers import LayerRecord
from naru.store.compression import Readable
from naru.store.driver import Change, StorageDriver, Usage
from naru.store.gate import Gate
from naru.store.layers import LayerStore, nothing_more
from naru.store.records import Records
from naru.store.room import Room
from naru.store.shared_layers import StagedLayer

T = TypeVar("T")


class SwitchableLayers(LayerStore):
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
        super().__init__(
            root=root, records=records, driver=driver, run_root=run_root, room=room, workers=workers
        )
        self.data_root = root
        self.scratch = run_root / "migration"
        """Where a migration mounts the two trees that it works on."""
        self._gate = Gate()
        self._unmounted = asyncio.Event()

    @asynccontextmanager
    async def still(self, *, seconds: float) -> AsyncIterator[None]:
        """Nothing of the layers is used or changed by others; `TimeoutError` if it does not end."""
        async with self._gate.closed(seconds=seconds):
            if self._unrecorded:
                # Unpacked and not yet in its place: that must come behind this gate again.
                raise TimeoutError
            yield

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[StorageDriver]:
        """The driver, which stays the one in use until the end of the block."""
        async with self._gate.passing():
            yield self.driver

    @contextmanager
    def reading_in_thread(self, *, on_behalf: bool = False) -> Iterator[StorageDriver]:
        with self._gate.passing_in_thread(on_behalf=on_behalf):
            yield self.driver

    async def await_unmounted(self, container_ids: Sequence[str], *, seconds: float) -> list[str]:
        """Wait until no tree of these is mounted -> those that are, after `seconds`."""

        def left() -> list[str]:
            return [each for each in container_ids if mounts.is_mounted(self.target(each))]

        try:
            async with asyncio.timeout(seconds):
                while left():
                    self._unmounted.clear()
                    await self._unmounted.wait()
        except TimeoutError:
            pass
        return left()

    def switch(self, driver: StorageDriver) -> StorageDriver:
        """Use `driver` from now on -> the former one. With the gate closed only."""
        former, self.driver = self.driver, driver
        self._root = self.data_root / driver.name
        return former

    # -- what passes the gate -------------------------------------------------------------------

    async def register(self, parent_chain: str | None, diff_id: str, tar: Readable) -> LayerRecord:
        async with self._gate.passing():
            return await super().register(parent_chain, diff_id, tar)

    def stage(self, tar: Readable, stop: threading.Event | None = None) -> StagedLayer:
        with self._gate.passing_in_thread(on_behalf=True):
            return super().stage(tar, stop)

    async def adopt(self, parent_chain: str | None, staged: StagedLayer) -> LayerRecord:
        async with self._gate.passing():
            return await super().adopt(parent_chain, staged)

    async def release_unused(self) -> list[LayerRecord]:
        async with self._gate.passing():
            return await super().release_unused()

    async def diff_layer(self, chain: str, out: BinaryIO) -> None:
        async with self._gate.passing():
            await super().diff_layer(chain, out)

    async def create_writable(
        self,
        container_id: str,
        chain_id: str,
        *,
        size: int | None = None,
        record: Callable[[], Awaitable[None]] = nothing_more,
    ) -> None:
        async with self._gate.passing():
            # The record comes within: a layer without one would not be carried by a migration.
            await super().create_writable(container_id, chain_id, size=size, record=record)

    async def mount(self, container_id: str, *, init: Callable[[Path], None] | None = None) -> Path:
        async with self._gate.passing():
            return await super().mount(container_id, init=init)

    async def unmount(self, container_id: str) -> None:
        # Not through the gate: whoever closed it may be waiting for just this.
        await super().unmount(container_id)
        self._unmounted.set()

    async def remove_writable(self, container_id: str) -> None:
        async with self._gate.passing():
            await super().remove_writable(container_id)

    async def view(self, chain: str) -> Path:
        async with self._gate.passing():
            return await super().view(chain)

    async def diff(self, container_id: str, out: BinaryIO) -> None:
        async with self._gate.passing():
            await super().diff(container_id, out)

    async def diff_to(self, container_id: str, take: Callable[[Readable], T]) -> T:
        async with self._gate.passing():
            return await super().diff_to(container_id, take)

    async def changes(self, container_id: str) -> list[Change]:
        async with self._gate.passing():
            return await super().changes(container_id)

    async def usage(self, container_id: str) -> Usage:
        async with self._gate.passing():
            return await super().usage(container_id)

    async def orphans(self, busy: Callable[[], Collection[str]] = frozenset) -> list[str]:
        async with self._gate.passing():
            return await super().orphans(busy)

    async def remove_orphans(self, orphans: Collection[str]) -> list[str]:
        async with self._gate.passing():
            return await super().remove_orphans(orphans)

    async def missing(self) -> list[str]:
        async with self._gate.passing():
            return await super().missing()

    async def stale_mounts(self, needed: Callable[[], Collection[str]]) -> list[str]:
        async with self._gate.passing():
            return await super().stale_mounts(needed)
