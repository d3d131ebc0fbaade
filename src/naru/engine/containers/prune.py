"""`POST /containers/prune`: every container that does not run, and the space that it took."""

from __future__ import annotations

import asyncio

import msgspec

from naru.engine.containers import filters as container_filters
from naru.engine.containers.collaborators import Layers
from naru.engine.containers.containers import Containers
from naru.engine.containers.filters import Filters
from naru.engine.containers.remove import Remove
from naru.spec.containers import Status
from naru.spec.errors import Conflict, NaruError
from naru.spec.events import Event


class Pruned(msgspec.Struct, frozen=True):
    ids: list[str]
    reclaimed: int  # bytes


class Prune:
    def __init__(self, *, containers: Containers, layers: Layers, remove: Remove) -> None:
        self._containers = containers
        self._layers = layers
        self._remove = remove
        self._running = asyncio.Lock()

    async def __call__(self, filters: Filters) -> Pruned:
        wanted = container_filters.for_prune(filters)
        if self._running.locked():
            raise Conflict("a prune operation is already running")
        async with self._running:
            ids: list[str] = []
            reclaimed = 0
            for record in self._containers.all():
                busy = record.running or record.state.status is Status.RESTARTING
                if busy or not wanted.matches(record):
                    continue
                try:
                    used = (await self._layers.usage(record.id)).bytes
                    await self._remove(record.id)
                except NaruError:
                    continue  # it was started or removed meanwhile
                ids.append(record.id)
                reclaimed += used
            event = Event(
                type="container",
                action="prune",
                actor_id="",
                attributes={"reclaimed": str(reclaimed)},
            )
            await self._containers.tell(event)
            return Pruned(ids, reclaimed)
