"""Tells those who follow a log, on the event loop, that the pump's thread wrote to it."""

from __future__ import annotations

import asyncio
import contextlib


class LogFeed:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.version = 0
        """Counts the writes."""
        self.finished = False
        """No write will follow: the process' output is over, or the daemon goes down."""
        self._waiters: set[asyncio.Future[None]] = set()
        self._posted = False

    def written(self) -> None:
        """From the pump's thread, after a write."""
        self.version += 1
        self._tell()

    def finish(self) -> None:
        """From any thread."""
        self.finished = True
        self._tell()

    async def changed(self, seen: int) -> None:
        """Return when `version` is no longer `seen`, or it never will be."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        # Enlisted before the look at the version: the writer changes it before it looks for us.
        self._waiters.add(waiter)
        try:
            if self.version == seen and not self.finished:
                await waiter
        finally:
            self._waiters.discard(waiter)

    def _tell(self) -> None:
        if self._waiters and not self._posted:
            self._posted = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._posted = False
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
