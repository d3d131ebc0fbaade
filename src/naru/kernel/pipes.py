"""Pipes between threads, worker processes and the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
import termios
from collections.abc import AsyncIterator
from typing import Final

_SIZE: Final = 1 << 20
_PIECE: Final = 1 << 18
_F_SETPIPE_SZ: Final = 1031


def pipe() -> tuple[int, int]:
    """(reading, writing) ends of a pipe that holds much."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # the user's pipes may be many
        fcntl.fcntl(writing, _F_SETPIPE_SZ, _SIZE)
    return reading, writing


class Piped:
    """All that comes from a pipe, in the place of its bytes in a stream of pieces.

    Who can moves it on within the kernel; everybody else iterates. The descriptor stays its
    owner's, and does not block.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd

    async def begun(self) -> bool:
        """Wait for the first byte -> True, or for the end of what has none -> False."""
        await _readable(self.fd)
        return bool(buffered(self.fd))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            try:
                piece = os.read(self.fd, _PIECE)
            except BlockingIOError:
                await _readable(self.fd)
                continue
            if not piece:
                return
            yield piece


def buffered(fd: int) -> int:
    """Bytes that can be read without waiting."""
    size = bytearray(4)
    fcntl.ioctl(fd, termios.FIONREAD, size)
    return int.from_bytes(size, sys.byteorder)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
