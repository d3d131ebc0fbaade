"""`GET /containers/{id}/changes`: what a container's own layer changes of its image."""

from __future__ import annotations

from naru.engine.containers.collaborators import Layers
from naru.engine.containers.containers import Containers
from naru.store.driver import Change


class Changes:
    def __init__(self, *, containers: Containers, layers: Layers) -> None:
        self._containers = containers
        self._layers = layers

    async def __call__(self, ref: str) -> list[Change]:
        return await self._layers.changes(self._containers.find(ref).id)
