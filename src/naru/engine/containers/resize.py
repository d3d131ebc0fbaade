"""`POST /containers/{id}/resize`: the size of the container's terminal."""

from __future__ import annotations

from naru.engine.containers import transitions
from naru.engine.containers.collaborators import Runtimes
from naru.engine.containers.containers import Containers
from naru.engine.containers.occurrences import occurrence


class Resize:
    def __init__(self, *, containers: Containers, runtimes: Runtimes) -> None:
        self._containers = containers
        self._runtimes = runtimes

    async def __call__(self, ref: str, *, height: int, width: int) -> None:
        record = self._containers.find(ref)
        transitions.must_run(record)
        runtime = self._runtimes[record.host_config.runtime]
        await runtime.resize(record.id, None, height, width)
        size = {"height": str(height), "width": str(width)}
        await self._containers.tell(occurrence(record, "resize", **size))
