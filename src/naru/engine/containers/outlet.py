"""The way of a process' output: read in the pump's thread, into the log and to whoever takes it.

It is read no further ahead than its taker keeps up, so that what is slow slows the process.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Iterable
from typing import Final

from naru.engine.containers.intake import Intake, Mark
from naru.engine.containers.pump import Pump

_CUT_OFF_READS: Final = 64

_AHEAD: Final = 1 << 20
"""Bytes that the pump may be ahead of the event loop."""


class Outlet:
    """The pump's side of `Streams`: all but the marked members run in the pump's thread."""

    def __init__(
        self,
        outputs: dict[str, int],
        log: Intake,
        pump: Pump,
        *,
        deliver: Callable[[str, bytes], None],
        ended: Callable[[str], None],
    ) -> None:
        self.heard = False  # set by the loop: there are clients
        self.congested = False  # set by the loop: a client's buffer is full
        self.taken = 0  # counted by the loop: bytes that reached the clients' buffers
        self._given = 0
        self._outputs = outputs
        self._log = log
        self._pump = pump
        self._deliver = deliver
        self._ended = ended
        self._paused: set[str] = set()

    def open(self) -> None:
        """From the loop: begin to read."""
        for fd in self._outputs.values():
            os.set_blocking(fd, False)
        self._pump.call(functools.partial(self._watch, list(self._outputs)))

    def mark(self, tell: Callable[[Mark | None], object]) -> None:
        """From the loop: have `tell` called between two reads."""

        def mark_now() -> None:
            self.heard = True
            tell(self._log.mark())

        self._pump.call(mark_now)

    def relieve(self) -> None:
        """From the loop: clients have room again."""
        if self._paused and not self.congested:
            self._pump.call(self._go_on)

    def cut_off(self) -> None:
        """From the loop: take what is there and end."""
        self._pump.call(self._cut_off)

    async def close(self) -> None:
        """From the loop: close the log, and leave unread what is unread."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def close_all() -> None:
            try:
                over = not self._outputs
                self._leave()
                self._log.close(over=over)
            finally:
                loop.call_soon_threadsafe(done.set_result, None)

        self._pump.call(close_all)
        await done

    def _watch(self, streams: Iterable[str]) -> None:
        for stream in streams:
            if (fd := self._outputs.get(stream)) is not None:
                self._pump.watch(fd, functools.partial(self._readable, stream))

    def _readable(self, stream: str) -> None:
        if self._must_wait():
            self._paused.add(stream)
            self._pump.unwatch(self._outputs[stream])
            # The loop may have made room just before it could see that we pause.
            if not self._must_wait():
                self._go_on()
            return
        self._take(stream)

    def _must_wait(self) -> bool:
        return self.congested or self._given - self.taken > _AHEAD

    def _take(self, stream: str) -> bool:
        """Read once -> whether there may be more."""
        fd = self._outputs[stream]
        try:
            data = self._log.read(stream, fd)
        except BlockingIOError:
            return False
        if not data:
            self._end(stream)
            return False
        if self.heard:
            self._given += len(data)
            self._deliver(stream, data)
        return True

    def _end(self, stream: str) -> None:
        fd = self._outputs.pop(stream)
        self._paused.discard(stream)
        self._pump.unwatch(fd)
        try:
            self._log.end(stream)
        finally:
            os.close(fd)
            self._ended(stream)

    def _go_on(self) -> None:
        paused, self._paused = self._paused, set()
        self._watch(paused)

    def _cut_off(self) -> None:
        for stream in list(self._outputs):
            # A pipe's content, not all that its other holder may go on to write.
            for _ in range(_CUT_OFF_READS):
                if not self._take(stream):
                    break
            if stream in self._outputs:
                self._end(stream)

    def _leave(self) -> None:
        for fd in self._outputs.values():
            self._pump.unwatch(fd)
            os.close(fd)
        self._outputs.clear()
