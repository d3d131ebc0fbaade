"""`GET /containers/{id}/export`: the container's whole root, without its volumes, as a tar."""

from __future__ import annotations

from collections.abc import AsyncIterator

from naru.engine.containers import file_jobs
from naru.engine.containers.collaborators import Layers
from naru.engine.containers.containers import Containers
from naru.engine.containers.occurrences import occurrence
from naru.engine.pipes import from_worker
from naru.kernel.pipes import Piped
from naru.kernel.workers import Workers


class Export:
    def __init__(self, *, containers: Containers, layers: Layers, workers: Workers) -> None:
        self._containers = containers
        self._layers = layers
        self._workers = workers

    async def __call__(self, ref: str) -> AsyncIterator[bytes | Piped]:
        """Raises before the first piece when there is no such container."""
        record = self._containers.find(ref)
        async with self._layers.look(record.id) as root:
            async for piece in from_worker(self._workers, [], file_jobs.pack_root, root):
                yield piece
        await self._containers.tell(occurrence(record, "export"))
