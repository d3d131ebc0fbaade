"""Containers whose record is here, and whose files are not: a power cut took them.

What a create makes is not synced (a container would start later for it), so that the record may be
on the disk before the directory and the layer are. A container that never ran has nothing in them
that cannot be made again. One that ran keeps its record, and says on start what it has lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from naru.engine.containers.containers import Containers
from naru.engine.containers.layer_size import storage_size
from naru.engine.containers.paths import ContainerPaths
from naru.spec.containers import ContainerRecord
from naru.spec.errors import NaruError

log = logging.getLogger(__name__)


class Layers(Protocol):
    async def missing(self) -> list[str]: ...
    async def remove_writable(self, container_id: str) -> None: ...
    async def create_writable(
        self, container_id: str, chain_id: str, *, size: int | None = None
    ) -> None: ...


class LostFiles:
    def __init__(self, *, containers: Containers, layers: Layers, paths: ContainerPaths) -> None:
        self._containers = containers
        self._layers = layers
        self._paths = paths

    async def restore(self) -> None:
        """At start, before anything opens a container's files."""
        for record in self._containers.all():
            if not self._paths.directory(record.id).is_dir():
                log.warning(
                    "container %s: its log and files are lost; starting new ones", record.id[:12]
                )
                await self.make_directory(record)
        for missing in await self._layers.missing():
            record_of = self._containers.get(missing)
            if record_of is None:
                continue
            if (again := self.again(record_of)) is None:
                log.error("container %s has lost its layer", missing[:12])
                continue
            try:
                await again()
            except NaruError as error:
                log.warning("container %s has lost its layer: %s", missing[:12], error)

    async def make_directory(self, record: ContainerRecord) -> None:
        directory = self._paths.directory(record.id)
        await asyncio.to_thread(directory.mkdir, mode=0o710, parents=True, exist_ok=True)

    def again(self, record: ContainerRecord) -> Callable[[], Awaitable[None]] | None:
        """How to make a lost layer anew; None where its container may have written to it."""
        if record.state.started_at:
            return None

        async def make() -> None:
            size = storage_size(record.host_config)
            await self._layers.remove_writable(record.id)  # what is left of it
            await self._layers.create_writable(record.id, record.chain_id, size=size)
            log.warning("container %s: its lost layer is made anew, empty", record.id[:12])

        return make
