"""Freezing and thawing all processes of a container."""

from __future__ import annotations

import msgspec

from naru.engine.containers import transitions
from naru.engine.containers.collaborators import Runtimes
from naru.engine.containers.containers import Containers
from naru.engine.containers.occurrences import occurrence
from naru.spec.containers import ContainerRecord, Status
from naru.spec.errors import InternalError, NaruError, no_such_container


class Pause:
    def __init__(self, *, containers: Containers, runtimes: Runtimes) -> None:
        self._containers = containers
        self._runtimes = runtimes

    async def pause(self, ref: str) -> None:
        record = self._containers.find(ref)
        async with self._containers.live(record).lock:
            record = self._present(record)
            transitions.may_pause(record)
            try:
                await self._runtimes[record.host_config.runtime].pause(record.id)
            except NaruError as error:
                raise InternalError(f"cannot pause container {record.id}: {error}") from error
            await self._save(record, Status.PAUSED, "pause")

    async def unpause(self, ref: str) -> None:
        record = self._containers.find(ref)
        async with self._containers.live(record).lock:
            record = self._present(record)
            transitions.may_unpause(record)
            try:
                await self._runtimes[record.host_config.runtime].resume(record.id)
            except NaruError as error:
                raise InternalError(f"cannot unpause container {record.id}: {error}") from error
            await self._save(record, Status.RUNNING, "unpause")

    async def _save(self, record: ContainerRecord, status: Status, action: str) -> None:
        state = msgspec.structs.replace(record.state, status=status)
        changed = msgspec.structs.replace(record, state=state)
        await self._containers.save(changed, occurrence(changed, action))

    def _present(self, record: ContainerRecord) -> ContainerRecord:
        present = self._containers.get(record.id)
        if present is None:
            raise no_such_container(record.id)
        return present
