"""The layers of a migration, one after another; what is carried is recorded, and not done again."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import BinaryIO, TypeVar, cast

from naru.engine.containers.layer_size import storage_size
from naru.engine.images.layer_intake import keep
from naru.engine.images.layer_tars import LayerTars
from naru.engine.images.library import Library
from naru.engine.images.progress import Progress, step
from naru.engine.storage.planning import order
from naru.kernel import mounts
from naru.spec.containers import ContainerRecord
from naru.spec.errors import InternalError, NaruError
from naru.spec.layers import INIT, LayerRecord
from naru.spec.storage import CarriedRecord
from naru.store.blobs import Lease
from naru.store.carry import Carrier
from naru.store.driver import KeepsMounts, KeepsTars, StorageDriver
from naru.store.mounting import unmount_all
from naru.store.piece_reader import PieceReader
from naru.store.records import Records, delete, put
from naru.store.switchable_layers import SwitchableLayers

T = TypeVar("T")


class Carrying:
    """One attempt, from `begin` to `end`; `shared` and `writable` may be repeated."""

    def __init__(
        self,
        *,
        records: Records,
        layers: SwitchableLayers,
        library: Library,
        target: StorageDriver,
        report: Progress,
    ) -> None:
        self.target = target
        self._records = records
        self._layers = layers
        self._library = library
        self._report = report
        self._carrier = Carrier(
            layers.driver, target, layers.scratch, room=layers.room, copied=self._copied
        )
        self._now: tuple[str, int] = ("", 0)  # the layer under way, and its size
        self._done = 0
        self._loop = asyncio.get_running_loop()

    async def begin(self) -> None:
        """Take away what an interrupted attempt left half made."""
        known = {each.storage_id for each in self._records.carried.values()}

        def clear() -> None:
            clear_scratch(self._layers)
            self._layers.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
            for layer in set(self.target.layers()) - known:
                self.target.remove(layer)

        await self._blocking(clear)

    async def shared(self) -> None:
        """The images' layers, and those of mount points, that are not carried yet."""
        while missing := [
            layer
            for layer in order(self._records.layers.values())
            if layer.chain_id not in self._records.carried
        ]:
            for layer in missing:
                # Held: it must not be removed while it is read.
                self._layers.acquire(layer.chain_id)
                try:
                    if layer.chain_id in self._records.layers:
                        await self._shared(layer)
                finally:
                    self._layers.release(layer.chain_id)

    async def writable(self, containers: list[ContainerRecord]) -> None:
        """All containers' layers, those carried before too: they may have changed since."""
        here = set(await self._blocking(lambda: list(self._layers.driver.layers())))
        for container in containers:
            if container.id in here:  # else its removal has gone further than its record
                await self._writable(container)

    async def tars(self) -> None:
        """Blobs of what only the driver that is about to go can give back: for saves and pushes.

        With the layers held still: until then a blob may be dropped because of that driver.
        """
        for layer in list(self._records.layers.values()):
            await self._blocking(lambda layer=layer: self._keep_unless_kept(layer))  # type: ignore[misc]

    async def prune(self) -> None:
        """Remove what was carried, and is needed no longer: with the layers held still."""
        records = self._records
        names = {
            *(r.chain_id for r in records.layers.values()),
            *(c.id for c in records.containers.values()),
        }
        gone = [each for each in records.carried.values() if each.name not in names]
        await records.commit(*(delete(records.carried, each.name) for each in gone))
        for each in gone:
            await self._blocking(lambda layer=each.storage_id: self.target.remove(layer))  # type: ignore[misc]

    async def end(self) -> None:
        """Leave no mount behind, whatever came of it."""
        await asyncio.to_thread(clear_scratch, self._layers)

    async def _shared(self, layer: LayerRecord) -> None:
        carried = self._records.carried
        below = carried.get(layer.parent) if layer.parent else None
        if layer.parent and below is None:
            raise InternalError(f"the layer below {layer.chain_id} is missing")
        parent = below.storage_id if below else None
        new = secrets.token_hex(32)
        self._begin(layer.chain_id, layer.size)
        async with self._removed_if_half_made(layer.chain_id, new):
            if layer.diff_id:
                size = await self._blocking(lambda: self._image_layer(layer, new, parent))
            else:
                old = layer.storage_id
                size = await self._blocking(lambda: self._carrier.writable(old, new, parent, None))
        await self._carried(layer.chain_id, new, size)

    def _image_layer(self, layer: LayerRecord, new: str, parent: str | None) -> int:
        tars = LayerTars(self._library, inside=True)
        kept = self._library.layer_blob(layer.diff_id)
        with self._library.blobs.lease([kept.id] if kept else []) as lease:
            tar: BinaryIO | None = None
            if kept is None and tars.keeps(layer) and not isinstance(self.target, KeepsTars):
                # The driver that can give the tar back is about to go: saves and pushes need it.
                self._keep(tars.pieces(layer.diff_id), lease)
            if kept is not None or tars.kept_by_driver(layer.diff_id) is not None:
                tar = cast(BinaryIO, PieceReader(tars.pieces(layer.diff_id)))
            return self._carrier.image_layer(layer.storage_id, new, parent, layer.diff_id, tar)

    def _keep_unless_kept(self, layer: LayerRecord) -> None:
        tars = LayerTars(self._library, inside=True)
        if not tars.keeps(layer) or self._library.layer_blob(layer.diff_id) is not None:
            return
        carried = self._records.carried.get(layer.chain_id)
        assert carried is not None
        target = self.target
        if isinstance(target, KeepsTars) and target.tar_size(carried.storage_id) is not None:
            return
        with self._library.blobs.lease() as lease:
            self._keep(tars.pieces(layer.diff_id), lease)

    def _keep(self, tar: Iterable[bytes], lease: Lease) -> None:
        kept = keep(self._library.blobs, tar, lease).record(self._library.blobs)
        commit = self._records.commit(put(self._records.blobs, kept))
        asyncio.run_coroutine_threadsafe(commit, self._loop).result()

    async def _writable(self, container: ContainerRecord) -> None:
        base = self._records.carried.get(INIT + container.chain_id)
        if base is None:
            raise InternalError(f"the layer below container {container.name} is missing")
        size = storage_size(container.host_config)
        fresh = container.id not in self._records.carried

        def carry() -> int:
            if fresh:
                self.target.remove(container.id)
            return self._carrier.writable(container.id, container.id, base.storage_id, size)

        self._begin(container.id, 0)
        async with self._removed_if_half_made(container.id, container.id):
            copied = await self._blocking(carry)
        await self._carried(container.id, container.id, copied)

    @asynccontextmanager
    async def _removed_if_half_made(self, name: str, storage_id: str) -> AsyncIterator[None]:
        """It may be what has filled the disk, on which containers are to start again."""
        try:
            yield
        except NaruError:
            if name in self._records.carried:
                await self._records.commit(delete(self._records.carried, name))
            await self._blocking(lambda: self.target.remove(storage_id))
            raise

    def _begin(self, name: str, size: int) -> None:
        self._now, self._done = (_shown(name), size), 0
        self._report.emit(step("Carrying", _shown(name)))

    async def _carried(self, name: str, storage_id: str, size: int) -> None:
        record = CarriedRecord(name=name, storage_id=storage_id, size=size)
        await self._records.commit(put(self._records.carried, record))
        self._report.emit(step("Carried and verified", _shown(name)))

    def _copied(self, count: int) -> None:
        """From the worker thread."""
        self._done += count
        name, size = self._now
        done = self._done
        self._loop.call_soon_threadsafe(
            lambda: self._report.figures("Carrying", name, min(done, size or done), size)
        )

    async def _blocking(self, work: Callable[[], T]) -> T:
        """In a worker thread, and never left alone with what it is doing."""
        future = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._carrier.stop.set()
            await asyncio.wait([future])
            raise
        except OSError as error:
            raise InternalError(f"{self.target.name}: {error}") from error


def clear_scratch(layers: SwitchableLayers) -> None:
    """Blocks. Take down what a migration has mounted to compare, also one of a killed daemon."""
    if layers.scratch.exists():
        for target in mounts.mounts_below(layers.scratch):
            unmount_all(target)
        shutil.rmtree(layers.scratch)


def remove_all(
    driver: StorageDriver, layers: SwitchableLayers, told: Callable[[int], None]
) -> None:
    """Blocks. Remove a driver's every layer and its directory; `told` hears how many are left."""
    root = layers.data_root / driver.name
    found = sorted(set(driver.layers()))
    for number, layer in enumerate(found):
        unmount_all(root / layer / "merged")
        driver.remove(layer)
        told(len(found) - number - 1)
    if isinstance(driver, KeepsMounts):
        driver.close()
    shutil.rmtree(root, ignore_errors=True)


async def forget(records: Records) -> None:
    """The journal ends: no layer is carried, no migration pending."""
    await records.commit(
        *(delete(records.carried, each.name) for each in records.carried.values()),
        *(delete(records.migrations, each.id) for each in records.migrations.values()),
    )


def _shown(name: str) -> str:
    """Twelve digits, as images and containers are shown."""
    return name.removeprefix(INIT).removeprefix("sha256:")[:12] + (
        " (init)" if name.startswith(INIT) else ""
    )
