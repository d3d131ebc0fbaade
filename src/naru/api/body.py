"""A request's body as it arrives: the handler's pace becomes the client's pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class ClientGone(ConnectionResetError):
    """The client of this very connection has left: nobody is there to be answered."""


HIGH_WATER = 256 * 1024
"""Bytes kept for a handler that is slower than its client, before reading stops."""


class Body:
    """Filled by the connection, emptied by one handler.

    `wanted` is called when the handler asks for what is not here (for `Expect: 100-continue`),
    `pace(True)` when the client must wait and `pace(False)` when it may go on.
    """

    def __init__(self, *, wanted: Callable[[], None], pace: Callable[[bool], None]) -> None:
        self.begun = False
        """Whether it is read from the connection; what comes before stays unparsed."""
        self.complete = False
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._wanted = wanted
        self._pace = pace
        self._held = False

    def feed(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and not self._held:
            self._held = True
            self._pace(True)
        self._wake()

    def finish(self) -> None:
        self.complete = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """The rest will not come: a reader that has taken what did come gets `error`."""
        if not self.complete and self._error is None:
            self._error = error
            self._wake()

    async def read(self) -> bytes:
        """The next piece; `b""` at the end of the body."""
        if not self._pieces and not self.complete:
            self._wanted()
        while not self._pieces:
            if self.complete:
                return b""
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = self._pieces.popleft()
        self._size -= len(data)
        if self._held and self._size <= HIGH_WATER // 2:
            self._held = False
            self._pace(False)
        return data

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
