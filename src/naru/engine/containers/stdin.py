"""The input of one process: clients' bytes into its pipe or terminal, never blocking the loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable


class Stdin:
    """Owns `fd`. Several clients may write: one client's piece is never cut by another's."""

    def __init__(self, fd: int, *, close_other: Callable[[], Awaitable[None]]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._close_other = close_other
        self._turn = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._closed = self._loop.create_future()

    async def write(self, data: bytes) -> None:
        """Return when the process' pipe has taken all; `BrokenPipeError` when nobody reads it."""
        async with self._turn:
            rest = memoryview(data)
            while rest:
                if self._closed.done():
                    raise BrokenPipeError("the process' input is closed")
                try:
                    rest = rest[os.write(self._fd, rest) :]
                except BlockingIOError:
                    await self._writable()

    async def end(self) -> None:
        """Let the process read end-of-file: every copy of the pipe's write end is closed."""
        if not self._closed.done():
            self.close()
            await self._close_other()

    def close(self) -> None:
        """Close our copy only."""
        if not self._closed.done():
            self._closed.set_result(None)
            os.close(self._fd)

    async def _writable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(self._fd, _settle, ready)
        try:
            await asyncio.wait({ready, self._closed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._loop.remove_writer(self._fd)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
