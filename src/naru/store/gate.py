"""A door that much passes at once, and that one may close for itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


class Gate:
    def __init__(self) -> None:
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._open = asyncio.Event()
        self._open.set()

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Wait while it is closed; while one is inside nobody can close it."""
        while not self._open.is_set():
            await self._open.wait()
        with self._entered():
            yield

    @asynccontextmanager
    async def closed(self, *, seconds: float) -> AsyncIterator[None]:
        """Let nobody in, and wait until those inside have left; `TimeoutError` after `seconds`."""
        while not self._open.is_set():
            await self._open.wait()
        self._open.clear()
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
            yield
        finally:
            self._open.set()

    @contextmanager
    def _entered(self) -> Iterator[None]:
        self._inside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()
