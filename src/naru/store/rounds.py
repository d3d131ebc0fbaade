"""Slow work that serves all who asked before it began: those who come meanwhile share the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Rounds:
    """`work` runs once at a time, for syncs of a file system for example."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def round(self) -> None:
        """Wait for a run that has begun after this call; its failure is that of all its callers."""
        if self._next is None:
            self._next = asyncio.create_task(self._run(self._running), name="a round of work")
            # Whoever waits for it may be cancelled: then nobody asks what became of it.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._next)

    async def _run(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        await self._work()
