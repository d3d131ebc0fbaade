"""Containers that run or are paused are stopped for a switch, and brought back as they were.

Who they are is in the migration's record before the first is stopped, and leaves it one by one:
also the daemon that comes after a `kill -9` brings back those that are left, and no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from naru.engine.containers.containers import Containers
from naru.engine.images.progress import Progress, status
from naru.engine.storage import planning
from naru.spec.containers import ContainerRecord, Status
from naru.spec.errors import Conflict, NaruError
from naru.spec.storage import MIGRATION, MigrationRecord
from naru.store.records import Records, put
from naru.store.switchable_layers import SwitchableLayers

log = logging.getLogger(__name__)


class Stopping(Protocol):
    async def stop(self, ref: str, *, signal: str = "", timeout: int | None = None) -> bool: ...


class Pausing(Protocol):
    async def pause(self, ref: str) -> None: ...


class Halting:
    def __init__(
        self,
        *,
        records: Records,
        layers: SwitchableLayers,
        containers: Containers,
        stop: Stopping,
        start: Callable[[str], Awaitable[bool]],
        pause: Pausing,
    ) -> None:
        self._records = records
        self._layers = layers
        self._containers = containers
        self._stop = stop
        self._start = start
        self._pause = pause

    async def halt(self, pending: MigrationRecord, *, stop: bool, report: Progress) -> None:
        """`Conflict` where something runs and `stop` is not given, or an end is not awaited."""
        active = planning.must_stop(self._containers.all())
        planning.check_running(active, stop=stop)
        if active:
            # Before the first is stopped: whoever comes after a crash must know.
            await self._save(planning.halted(pending, active))
        for container in active:
            report.emit(status(f"Stopping {container.name}"))
            await self._stop.stop(container.id)
            if (teardown := self._containers.live(container).teardown) is not None:
                await asyncio.wait({teardown})

    async def await_unmounted(self, *, seconds: float) -> None:
        """Until no container's files are in use, else `Conflict`."""
        names = {each.id: each.name for each in self._containers.all()}
        busy = await self._layers.await_unmounted(list(names), seconds=seconds)
        if busy:
            raise Conflict(
                f"files of containers are in use: {', '.join(names.get(i, i) for i in busy)}"
            )

    async def bring_back(self, report: Progress) -> None:
        """A failure is told, and does not keep the others from coming back."""
        pending = self._pending
        for container_id in pending.stopped if pending is not None else ():
            container = self._containers.get(container_id)
            if container is not None and (pending := self._pending) is not None:
                await self._bring_back(container, report, paused=container_id in pending.paused)
            if (pending := self._pending) is not None:
                await self._save(planning.brought_back(pending, container_id))

    async def _bring_back(
        self, container: ContainerRecord, report: Progress, *, paused: bool
    ) -> None:
        did = []
        try:
            if container.state.status is not Status.PAUSED and await self._start(container.id):
                did.append("Started")
            present = self._containers.get(container.id)
            if paused and present is not None and present.state.status is Status.RUNNING:
                await self._pause.pause(container.id)
                did.append("paused")
        except NaruError as error:
            what = "is not paused again" if did else "does not start again"
            log.warning("container %s %s: %s", container.name, what, error)
            report.emit(status(f"WARNING: {container.name} {what}: {error}"))
        if did:
            report.emit(status(f"{' and '.join(did).capitalize()} {container.name}"))

    @property
    def _pending(self) -> MigrationRecord | None:
        return self._records.migrations.get(MIGRATION)

    async def _save(self, record: MigrationRecord) -> None:
        await self._records.commit(put(self._records.migrations, record))
