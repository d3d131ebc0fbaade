from __future__ import annotations

import os
import struct

import pytest

from naru.api import websocket
from naru.api.websocket import WebSocket, frame


class Wire:
    """What a client sent, in pieces of any size, and what it got."""

    def __init__(self, sent: bytes, piece: int) -> None:
        self._pieces = [sent[at : at + piece] for at in range(0, len(sent), piece)]
        self.got = b""

    async def read(self, limit: int = 65536) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def write(self, data: bytes | memoryview) -> None:
        self.got += data

    def write_eof(self) -> None: ...

    async def wait_closed(self) -> None: ...

    def close(self) -> None: ...


def masked(kind: int, payload: bytes) -> bytes:
    """A client's frame."""
    mask = b"\x01\x02\x03\x04"
    size = len(payload)
    if size < 126:
        header = struct.pack(">BB", 0x80 | kind, 0x80 | size)
    elif size < 1 << 16:
        header = struct.pack(">BBH", 0x80 | kind, 0x80 | 126, size)
    else:
        header = struct.pack(">BBQ", 0x80 | kind, 0x80 | 127, size)
    return header + mask + websocket.unmasked(payload, mask)


async def everything(socket: WebSocket) -> bytes:
    got = b""
    while data := await socket.read():
        got += data
    return got


def test_the_handshake_of_the_rfc() -> None:
    assert websocket.accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("piece", [1, 7, 100_000])
@pytest.mark.parametrize("size", [1, 125, 126, 70_000])
async def test_messages_of_all_sizes_in_pieces_of_all_sizes(size: int, piece: int) -> None:
    payload = os.urandom(size)
    wire = Wire(masked(2, payload) + masked(1, b"text") + masked(8, b"\x03\xe8"), piece)
    assert await everything(WebSocket(wire)) == payload + b"text"
    assert wire.got == frame(8, b"\x03\xe8")


async def test_a_ping_is_answered_and_is_no_input() -> None:
    wire = Wire(masked(9, b"are you there") + masked(2, b"data"), 1000)
    assert await everything(WebSocket(wire)) == b"data"
    assert wire.got == frame(10, b"are you there")


async def test_output_is_binary_messages() -> None:
    wire = Wire(b"", 1)
    socket = WebSocket(wire)
    await socket.write(b"x" * 200)
    await socket.say_goodbye()
    await socket.say_goodbye()
    assert wire.got == b"\x82\x7e\x00\xc8" + b"x" * 200 + frame(8, b"\x03\xe8")


async def test_what_is_not_masked_ends_the_input() -> None:
    assert await everything(WebSocket(Wire(frame(2, b"data"), 100))) == b""
