"""Sees to it that a supervisor is in charge: finds or launches it, and replaces one that dies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from naru.kernel import process
from naru.runtime import supervisor_launch
from naru.runtime.supervisor_link import Link, LinkLost, Reply
from naru.spec.errors import InternalError, NaruError

log = logging.getLogger(__name__)

_ALREADY_RUNNING = 3
_CONNECT_ATTEMPTS = 5
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0  # s, between attempts to replace a supervisor
_PATIENCE = 20.0  # s, of a request that finds no supervisor


class Upkeep:
    """`greet` is awaited with each new link, before anybody else may use it."""

    def __init__(
        self,
        exec_root: Path,
        *,
        hidden_mount: Path | None,
        launching: asyncio.Task[process.Finished] | None,
        greet: Callable[[Link], Awaitable[None]],
        on_exit: Callable[[dict[str, Any]], None],
    ) -> None:
        self._root = exec_root
        self._hidden_mount = hidden_mount
        self._launching = launching
        self._greet = greet
        self._on_exit = on_exit
        self._link: Link | None = None
        self._ready = asyncio.Event()
        self._closing = False
        self._reconnecting: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        self._closing = False
        try:
            await self._establish()
        except LinkLost:
            await self.in_charge()  # it died at once: another is being started

    async def close(self) -> None:
        """Leave, and replace none from now on."""
        self._closing = True
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            with suppress(asyncio.CancelledError):
                await self._reconnecting
        if self._link is not None:
            self._link.close()

    async def quit(self) -> bool:
        """End the supervisor if it keeps nothing; True when it ended."""
        self._closing = True
        reply = await self.request("quit")
        ended = bool(reply.body["busy"] == 0)
        if ended and self._link is not None:
            self._link.close()
            self._link = None
            self._ready.clear()
        return ended

    async def request(self, op: str, **arguments: Any) -> Reply:
        return await (await self.link()).request(op, **arguments)

    async def link(self) -> Link:
        while self._link is None:  # it may be lost again before this task's turn comes
            await self.in_charge()
        return self._link

    async def in_charge(self) -> None:
        """Wait for a supervisor, with some patience."""
        try:
            await asyncio.wait_for(self._ready.wait(), _PATIENCE)
        except TimeoutError:
            raise LinkLost("no supervisor could be started: see the daemon's log") from None

    async def _establish(self) -> None:
        link = await self._open()
        try:
            await self._greet(link)
        except BaseException:
            link.close()
            raise
        self._link = link
        self._ready.set()

    async def _open(self) -> Link:
        failure = "it runs, but does not answer"
        for _ in range(_CONNECT_ATTEMPTS):
            with suppress(FileNotFoundError, ConnectionRefusedError):
                return Link.open(self._root, on_exit=self._on_exit, on_lost=self._lost)
            launching, self._launching = self._launching, None
            finished = await (launching or supervisor_launch.launch(self._root, self._hidden_mount))
            if finished.status not in (0, _ALREADY_RUNNING):
                text = finished.output.decode(errors="replace").strip()
                failure = f"it does not start (status {finished.status}): {text}"
        raise InternalError(f"the supervisor of {self._root}: {failure}")

    def _lost(self) -> None:
        self._link = None
        self._ready.clear()
        if self._closing:
            return
        log.warning("the supervisor is gone: starting another")
        self._reconnecting = asyncio.get_running_loop().create_task(self._reconnect())

    async def _reconnect(self) -> None:
        """Without end: whatever keeps a supervisor from starting may pass."""
        delay = _FIRST_DELAY
        while True:
            try:
                await self._establish()
            except LinkLost:
                return  # it died again: _lost has been called again
            except NaruError as error:
                log.error("no supervisor: containers run on, but none can be started: %s", error)
            except Exception:
                log.exception("no supervisor: containers run on, but none can be started")
            else:
                return
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY)
