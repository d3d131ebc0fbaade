"""A door that many pass at once, tasks and threads, and that one may close for itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


class Gate:
    def __init__(self) -> None:
        self._inside = 0
        self._changed = threading.Condition()
        self._closed = False  # no task comes in any more
        self._held = False  # and nobody is inside any more
        self._open = asyncio.Event()
        self._open.set()
        self._left: asyncio.Future[None] | None = None  # of the one who waits for it to be empty

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Wait while it is closed; while one is inside nobody can close it."""
        while not self._enter():
            await self._open.wait()
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def passing_in_thread(self, *, on_behalf: bool) -> Iterator[None]:
        """The same for worker threads. Blocks.

        `on_behalf`: of one who is, or may be, inside. Then it lets in while others are still
        inside: it may be for this thread's work that they are waiting.
        """
        with self._changed:
            while self._held or (self._closed and not on_behalf):
                self._changed.wait()
            self._inside += 1
        try:
            yield
        finally:
            self._leave()

    @asynccontextmanager
    async def closed(self, *, seconds: float) -> AsyncIterator[None]:
        """Let nobody in, and wait until those inside have left; `TimeoutError` after `seconds`."""
        while self._closed:
            await self._open.wait()
        left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._changed:
            self._closed = True
            self._left = left
            if not self._inside:
                self._held = True
                left.set_result(None)
        self._open.clear()
        try:
            await asyncio.wait_for(left, seconds)
            yield
        finally:
            with self._changed:
                self._closed = self._held = False
                self._left = None
                self._changed.notify_all()
            self._open.set()

    def _enter(self) -> bool:
        with self._changed:
            if self._closed:
                return False
            self._inside += 1
            return True

    def _leave(self) -> None:
        with self._changed:
            self._inside -= 1
            left = self._left if not self._inside else None
            if left is not None:
                self._held = True
        if left is not None:
            left.get_loop().call_soon_threadsafe(_done, left)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
