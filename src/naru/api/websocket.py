"""A WebSocket (RFC 6455) on a connection taken over from HTTP: enough for attach.

Bytes go out as binary messages; what comes in, text or binary, is read as one stream of bytes.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from contextlib import suppress
from typing import Final

from naru.api.messages import Hijacked, Request
from naru.spec.errors import InvalidParameter, Unsupported

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_MOST: Final = 1 << 20
"""Bytes of one incoming frame; browsers send what is typed or pasted."""


def accept_key(key: str) -> str:
    """`Sec-WebSocket-Accept` for the client's `Sec-WebSocket-Key`."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()


def frame(kind: int, payload: bytes) -> bytes:
    """A server's frame: never masked, never fragmented."""
    size = len(payload)
    if size < 126:
        header = struct.pack(">BB", 0x80 | kind, size)
    elif size < 1 << 16:
        header = struct.pack(">BBH", 0x80 | kind, 126, size)
    else:
        header = struct.pack(">BBQ", 0x80 | kind, 127, size)
    return header + payload


async def accept(request: Request) -> WebSocket:
    """Answer the handshake and take the connection over."""
    headers = request.headers
    key = headers.get("sec-websocket-key", "")
    if headers.get("upgrade", "").lower() != "websocket" or not key:
        raise InvalidParameter("not a WebSocket handshake: no Sec-WebSocket-Key")
    if headers.get("sec-websocket-version") != "13":
        raise Unsupported("only version 13 of the WebSocket protocol is supported")
    conn = await request.hijack(headers={"Sec-WebSocket-Accept": accept_key(key)})
    return WebSocket(conn)


class WebSocket:
    """Reads and writes bytes as `messages.Hijacked` does, through frames."""

    def __init__(self, conn: Hijacked) -> None:
        self._conn = conn
        self._buffer = bytearray()
        self._over = False

    async def read(self, limit: int = 65536) -> bytes:
        """The next message's bytes, whatever `limit`; b"" when the client closes."""
        while not self._over:
            found = await self._next_frame()
            if found is None:
                break
            kind, payload = found
            if kind in (_CONTINUATION, _TEXT, _BINARY) and payload:
                return payload
            if kind == _PING:
                await self._conn.write(frame(_PONG, payload))
            elif kind == _CLOSE:
                await self.say_goodbye(payload[:2])
        self._over = True
        return b""

    async def write(self, data: bytes | memoryview) -> None:
        await self._conn.write(frame(_BINARY, bytes(data)))

    async def wait_closed(self) -> None:
        await self._conn.wait_closed()

    async def say_goodbye(self, code: bytes = b"\x03\xe8") -> None:
        """Send the closing frame, once (1000: normal closure)."""
        if not self._over:
            self._over = True
            with suppress(ConnectionError):
                await self._conn.write(frame(_CLOSE, code))

    def close(self) -> None:
        self._conn.close()

    async def _next_frame(self) -> tuple[int, bytes] | None:
        """None at the end, or when what comes is no WebSocket."""
        if not await self._fill(2):
            return None
        kind, masked, size = self._buffer[0] & 0x0F, self._buffer[1] & 0x80, self._buffer[1] & 0x7F
        at = 2
        if size >= 126:
            width = 2 if size == 126 else 8
            if not await self._fill(at + width):
                return None
            size = int.from_bytes(self._buffer[at : at + width], "big")
            at += width
        # RFC 6455 5.1: a client that does not mask is to be cut off.
        if not masked or size > _MOST or not await self._fill(at + 4 + size):
            return None
        mask = bytes(self._buffer[at : at + 4])
        payload = unmasked(bytes(self._buffer[at + 4 : at + 4 + size]), mask)
        del self._buffer[: at + 4 + size]
        return kind, payload

    async def _fill(self, size: int) -> bool:
        while len(self._buffer) < size:
            data = await self._conn.read()
            if not data:
                return False
            self._buffer += data
        return True


def unmasked(payload: bytes, mask: bytes) -> bytes:
    # As one big number: a loop over the bytes would be a hundred times slower.
    size = len(payload)
    stretched = (mask * (size // 4 + 1))[:size]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return number.to_bytes(size, "big")
