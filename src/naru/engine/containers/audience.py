"""The clients of one process' output: a slow one slows the process, a stalled one is dropped.

As a terminal would, a slow client holds up what writes. One that takes nothing for `STALL_SECONDS`
while its buffer is full would freeze the process and the other clients.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Final

from naru.engine.containers.attachment import Attachment
from naru.engine.containers.outlet import Outlet

CLIENT_BUFFER: Final = 8 << 20
"""Bytes that wait for one client before the process has to wait for it."""

STALL_SECONDS: Final = 5.0


class Audience:
    """Everything here runs on the event loop."""

    def __init__(self, outlet: Outlet) -> None:
        """`outlet`: what reads the output, and is told to wait."""
        self._outlet = outlet
        self._loop = asyncio.get_running_loop()
        self._clients: set[Attachment] = set()
        self._watchdog: asyncio.TimerHandle | None = None

    def __contains__(self, client: Attachment) -> bool:
        return client in self._clients

    def __bool__(self) -> bool:
        return bool(self._clients)

    def add(self, client: Attachment) -> None:
        client.progressed = self.maybe_relieve
        self._clients.add(client)

    def discard(self, client: Attachment) -> None:
        self._clients.discard(client)

    def deliver(self, stream: str, data: bytes) -> None:
        for client in self._clients:
            client.push(stream, data)
        self._outlet.taken += len(data)
        if self._congested():
            self._outlet.congested = True
            self._watch_for_stall()
        else:
            self._outlet.relieve()

    def finish(self) -> None:
        """There is no more: each ends when it has taken all."""
        for client in self._clients:
            client.finish()

    async def flushed(self) -> None:
        """Wait until all have taken all. A client that stalls is given up."""
        for client in list(self._clients):
            await self._flushed(client)

    def maybe_relieve(self) -> None:
        """Let the process go on where everybody has caught up."""
        if self._outlet.congested and all(
            client.buffered <= CLIENT_BUFFER // 2 for client in self._clients
        ):
            self._relieve()

    def _congested(self) -> bool:
        return any(client.buffered > CLIENT_BUFFER for client in self._clients)

    def _watch_for_stall(self) -> None:
        if self._watchdog is None:
            before = {client: client.sent for client in self._clients}
            check = functools.partial(self._drop_stalled, before)
            self._watchdog = self._loop.call_later(STALL_SECONDS, check)

    def _drop_stalled(self, before: dict[Attachment, int]) -> None:
        self._watchdog = None
        for client, sent in before.items():
            full = client.buffered > CLIENT_BUFFER
            if full and client.sent == sent and client in self._clients:
                client.fail()
                self._clients.discard(client)
        if self._congested():
            self._watch_for_stall()
        else:
            self._relieve()

    def _relieve(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        self._outlet.congested = False
        self._outlet.relieve()

    async def _flushed(self, client: Attachment) -> None:
        while not client.flushed.is_set():
            sent = client.sent
            try:
                await asyncio.wait_for(client.flushed.wait(), STALL_SECONDS)
            except TimeoutError:
                if client.sent == sent:
                    client.fail()
