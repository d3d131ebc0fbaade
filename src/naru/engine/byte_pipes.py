"""Byte streams between the event loop and a worker thread that reads or writes a file.

A pipe in between keeps both at one pace: neither side buffers more than the pipe holds.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO, Final

_CHUNK: Final = 256 * 1024


async def drawn(write: Callable[[BinaryIO], None]) -> AsyncIterator[bytes]:
    """What `write`, in a worker thread, writes: at the pace at which it is taken."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)

    def produce() -> None:
        with os.fdopen(write_end, "wb", buffering=_CHUNK) as out:
            write(out)

    producing = asyncio.get_running_loop().run_in_executor(None, produce)
    try:
        while piece := await asyncio.to_thread(os.read, read_end, _CHUNK):
            yield piece
    finally:
        os.close(read_end)  # a writer that nobody reads from any more gets EPIPE
        await asyncio.wait({producing})
    producing.result()


async def fed(pieces: AsyncIterator[bytes], consume: Callable[[BinaryIO], None]) -> None:
    """Let `consume`, in a worker thread, read the pieces as a file."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)

    def run() -> None:
        with os.fdopen(read_end, "rb", buffering=_CHUNK) as file:
            consume(file)

    def put(piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(write_end, rest) :]

    consuming = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        async for piece in pieces:
            await asyncio.to_thread(put, piece)
    except BrokenPipeError:
        pass  # the consumer has failed, and says why below; or it had the archive's end
    finally:
        os.close(write_end)
        await asyncio.wait({consuming})
    consuming.result()
