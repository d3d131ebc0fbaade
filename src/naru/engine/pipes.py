"""Bytes between the event loop and worker threads: bounded both ways, and broken ends are told.

`Inbound` lets a thread read what the loop receives (load, import, cp in); `outbound` lets the loop
send what a thread writes (save), and `from_worker` what a worker process does (export, cp out).
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import io
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import BinaryIO, TypeVar, TypeVarTuple, cast

from naru.kernel.workers import Job, Workers
from naru.store.apart import pipe
from naru.store.raw_reader import RawReader

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_PIECES = 8
_PIECE = 1 << 18


class BrokenStream(OSError):
    """The other end went away in the middle."""


class Inbound(RawReader):
    """Read in a thread what `run` feeds from the loop; up to eight pieces wait in between."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._loop = asyncio.get_running_loop()
        self._waiting: collections.deque[memoryview] = collections.deque()
        self._changed = threading.Condition()
        self._room = asyncio.Event()
        self._ended = False
        self._unwanted = False
        self._error: BaseException | None = None

    async def run(self, work: Callable[[BinaryIO], T]) -> T:
        """Call `work(self)` in a thread and feed it -> what it returns. The unread is dropped."""
        feeder = asyncio.create_task(self._feed(), name="inbound stream")
        working = asyncio.ensure_future(asyncio.to_thread(work, cast(BinaryIO, self)))
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            self._end(BrokenStream("the request was cancelled"))
            await asyncio.wait([working])
            raise
        finally:
            self._unwanted = True
            self._room.set()
            feeder.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feeder

    async def _feed(self) -> None:
        try:
            async for piece in self._pieces:
                if not piece:
                    continue
                with self._changed:
                    self._waiting.append(memoryview(piece))
                    full = len(self._waiting) >= _PIECES
                    if full:
                        self._room.clear()
                    self._changed.notify()
                if full:
                    await self._room.wait()
                if self._unwanted:
                    return
        except Exception as error:
            self._end(error)
        else:
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify()

    def some(self, size: int) -> bytes:
        with self._changed:
            while not self._waiting:
                if self._error is not None:
                    raise BrokenStream(f"unexpected EOF: {self._error}") from self._error
                if self._ended:
                    return b""
                self._changed.wait()
            first = self._waiting[0]
            if len(first) > size:
                self._waiting[0] = first[size:]
                return bytes(first[:size])
            self._waiting.popleft()
            wake = len(self._waiting) == _PIECES // 2
        if wake:
            self._loop.call_soon_threadsafe(self._room.set)
        return bytes(first)


class _Outbound(io.RawIOBase):
    """What the thread writes to; small writes are gathered."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._gathered = bytearray()
        self._ready: collections.deque[bytes] = collections.deque()
        self._changed = threading.Condition()
        self.arrived = asyncio.Event()
        self.gone = False

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        if isinstance(data, bytes) and len(data) >= _PIECE:
            self.finish()
            self._hand_over(data)
            return len(data)
        view = memoryview(data)  # type: ignore[arg-type]
        self._gathered += view
        if len(self._gathered) >= _PIECE:
            self.finish()
        return len(view)

    def _hand_over(self, piece: bytes) -> None:
        with self._changed:
            while len(self._ready) >= _PIECES and not self.gone:
                self._changed.wait()
            if self.gone:
                raise BrokenStream("the client went away")
            self._ready.append(piece)
        self._loop.call_soon_threadsafe(self.arrived.set)

    def finish(self) -> None:
        """Hand over what has been gathered."""
        if self._gathered:
            piece, self._gathered = bytes(self._gathered), bytearray()
            self._hand_over(piece)

    def take(self) -> list[bytes]:
        self.arrived.clear()
        with self._changed:
            pieces = list(self._ready)
            self._ready.clear()
            self._changed.notify()
        return pieces

    def leave(self) -> None:
        with self._changed:
            self.gone = True
            self._changed.notify()


async def outbound(work: Callable[[BinaryIO], object]) -> AsyncIterator[bytes]:
    """The bytes that `work(out)` writes in a thread; an error of it ends the iteration."""
    out = _Outbound()

    def write() -> None:
        work(cast(BinaryIO, out))
        out.finish()

    writing = asyncio.ensure_future(asyncio.to_thread(write))
    writing.add_done_callback(lambda _: out.arrived.set())
    try:
        while True:
            await out.arrived.wait()
            finished = writing.done()
            for piece in out.take():
                yield piece
            if finished:
                writing.result()
                return
    finally:
        out.leave()
        if not writing.done():
            await asyncio.wait([writing])
        if not writing.cancelled():
            writing.exception()


async def from_worker(
    workers: Workers,
    fds: Sequence[int],
    function: Callable[[list[int], *Ts], object],
    *args: *Ts,
) -> AsyncIterator[bytes]:
    """The bytes that `function([a pipe, *fds], *args)` writes in a worker process.

    An error of it ends the iteration; the end of the iteration ends the worker.
    """
    reading, writing = pipe()
    try:
        begin = asyncio.to_thread(lambda: workers.begin([writing, *fds], function, *args))
        job = await _begun(asyncio.ensure_future(begin), writing)
        try:
            os.set_blocking(reading, False)
            while piece := await _read(reading):
                yield piece
            await asyncio.to_thread(job.result)
        finally:
            # Cancelled or not: when this is over nothing of the worker's is open any more.
            await asyncio.shield(asyncio.to_thread(job.close))
    finally:
        os.close(reading)


async def _begun(beginning: asyncio.Future[Job[T]], writing: int) -> Job[T]:
    """The job, once it has its own copy of `writing`, which is closed here."""
    try:
        await asyncio.wait([beginning])
    except asyncio.CancelledError:
        await asyncio.wait([beginning])
        if beginning.exception() is None:
            beginning.result().close()
        raise
    finally:
        os.close(writing)
    return beginning.result()


async def _read(fd: int) -> bytes:
    """What a pipe that does not block has to give; b"" at its end."""
    while True:
        try:
            return os.read(fd, _PIECE)
        except BlockingIOError:
            await _readable(fd)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
