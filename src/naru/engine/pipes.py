"""Bytes between the event loop and threads or workers: bounded both ways, broken ends are told.

`Inbound` lets a thread read what a client sends (load, import, cp in); `outbound` sends what a
thread writes (save), and `from_worker` what a worker process does (export, cp out). Where it can be
done, neither way leads through the event loop: see `Straight` and `kernel.pipes.Piped`.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import BinaryIO, Protocol, TypeVar, TypeVarTuple, cast, runtime_checkable

from naru.kernel.pipes import Piped, pipe
from naru.kernel.threads import in_own_thread
from naru.kernel.workers import Job, Workers
from naru.store.raw_reader import RawReader

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_PIECES = 8
_BUFFER = 1 << 18


class BrokenStream(OSError):
    """The other end went away in the middle."""


class StraightReader(RawReader):
    """A stream as a thread reads it, from where it comes. Closed in the loop's thread."""

    def cancel(self) -> None:
        """Let a `read` that waits, and each after it, raise `BrokenStream`. From any thread."""
        raise NotImplementedError


@runtime_checkable
class Straight(Protocol):
    """A stream of pieces that a thread may be able to read without the loop's help."""

    def straight(self) -> StraightReader | None:
        """The whole stream, before its first piece was asked for; then nobody may ask for one."""


class Inbound(RawReader):
    """Read in a thread what comes in `pieces`; up to eight of them wait in between."""

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
        """`work(a file of the stream)` in a thread -> what it returns. The unread is dropped."""
        straight = self._pieces.straight() if isinstance(self._pieces, Straight) else None
        if straight is not None:
            with straight:
                return await _read_by(work, straight, straight.cancel)
        feeder = asyncio.create_task(self._feed(), name="inbound stream")
        try:
            return await _read_by(work, self, self._cancel)
        finally:
            self._unwanted = True
            self._room.set()
            feeder.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feeder

    def _cancel(self) -> None:
        self._end(BrokenStream("the request was cancelled"))

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


async def _read_by(
    work: Callable[[BinaryIO], T], source: RawReader, cancel: Callable[[], None]
) -> T:
    return await in_own_thread(lambda: work(cast(BinaryIO, source)), "inbound", cancel=cancel)


async def outbound(work: Callable[[BinaryIO], object]) -> AsyncIterator[bytes | Piped]:
    """What `work(out)` writes in a thread; an error of it ends the iteration.

    Where nobody reads any more, the thread gets a `BrokenPipeError`.
    """
    reading, writing = pipe()

    def write() -> None:
        with open(writing, "wb", buffering=_BUFFER) as out:
            work(out)

    working = asyncio.ensure_future(in_own_thread(write, "outbound"))
    # That nobody reads any more is no news, however the iteration ends.
    working.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    try:
        piped = Piped(reading)
        if await piped.begun():
            yield piped
        await asyncio.shield(working)
    finally:
        os.close(reading)  # first: who still writes is to know
        await asyncio.wait([working])


async def from_worker(
    workers: Workers,
    fds: Sequence[int],
    function: Callable[[list[int], *Ts], object],
    *args: *Ts,
) -> AsyncIterator[bytes | Piped]:
    """What `function([a pipe, *fds], *args)` writes in a worker process.

    An error of it ends the iteration; the end of the iteration ends the worker.
    """
    reading, writing = pipe()
    try:
        begin = asyncio.to_thread(lambda: workers.begin([writing, *fds], function, *args))
        job = await _begun(asyncio.ensure_future(begin), writing)
        try:
            piped = Piped(reading)
            if await piped.begun():
                yield piped
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
