"""The stdio of one container or exec: output to log and clients, clients' input to the process.

Output is read in the pump's thread and handed to the clients (`audience`) on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from naru.engine.containers.attach_point import AttachPoint, History
from naru.engine.containers.attachment import Attachment, AttachOptions, Duplex, Ending
from naru.engine.containers.audience import Audience
from naru.engine.containers.detach_keys import DetachScanner
from naru.engine.containers.intake import Intake, Mark, PlainIntake
from naru.engine.containers.outlet import Outlet
from naru.engine.containers.pump import Pump
from naru.engine.containers.stdin import Stdin

DRAIN_SECONDS: Final = 2.0
"""How long an exited process' output may stay open: a grandchild elsewhere may hold the pipe."""


class Stdio(Protocol):
    """The daemon's copies of a process' stdio (`runtime` gives them)."""

    @property
    def stdin(self) -> int | None: ...

    @property
    def stdout(self) -> int | None: ...

    @property
    def stderr(self) -> int | None: ...

    @property
    def pty(self) -> int | None: ...


class Streams:
    """Made by `start`, ended by `close`; owns the file descriptors it was given."""

    def __init__(
        self,
        *,
        outputs: dict[str, int],
        stdin: Stdin | None,
        tty: bool,
        log: Intake,
        stdin_once: bool,
        pump: Pump,
        point: AttachPoint | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._stdin = stdin
        self._tty = tty
        self._stdin_once = stdin_once
        self._point = point
        self._outlet = Outlet(
            outputs, log, pump, deliver=self._deliver_soon, ended=self._output_over_soon
        )
        self._clients = Audience(self._outlet)
        self._open = set(outputs)
        self._output_over = asyncio.Event()
        self._marking = 0
        self._closed = False

    @classmethod
    def start(
        cls,
        stdio: Stdio,
        *,
        tty: bool,
        log: Intake | None,
        stdin_once: bool,
        close_stdin: Callable[[], Awaitable[None]],
        pump: Pump,
        point: AttachPoint | None = None,
    ) -> Streams:
        """Take over `stdio`. `log` None: output goes to clients only.

        `close_stdin` closes the supervisor's copy of the input. Clients that wait at `point` miss
        nothing.
        """
        outputs = {
            name: fd
            for name, fd in (("stdout", stdio.stdout), ("stderr", stdio.stderr))
            if fd is not None
        }
        stdin_fd = stdio.stdin
        if stdio.pty is not None:
            outputs = {"stdout": stdio.pty}
            # One descriptor per direction: closing the input never cuts the output.
            stdin_fd = os.dup(stdio.pty) if stdin_fd is None else stdin_fd
        streams = cls(
            outputs=outputs,
            stdin=None if stdin_fd is None else Stdin(stdin_fd, close_other=close_stdin),
            tty=tty,
            log=log or PlainIntake(),
            stdin_once=stdin_once,
            pump=pump,
            point=point,
        )
        if point is not None:
            point.opened(streams)
        streams._begin()
        return streams

    async def attach(self, conn: Duplex, options: AttachOptions) -> Ending:
        """Serve one client from now on until the output ends, the client leaves or detaches."""
        return await self.serve(Attachment(conn, options))

    def adopt(self, attachment: Attachment) -> None:
        """Send the output to `attachment` from now on; `serve` must follow."""
        if self._output_over.is_set():
            attachment.finish()
        else:
            self._clients.add(attachment)
            self._outlet.heard = True

    async def serve(self, attachment: Attachment, history: History | None = None) -> Ending:
        before = None
        if history is not None:
            before = history(await self._marked(attachment))
        elif attachment not in self._clients:
            self.adopt(attachment)
        sender = asyncio.ensure_future(attachment.send(before))
        gone = asyncio.ensure_future(attachment.conn.wait_closed())
        reads_input = attachment.options.stdin and self._stdin is not None
        feeder = asyncio.ensure_future(self._feed(attachment)) if reads_input else None
        try:
            return await self._until_over(attachment, sender, gone, feeder)
        finally:
            for task in (sender, gone, feeder):
                if task is not None:
                    task.cancel()
            self._forget(attachment)

    async def drained(self) -> None:
        """Return when all output is in the log and sent to the clients.

        To be called once the process is gone: output that something else keeps open is cut off
        after `DRAIN_SECONDS`. A client that stalls delays this by `STALL_SECONDS` at most.
        """
        try:
            await asyncio.wait_for(self._output_over.wait(), DRAIN_SECONDS)
        except TimeoutError:
            self._outlet.cut_off()
            await self._output_over.wait()
        await self._clients.flushed()

    async def close(self) -> None:
        """The process is gone: end what is left of output, clients, input and log. Idempotent."""
        if not self._closed and not self._output_over.is_set():
            self._outlet.cut_off()
            await self._output_over.wait()
        await self._let_go()

    async def leave(self) -> None:
        """The daemon goes down and the process runs on: stop reading, lose nothing. Idempotent.

        A later `start` over fresh copies of the descriptors continues where this ended.
        """
        self._clients.finish()
        await self._let_go()

    async def _let_go(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._point is not None:
            self._point.ended(self)
        if self._stdin is not None:
            self._stdin.close()
        await self._outlet.close()

    # The way of the output

    async def _marked(self, attachment: Attachment) -> Mark | None:
        """Adopt a client exactly at the mark: what is read later is pushed, and only that."""
        marked: asyncio.Future[Mark | None] = self._loop.create_future()

        def adopt(mark: Mark | None) -> None:
            self._marking -= 1
            if not marked.done():
                self.adopt(attachment)
                marked.set_result(mark)

        self._marking += 1
        self._outlet.mark(lambda mark: self._loop.call_soon_threadsafe(adopt, mark))
        return await marked

    def _begin(self) -> None:
        if self._open:
            self._outlet.open()
        else:
            self._all_over()

    def _deliver_soon(self, stream: str, data: bytes) -> None:
        self._loop.call_soon_threadsafe(self._clients.deliver, stream, data)

    def _output_over_soon(self, stream: str) -> None:
        # The loop is closed when the daemon went down without closing us.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._one_over, stream)

    def _one_over(self, stream: str) -> None:
        self._open.discard(stream)
        if not self._open:
            self._all_over()

    def _all_over(self) -> None:
        self._output_over.set()
        if self._point is not None:
            self._point.ended(self)
        self._clients.finish()

    def _forget(self, attachment: Attachment) -> None:
        self._clients.discard(attachment)
        self._outlet.heard = bool(self._clients or self._marking)
        self._clients.maybe_relieve()

    # One client

    async def _until_over(
        self,
        attachment: Attachment,
        sender: asyncio.Task[Ending],
        gone: asyncio.Task[None],
        feeder: asyncio.Task[Ending | None] | None,
    ) -> Ending:
        waiting: set[asyncio.Future[Any]] = {sender, gone, attachment.given_up}
        if feeder is not None:
            waiting.add(feeder)
        while True:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if sender.done():
                return sender.result()
            if gone.done() or attachment.given_up.done():
                await self._client_left(attachment)
                return Ending.GONE
            assert feeder is not None
            waiting.discard(feeder)
            ending = feeder.result()
            if ending is Ending.DETACHED:
                return ending
            if ending is Ending.INPUT_OVER:
                attachment.finish()

    async def _client_left(self, attachment: Attachment) -> None:
        if attachment.options.stdin and self._stdin_once and not self._tty:
            await self._end_input()

    async def _feed(self, attachment: Attachment) -> Ending | None:
        """Carry a client's input until it ends -> what that means for the attach; None: nothing."""
        assert self._stdin is not None
        scanner = DetachScanner(attachment.options.detach_keys if self._tty else b"")
        while data := await attachment.conn.read():
            passed, detached = scanner.feed(data)
            try:
                await self._stdin.write(passed)
            except OSError:
                return None  # the process does not read any more; its output may go on
            if detached:
                return Ending.DETACHED
        if not self._stdin_once:
            return Ending.INPUT_OVER
        if not self._tty:
            await self._end_input()
        return None

    async def _end_input(self) -> None:
        if self._stdin is not None:
            await self._stdin.end()
