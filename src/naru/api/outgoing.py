"""What a connection sends: answers, whole or piece by piece, at the client's pace."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import h11

from naru.api import httpdate
from naru.api.body import ClientGone
from naru.api.messages import Response, Stream
from naru.api.straight import plain_socket, relay
from naru.kernel.pipes import Piped

HIGH_WATER = 256 * 1024
"""Bytes on their way to a client before whoever writes must wait."""

_JOINED = 64 * 1024
"""Bytes up to which the parts of a message are copied rather than written one by one."""

_Event = h11.Response | h11.InformationalResponse | h11.Data | h11.EndOfMessage


class Outgoing:
    """The writing half of a connection. `ClientGone` is raised once the client is gone."""

    def __init__(
        self, transport: asyncio.Transport, http: h11.Connection, headers: Mapping[str, str]
    ) -> None:
        self._transport = transport
        self._http = http
        self._headers = headers
        self._lost = False
        self._blocked: asyncio.Future[None] | None = None  # while the client is slow to read
        transport.set_write_buffer_limits(high=HIGH_WATER)

    async def respond(self, answer: Response, *, body: bool, close: bool) -> None:
        """`body` is False for HEAD; `close`: this is the connection's last answer."""
        headers = {**self._headers, **answer.headers}
        if answer.status not in (204, 304):
            headers.setdefault("Content-Length", str(len(answer.body)))
        self._send_head(answer.status, headers, close=close)
        if answer.body and body:
            self.send(h11.Data(data=answer.body))
        self.send(h11.EndOfMessage())
        await self.drain()

    async def stream(self, answer: Stream, *, body: bool, close: bool) -> None:
        """Send the pieces as they come. When the client leaves, they are closed at the next one."""
        self._send_head(200, {**self._headers, **answer.headers}, close=close)
        try:
            async for piece in answer.pieces:
                if isinstance(piece, Piped):
                    await self._send_piped(piece, body=body)
                    continue
                if piece and body:
                    self.send(h11.Data(data=piece))
                await self.drain()
        finally:
            if (end := getattr(answer.pieces, "aclose", None)) is not None:
                await end()
        self.send(h11.EndOfMessage())
        await self.drain()

    async def _send_piped(self, source: Piped, *, body: bool) -> None:
        sock = plain_socket(self._transport)
        if sock is None or self._http.their_http_version != b"1.1" or not body:  # 1.1: in chunks
            async for piece in source:
                if body:
                    self.send(h11.Data(data=piece))
                await self.drain()
            return
        with sock:
            self._transport.set_write_buffer_limits(high=0)
            try:
                await self.drain()
                await relay(source, sock)
            finally:
                self._transport.set_write_buffer_limits(high=HIGH_WATER)

    def renew(self, http: h11.Connection) -> None:
        """The next answer is to what this parser reads."""
        self._http = http

    def send(self, event: _Event) -> None:
        if self._lost:
            raise ClientGone("the client closed the connection")
        pieces = self._http.send_with_data_passthrough(event)
        if not pieces:
            return
        if sum(map(len, pieces)) < _JOINED:
            pieces = [b"".join(pieces)]
        for piece in pieces:
            self._transport.write(piece)

    async def drain(self) -> None:
        """Wait while the client is slower than we are."""
        if self._blocked is not None:
            await asyncio.shield(self._blocked)
        if self._lost:
            raise ClientGone("the client closed the connection")

    def refuse(self, error: h11.RemoteProtocolError) -> None:
        """Answer what is not HTTP, as far as that is possible."""
        if self._lost or self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        text = str(error).encode()
        headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(text))}
        self._send_head(error.error_status_hint, headers, close=True)
        self.send(h11.Data(data=text))
        self.send(h11.EndOfMessage())

    # What the transport tells.

    def block(self) -> None:
        self._blocked = asyncio.get_running_loop().create_future()

    def unblock(self) -> None:
        if self._blocked is not None and not self._blocked.done():
            self._blocked.set_result(None)
        self._blocked = None

    def lose(self) -> None:
        self._lost = True
        self.unblock()

    def _send_head(self, status: int, headers: dict[str, str], *, close: bool) -> None:
        if close:
            headers["Connection"] = "close"
        headers["Date"] = httpdate.now()
        reason = _REASONS.get(status, "").encode()
        self.send(h11.Response(status_code=status, headers=list(headers.items()), reason=reason))


_REASONS = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No Content",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
