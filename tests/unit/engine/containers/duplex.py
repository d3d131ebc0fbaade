"""A client's connection in memory: what the tests type, and what the client got."""

from __future__ import annotations

import asyncio


class FakeDuplex:
    def __init__(self, *, stalled: bool = False) -> None:
        self.got = bytearray()
        self.stalled = stalled
        self._typed: asyncio.Queue[bytes] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._news = asyncio.Event()

    def type(self, data: bytes) -> None:
        self._typed.put_nowait(data)

    def half_close(self) -> None:
        self._typed.put_nowait(b"")

    def hang_up(self) -> None:
        self._gone.set()
        self._typed.put_nowait(b"")

    async def until(self, data: bytes) -> None:
        """Return when the client has got `data`."""
        async with asyncio.timeout(20):
            while data not in self.got:
                self._news.clear()
                await self._news.wait()

    async def read(self, limit: int = 65536) -> bytes:
        return await self._typed.get()

    async def write(self, data: bytes | memoryview) -> None:
        if self._gone.is_set():
            raise ConnectionResetError
        if self.stalled:
            await self._gone.wait()
            raise ConnectionResetError
        self.got += data
        self._news.set()

    async def wait_closed(self) -> None:
        await self._gone.wait()
