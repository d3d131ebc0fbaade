"""A connection taken over from HTTP: raw bytes both ways, half-close included."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable

from naru.api.body import ClientGone

_READ_LIMIT = 128 * 1024


class RawConnection:
    """`messages.Hijacked` over an asyncio transport.

    The owner feeds what arrives. Reading stops (and so, in time, the client) while `read` is slower
    than the client; `write` waits while the client is slower than us.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        first: bytes,
        eof: bool,
        drain: Callable[[], Awaitable[None]],
    ) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader(limit=_READ_LIMIT, loop=self._loop)
        self._reader.set_transport(transport)
        self._drain = drain
        self._closed = self._loop.create_future()
        self._hangup: select.epoll | None = None
        self._finished_writing = False
        if first:
            self._reader.feed_data(first)
        if eof:
            self._reader.feed_eof()

    async def read(self, limit: int = 65536) -> bytes:
        return await self._reader.read(limit)

    async def write(self, data: bytes | memoryview) -> None:
        if self._closed.done() or self._transport.is_closing():
            raise ClientGone("the client has closed the connection")
        # The transport may keep what it could not send: never a view of memory that changes.
        self._transport.write(data if isinstance(data, bytes) else bytes(data))
        await self._drain()

    def write_eof(self) -> None:
        if self._finished_writing or self._transport.is_closing():
            return
        self._finished_writing = True
        if self._transport.can_write_eof():
            self._transport.write_eof()

    async def wait_closed(self) -> None:
        """Return when the client is gone altogether.

        A Unix socket says so at once (hang-up), even after its half-close. TCP cannot: a client
        that closed looks like one that half-closed until something is written to it.
        """
        if not self._closed.done() and self._hangup is None:
            self._watch_hangup()
        await asyncio.shield(self._closed)

    def close(self) -> None:
        self._transport.close()

    # Called by the connection that was taken over.

    def feed(self, data: bytes) -> None:
        self._reader.feed_data(data)

    def feed_eof(self) -> None:
        self._reader.feed_eof()

    def lost(self) -> None:
        if not self._reader.at_eof():
            self._reader.feed_eof()
        self._gone()

    def _watch_hangup(self) -> None:
        # After the client's half-close asyncio no longer watches the socket for reading, and a
        # reader of our own would fire for ever. An epoll of its own with an empty mask reports
        # only EPOLLHUP and EPOLLERR, and is itself watched for reading.
        sock = self._transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return
        self._hangup = select.epoll(1)
        self._hangup.register(sock.fileno(), 0)
        self._loop.add_reader(self._hangup.fileno(), self._gone)

    def _gone(self) -> None:
        if self._hangup is not None:
            self._loop.remove_reader(self._hangup.fileno())
            self._hangup.close()
            self._hangup = None
        if not self._closed.done():
            self._closed.set_result(None)
