"""Everything from one storage driver to another, and no moment at which it could be lost.

Images' layers are carried while the daemon serves. Then containers' own, with the layers held
still; one transaction makes the other driver's layers the real ones, and the daemon goes on with
that driver. The journal in the records says how far it came: after `kill -9` the same command
goes on from there. Only behind the switch is anything of the former driver removed.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack

import msgspec

from naru.engine.containers.containers import Containers
from naru.engine.images.library import Library
from naru.engine.images.progress import Message, Progress, status, step
from naru.engine.storage import planning
from naru.engine.storage.carrying import Carrying, clear_scratch, forget, remove_all
from naru.engine.storage.halting import Halting
from naru.engine.tasks import Tasks
from naru.kernel.filesystems import sync_filesystem
from naru.spec.containers import ContainerRecord
from naru.spec.errors import Conflict, InternalError, NaruError, NotFound
from naru.spec.storage import MIGRATION, MigrationRecord
from naru.store.choice import choose
from naru.store.driver import KeepsMounts, StorageDriver
from naru.store.drivers.probe import filesystem_type
from naru.store.records import Change, delete, put
from naru.store.switchable_layers import SwitchableLayers

log = logging.getLogger(__name__)

_PATIENCE = 30.0  # seconds for work on the layers to end by itself
_SHARING = ("btrfs", "xfs")  # file systems on which a copy costs no data


class Wanted(msgspec.Struct, frozen=True):
    target: str
    options: tuple[str, ...] = ()
    stop: bool = False


class Migration:
    def __init__(
        self,
        *,
        layers: SwitchableLayers,
        library: Library,
        containers: Containers,
        halting: Halting,
        tasks: Tasks,
        switched: Callable[[], None],
        named: str,
        options: Sequence[str],
    ) -> None:
        """`named` and `options`: the storage driver and its options of the configuration.

        `switched` is called when another driver has come into use.
        """
        self._records = library.records
        self._layers = layers
        self._library = library
        self._containers = containers
        self._halting = halting
        self._tasks = tasks
        self._switched = switched
        self._named = named
        self._options = list(options)
        self._report: Progress | None = None

    @property
    def pending(self) -> MigrationRecord | None:
        return self._records.migrations.get(MIGRATION)

    @property
    def under_way(self) -> bool:
        return self._report is not None

    def run(self, wanted: Wanted) -> AsyncIterator[Message]:
        """The progress of it all; an error ends it. A client that hangs up does not."""
        report = self._begin()
        self._tasks.spawn(self._run(wanted, report), name=f"migration to {wanted.target}")
        return report.watch()

    async def abandon(self) -> None:
        """Give up a migration that has not switched: what it carried is removed."""
        self._begin()
        try:
            pending = self.pending
            if pending is None:
                raise NotFound("no migration of the storage is pending")
            if pending.switched:
                raise Conflict(f"the migration is done: {pending.target} is in use")
            target = await self._driver(pending.target, pending.target_options)
            await asyncio.to_thread(remove_all, target, self._layers, lambda left: None)
            await forget(self._records)
        finally:
            self._report = None

    async def recover(self) -> None:
        """At the daemon's start, when the containers are taken over."""
        await asyncio.to_thread(clear_scratch, self._layers)
        pending = self.pending
        if pending is None:
            return
        report = self._begin()
        await self._halting.bring_back(report)
        if not pending.switched:
            log.warning(
                "the migration of the storage from %s to %s is not complete: 'naru storage migrate"
                " --to %s' goes on with it",
                pending.source, pending.target, pending.target,
            )  # fmt: skip
            self._report = None
            return
        self._tasks.spawn(self._end(report), name=f"removal of {pending.source}")

    def _begin(self) -> Progress:
        if self._report is not None:
            raise Conflict("a migration of the storage is under way")
        self._report = Progress()
        return self._report

    # -- the steps ------------------------------------------------------------------------------

    async def _run(self, wanted: Wanted, report: Progress) -> None:
        error: BaseException | None = None
        try:
            await self._migrate(wanted, report)
        except NaruError as failed:
            error = failed
        except OSError as failed:
            error = InternalError(f"migration to {wanted.target}: {failed}")
        except BaseException as failed:
            error = failed
            raise
        finally:
            self._report = None
            report.finish(error)

    async def _end(self, report: Progress) -> None:
        try:
            await self._remove_former(report)
        finally:
            self._report = None

    async def _migrate(self, wanted: Wanted, report: Progress) -> None:
        here = self._layers.driver.name
        planning.check_pending(self.pending, here, wanted.target)
        if self.pending is not None and self.pending.switched:
            await self._remove_former(report)
            return
        planning.check_running(planning.must_stop(self._containers.all()), stop=wanted.stop)
        target = await self._driver(wanted.target, wanted.options)
        if self.pending is None:
            await self._check_room(target)
        await self._note(wanted, here)
        report.emit(status(f"Migrating from {here} to {target.name}"))
        carrying = Carrying(
            records=self._records,
            layers=self._layers,
            library=self._library,
            target=target,
            report=report,
        )
        try:
            await self._carry(carrying, wanted, report)
        except BaseException:
            if self._layers.driver is not target and isinstance(target, KeepsMounts):
                await asyncio.to_thread(target.close)
            raise
        for line in planning.advice(
            target.name, named=self._named, options=self._options, given=wanted.options
        ):
            report.emit(status(f"WARNING: {line}"))
        await self._remove_former(report)
        report.emit(status(f"Status: the storage driver in use is {target.name}"))

    async def _carry(self, carrying: Carrying, wanted: Wanted, report: Progress) -> None:
        async with AsyncExitStack() as undo:
            undo.push_async_callback(carrying.end)
            await carrying.begin()
            await carrying.shared()
            undo.push_async_callback(self._halting.bring_back, report)
            try:
                await undo.enter_async_context(self._layers.still(seconds=_PATIENCE))
            except TimeoutError:
                raise Conflict(
                    "layers are being made or read (a pull, load, build or commit): try again when"
                    " that has ended; what was carried is kept"
                ) from None
            pending = self.pending
            assert pending is not None
            await self._halting.halt(pending, stop=wanted.stop, report=report)
            await self._halting.await_unmounted(seconds=_PATIENCE)
            await carrying.shared()
            containers = self._containers.all()
            await carrying.writable(containers)
            await carrying.tars()
            await carrying.prune()
            await asyncio.to_thread(sync_filesystem, self._layers.data_root)
            await self._switch(carrying.target, containers)
            report.emit(status(f"Switched to {carrying.target.name}"))

    async def _switch(self, target: StorageDriver, containers: list[ContainerRecord]) -> None:
        records, pending = self._records, self.pending
        assert pending is not None
        changes: list[Change] = []
        for layer in records.layers.values():
            carried = records.carried.get(layer.chain_id)
            if carried is None:
                raise InternalError(f"layer {layer.chain_id} was not carried")
            changes.append(put(records.layers, msgspec.structs.replace(
                layer, driver=target.name, storage_id=carried.storage_id
            )))  # fmt: skip
        changes += [
            put(records.containers, msgspec.structs.replace(present, driver=target.name))
            for container in containers
            if (present := self._containers.get(container.id)) is not None
        ]
        changes += [delete(records.carried, each.name) for each in records.carried.values()]
        changes.append(put(records.migrations, msgspec.structs.replace(pending, switched=True)))
        await records.commit(*changes)
        self._layers.switch(target)
        self._switched()

    async def _remove_former(self, report: Progress) -> None:
        pending = self.pending
        assert pending is not None
        source = await self._driver(pending.source, pending.source_options)
        loop = asyncio.get_running_loop()

        def left(count: int) -> None:
            loop.call_soon_threadsafe(
                report.emit, step(f"Removing, {count} layers left", pending.source)
            )

        # After a power cut no record may point to what is gone by then.
        await self._records.flush()
        try:
            await asyncio.to_thread(remove_all, source, self._layers, left)
        except OSError as error:
            raise InternalError(
                f"the layers of {pending.source} are not all removed: {error}"
            ) from error
        here = self._layers.driver.name
        for container in self._containers.all():
            if container.driver != here:  # saved by somebody in the moment of the switch
                late = msgspec.structs.replace(container, driver=here)
                await self._records.commit(put(self._records.containers, late))
        await forget(self._records)
        report.emit(step("Removed", pending.source))

    # -- before it begins -----------------------------------------------------------------------

    async def _driver(self, name: str, options: Sequence[str]) -> StorageDriver:
        layers = self._layers
        return await asyncio.to_thread(
            choose, name, layers.data_root, list(options), room=layers.room
        )

    async def _check_room(self, target: StorageDriver) -> None:
        containers = self._containers.all()
        own = {}
        for container in containers:
            try:
                own[container.id] = (await self._layers.usage(container.id)).bytes
            except (NaruError, OSError):
                log.debug("the space of container %s is not known", container.id[:12])
        root = self._layers.data_root
        kind = await asyncio.to_thread(filesystem_type, root)
        copies = target.name == "vfs" and kind not in _SHARING
        layers = self._records.layers.values()
        needed = planning.room_needed(layers, own, containers, copies=copies)
        disk, room = shutil.disk_usage(root), self._layers.room
        planning.check_room(needed, disk.free, room.floor.of(disk.total) if room else 0)

    async def _note(self, wanted: Wanted, here: str) -> None:
        """Write down what is about to happen, or with which options it goes on."""
        known = self.pending or MigrationRecord(
            source=here,
            source_options=self._options,
            target=wanted.target,
            started=time.time_ns(),
        )
        await self._save(msgspec.structs.replace(known, target_options=list(wanted.options)))

    async def _save(self, record: MigrationRecord) -> None:
        await self._records.commit(put(self._records.migrations, record))
