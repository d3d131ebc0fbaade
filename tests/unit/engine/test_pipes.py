"""Streams between the loop and threads: all bytes, bounded, and broken ends are told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import BinaryIO

import pytest
from tests.harness.pieces import joined

from naru.engine.pipes import BrokenStream, Inbound, outbound


async def _numbers(count: int, size: int = 10_000) -> AsyncIterator[bytes]:
    for index in range(count):
        yield bytes([index % 256]) * size
        if index % 7 == 0:
            await asyncio.sleep(0)


async def test_inbound_gives_all_bytes() -> None:
    def read(source: BinaryIO) -> bytes:
        return b"".join(iter(lambda: source.read(777), b""))

    expected = b"".join([piece async for piece in _numbers(50)])
    assert await Inbound(_numbers(50)).run(read) == expected
    assert await Inbound(_numbers(50)).run(lambda source: source.read()) == expected


async def test_inbound_is_bounded() -> None:
    given = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal given
        async for piece in _numbers(1000):
            given += 1
            yield piece

    go = threading.Event()

    def read(source: BinaryIO) -> int:
        go.wait(10)
        return len(source.read())

    running = asyncio.create_task(Inbound(counted()).run(read))
    for _ in range(200):
        await asyncio.sleep(0)
    assert given <= 9
    go.set()
    assert await running == 10_000_000


async def test_inbound_tells_of_a_client_that_went_away() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise ConnectionResetError("reset")

    with pytest.raises(BrokenStream, match="unexpected EOF"):
        await Inbound(broken()).run(lambda source: source.read())


async def test_inbound_ends_with_work_that_stops_early() -> None:
    assert await Inbound(_numbers(1000)).run(lambda source: source.read(4)) == bytes(4)
    with pytest.raises(ZeroDivisionError):
        await Inbound(_numbers(1000)).run(lambda source: 1 // len(source.read(0)))


async def test_outbound_gives_all_bytes_then_the_error() -> None:
    def write(out: BinaryIO) -> None:
        for index in range(2000):
            out.write(bytes([index % 256]) * 1000)

    assert len(await joined(outbound(write))) == 2_000_000

    def fail(out: BinaryIO) -> None:
        out.write(b"x")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await joined(outbound(fail))


async def test_outbound_fails_before_the_first_piece_if_it_can() -> None:
    def fail(out: BinaryIO) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await anext(outbound(fail))


async def test_outbound_stops_its_writer_when_nobody_reads() -> None:
    stopped = threading.Event()

    def write(out: BinaryIO) -> None:
        try:
            while True:
                out.write(bytes(100_000))
        except BrokenPipeError:
            stopped.set()
            raise

    stream = outbound(write)
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    assert stopped.is_set()
