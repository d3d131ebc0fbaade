"""Where clients attach to a container: before its start, while it runs, across restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from naru.engine.containers.attachment import Attachment, AttachOptions, Duplex, Ending
from naru.engine.containers.intake import Mark

History = Callable[[Mark | None], AsyncIterator[bytes]]
"""Gives the log up to a mark, and the unfinished lines there; up to its end for None."""


class Run(Protocol):
    """The stdio of one run (`Streams`)."""

    def adopt(self, attachment: Attachment) -> None:
        """Send the output to `attachment` from now on; `serve` must follow."""

    async def serve(self, attachment: Attachment, history: History | None = None) -> Ending: ...


class AttachPoint:
    def __init__(self) -> None:
        self._streams: Run | None = None
        self._waiting: dict[Attachment, asyncio.Future[Run | None]] = {}
        self._closed = False

    async def attach(
        self, conn: Duplex, options: AttachOptions, *, history: History | None = None
    ) -> Ending:
        """Connect a client until the process ends, the client leaves or detaches.

        Before a start this waits for it, and no byte of the output is missed. `history` is sent
        first; what a running process writes meanwhile follows without gap or repetition.
        """
        attachment = Attachment(conn, options)
        if self._streams is not None:
            return await self._streams.serve(attachment, history)
        if history is not None:
            async for chunk in history(None):
                await conn.write(chunk)
        if self._closed:
            return Ending.EXITED
        started: asyncio.Future[Run | None] = asyncio.get_running_loop().create_future()
        self._waiting[attachment] = started
        gone = asyncio.ensure_future(conn.wait_closed())
        try:
            either: set[asyncio.Future[Any]] = {started, gone}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not started.done():
                return Ending.GONE
            streams = started.result()
            return Ending.EXITED if streams is None else await streams.serve(attachment)
        finally:
            self._waiting.pop(attachment, None)
            gone.cancel()

    def close(self) -> None:
        """The container is removed: whoever still waits for a start waits in vain."""
        self._closed = True
        self._hand_over(None)

    def opened(self, streams: Run) -> None:
        """Called by `Streams.start`: the clients that wait become the process' clients."""
        self._streams = streams
        for attachment in self._waiting:
            streams.adopt(attachment)
        self._hand_over(streams)

    def ended(self, streams: Run) -> None:
        if self._streams is streams:
            self._streams = None

    def _hand_over(self, streams: Run | None) -> None:
        waiting, self._waiting = self._waiting, {}
        for started in waiting.values():
            if not started.done():
                started.set_result(streams)
