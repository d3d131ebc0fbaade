"""Long streams past the event loop: a thread reads a request's body from its socket, or moves what
comes from a pipe into an answer. Neither holds up other requests, nor the interpreter.

It takes a socket without TLS. Bytes that are framed here are those of RFC 9112: a length known
before (6.2), or chunks (7.1).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import socket
from collections.abc import Callable
from typing import Final

from naru.api.body import ClientGone
from naru.api.tls import TlsTransport
from naru.engine.pipes import BrokenStream, StraightReader
from naru.kernel.pipes import Piped, buffered
from naru.kernel.threads import in_own_thread

_PIECE: Final = 1 << 18
_REST: Final = 1 << 20
"""Bytes behind what a handler wanted that are still taken, so that the connection may be kept."""
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
_LINE: Final = 4096
"""Most bytes of a chunk's first line, and of a trailer's."""


def plain_socket(transport: asyncio.BaseTransport) -> socket.socket | None:
    """A second descriptor of the transport's socket, or None where it speaks TLS."""
    if isinstance(transport, TlsTransport):
        return None
    known = transport.get_extra_info("socket")
    if known is None or known.fileno() < 0:
        return None
    return socket.socket(fileno=os.dup(known.fileno()))


class SocketBody(StraightReader):
    """A body that a thread reads, while the transport does not.

    `head` are its first bytes, which had come with the headers; `length` is its size, or None for
    chunks. Closing it calls `left(what came behind the body)`, or `left(None)` where the body has
    not come to its end.
    """

    def __init__(
        self,
        sock: socket.socket,
        head: bytes,
        length: int | None,
        left: Callable[[bytes | None], None],
    ) -> None:
        self._socket = sock
        self._received = memoryview(head)
        self._chunked = length is None
        self._left = length or 0  # bytes of the body, or of the present chunk
        self._ended = length == 0
        self._tell = left
        self._patient = True

    def some(self, size: int) -> bytes:
        while not self._ended and not self._left:
            self._begin_chunk()
        if self._ended:
            return b""
        self._fill()
        data = bytes(self._received[: min(size, self._left)])
        self._received = self._received[len(data) :]
        self._left -= len(data)
        if not self._left:
            self._end_part()
        return data

    def cancel(self) -> None:
        with contextlib.suppress(OSError):  # the client may have gone
            self._socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        if not self.closed:
            self._settle()
            super().close()
            self._socket.close()
            self._tell(bytes(self._received) if self._ended else None)

    def _settle(self) -> None:
        """Take what has come of a short rest: who reads a tar stops at the tar's end."""
        self._patient = False
        with contextlib.suppress(BlockingIOError, BrokenStream):
            for _ in range(_REST // _PIECE):
                if not self.some(_PIECE):
                    return

    def _fill(self) -> None:
        """Have at least a byte of what comes."""
        while not self._received:
            try:
                data = self._socket.recv(_PIECE)
            except BlockingIOError:
                if not self._patient:
                    raise
                poll = select.poll()
                poll.register(self._socket, select.POLLIN)
                poll.poll()
                continue
            except ConnectionError as error:
                raise BrokenStream(f"unexpected EOF: {error}") from error
            if not data:
                raise BrokenStream("unexpected EOF: the client closed the connection")
            self._received = memoryview(data)

    def _end_part(self) -> None:
        if not self._chunked:
            self._ended = True
        elif self._line():
            raise BrokenStream("malformed request body: a chunk is longer than its size")

    def _begin_chunk(self) -> None:
        line = self._line()
        size = _CHUNK_SIZE.fullmatch(line)
        if size is None:
            raise BrokenStream(f"malformed request body: the chunk size {line[:80]!r}")
        self._left = int(size[1], 16)
        if not self._left:
            while self._line():
                pass  # trailers
            self._ended = True

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            self._fill()
            found = bytes(self._received[:_LINE])
            end = found.find(b"\n") + 1 or len(found)
            line += found[:end]
            self._received = self._received[end:]
            if len(line) > _LINE:
                raise BrokenStream("malformed request body: a line without an end")
        return line.rstrip(b"\r\n")


async def relay(source: Piped, out: socket.socket) -> None:
    """Send all that comes from a pipe as chunks; `ClientGone` where the client does not stay.

    `out` does not block, and has nothing else to send meanwhile.
    """
    stop = os.eventfd(0, os.EFD_CLOEXEC)
    try:
        send = _Relay(source.fd, out, stop).run
        await in_own_thread(send, "relay", cancel=lambda: os.eventfd_write(stop, 1))
    finally:
        os.close(stop)


class _Relay:
    """Blocks until the pipe's end, the client's, or until `stop` can be read."""

    def __init__(self, source: int, out: socket.socket, stop: int) -> None:
        self._source = source
        self._out = out
        self._stop = stop

    def run(self) -> None:
        try:
            while size := self._available():
                self._send(b"%x\r\n" % size)
                while size:
                    size -= self._splice(size)
                self._send(b"\r\n")
        except ConnectionError as error:
            raise ClientGone(str(error)) from error

    def _available(self) -> int:
        self._wait(self._source, select.POLLIN)
        return buffered(self._source)

    def _splice(self, size: int) -> int:
        while True:
            try:
                return os.splice(self._source, self._out.fileno(), size)
            except BlockingIOError:
                self._wait(self._out.fileno(), select.POLLOUT)

    def _send(self, data: bytes) -> None:
        while data:
            try:
                data = data[self._out.send(data, socket.MSG_MORE) :]
            except BlockingIOError:
                self._wait(self._out.fileno(), select.POLLOUT)

    def _wait(self, fd: int, event: int) -> None:
        """Until `fd` is ready, or at its end; the client's end is an error."""
        poll = select.poll()
        poll.register(self._out, 0)  # errors and hang-ups alone
        poll.register(self._stop, select.POLLIN)
        poll.register(fd, event)
        ready = dict(poll.poll())
        if self._stop in ready:
            raise ClientGone("the request was cancelled")
        if ready.get(self._out.fileno(), 0) & (select.POLLHUP | select.POLLERR):
            raise ClientGone("the client closed the connection")
