"""One client of a process' output: a bounded buffer between the pump and a connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from enum import Enum
from typing import NamedTuple, Protocol

from naru.engine.containers import multiplex


class Duplex(Protocol):
    """A client's connection: raw bytes both ways, half-close included (`api.messages.Hijacked`)."""

    async def read(self, limit: int = 65536) -> bytes: ...

    async def write(self, data: bytes | memoryview) -> None: ...

    async def wait_closed(self) -> None: ...


class AttachOptions(NamedTuple):
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    detach_keys: bytes = b""
    """Sequence that detaches; only a terminal has one."""
    mux: bool = True
    """Frame stdout and stderr (no terminal); else raw bytes."""

    def wants(self, stream: str) -> bool:
        return self.stdout if stream == "stdout" else self.stderr


class Ending(Enum):
    """Why an attach ended."""

    EXITED = "the process has no more output, and all of it was sent"
    DETACHED = "the client typed the detach keys"
    GONE = "the client hung up or was too slow for too long"
    INPUT_OVER = "the client ended its input, which this process may get from others too"


class Attachment:
    """The output side of one client. Everything here runs on the event loop."""

    def __init__(self, conn: Duplex, options: AttachOptions) -> None:
        self.conn = conn
        self.options = options
        self.buffered = 0
        """Bytes that the client has not taken yet."""
        self.progressed: Callable[[], None] = lambda: None
        """Called when the client has taken something."""
        self.sent = 0
        """Bytes taken so far: what tells a slow client from a stalled one."""
        self.flushed = asyncio.Event()
        """Set when `send` is over, for whatever reason."""
        self._chunks: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._finished = False
        self.given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def push(self, stream: str, data: bytes) -> None:
        if self._finished or not self.options.wants(stream):
            return
        chunk = multiplex.frame(multiplex.NUMBERS[stream], data) if self.options.mux else data
        self._chunks.append(chunk)
        self.buffered += len(chunk)
        self._more.set()

    def finish(self) -> None:
        """No more output will come; `send` returns when the rest is out."""
        self._finished = True
        self._more.set()

    def fail(self) -> None:
        """Give the client up: it did not take its output in time."""
        self._finished = True
        self._chunks.clear()
        self.buffered = 0
        self.flushed.set()
        if not self.given_up.done():
            self.given_up.set_result(None)

    async def send(self, before: AsyncIterator[bytes] | None = None) -> Ending:
        """Send `before`, ready as it is, then what is pushed, until `finish`."""
        try:
            if before is not None:
                async for chunk in before:
                    await self.conn.write(chunk)
                    self.sent += len(chunk)
            while True:
                while self._chunks:
                    chunk = self._chunks.popleft()
                    await self.conn.write(chunk)
                    self.sent += len(chunk)
                    self.buffered = max(0, self.buffered - len(chunk))
                    self.progressed()
                if self._finished:
                    return Ending.EXITED
                self._more.clear()
                await self._more.wait()
        except ConnectionError:
            return Ending.GONE
        finally:
            self.flushed.set()
