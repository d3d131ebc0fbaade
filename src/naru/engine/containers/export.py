"""`GET /containers/{id}/export`: the container's whole root, without its volumes, as a tar."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from naru.engine.containers.collaborators import Layers
from naru.engine.containers.containers import Containers
from naru.engine.containers.occurrences import occurrence
from naru.store.diff import TreeDiff

_CHUNK = 256 * 1024


class Export:
    def __init__(self, *, containers: Containers, layers: Layers) -> None:
        self._containers = containers
        self._layers = layers

    async def __call__(self, ref: str) -> AsyncIterator[bytes]:
        """Raises before the first piece when there is no such container."""
        record = self._containers.find(ref)
        live = self._containers.live(record)
        rootfs = await self._layers.mount(record.id)
        try:
            async for piece in _archive(rootfs):
                yield piece
            await self._containers.tell(occurrence(record, "export"))
        finally:
            async with live.lock:
                present = self._containers.get(record.id)
                if present is None or not present.running:
                    await self._layers.unmount(record.id)


async def _archive(rootfs: Path) -> AsyncIterator[bytes]:
    """Walked and written in one worker thread, at the pace at which the pieces are taken."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)

    def write() -> None:
        with os.fdopen(write_end, "wb", buffering=_CHUNK) as out:
            TreeDiff(rootfs, None).write(out)

    writing = asyncio.get_running_loop().run_in_executor(None, write)
    try:
        while piece := await asyncio.to_thread(os.read, read_end, _CHUNK):
            yield piece
    finally:
        # Ends a writer that nobody reads from any more: it gets EPIPE.
        os.close(read_end)
        await asyncio.wait({writing})
    writing.result()
