"""What the daemon holds in memory of one container, and only there: handles, lock and waiters.

A `Live` exists from create to remove and never holds what the record holds. Whoever waits for a
container keeps the `Live` itself, so a wait is answered even after the record is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from naru.engine.containers.attach_point import AttachPoint
from naru.engine.containers.streams import Streams


class Ended(NamedTuple):
    """What `POST /containers/{id}/wait` answers."""

    exit_code: int
    error: str = ""


class Live:
    def __init__(self, container_id: str) -> None:
        self.id = container_id
        self.lock = asyncio.Lock()
        """Held for one transition (start, exit, remove, ...), never while waiting for a process."""
        self.attach_point = AttachPoint()
        """Where clients attach: before the first start, and across restarts."""
        self.streams: Streams | None = None
        """The running process' stdio; None while there is none."""
        self.removing = False
        """A removal has begun, and will end: nothing else may begin."""
        self.kept = False
        """A restart is under way: the end of this run must not remove the container."""
        self.teardown: asyncio.Task[None] | None = None
        """Undoes the last run; the next must wait for it."""
        self.restart_timer: asyncio.Task[None] | None = None
        """Sleeps out the back-off of the restart policy, then starts the container."""
        self.restart_delay = 0.0
        """Seconds of the last back-off; the next doubles it."""
        self._exit_waiters: set[asyncio.Future[Ended]] = set()
        self._removal_waiters: set[asyncio.Future[Ended]] = set()

    def next_exit(self) -> asyncio.Future[Ended]:
        """Done at the next exit; at the removal when that comes first."""
        return _enlist(self._exit_waiters)

    def removal(self) -> asyncio.Future[Ended]:
        """Done when the container is removed, with its last exit code."""
        return _enlist(self._removal_waiters)

    def announce_exit(self, ended: Ended) -> None:
        _release(self._exit_waiters, ended)

    def announce_removal(self, ended: Ended) -> None:
        _release(self._exit_waiters, ended)
        _release(self._removal_waiters, ended)

    def cancel_restart(self) -> None:
        """Give up a restart that is waiting for its time; one that has begun goes on."""
        timer, self.restart_timer = self.restart_timer, None
        if timer is not None:
            timer.cancel()


class Lives:
    """The `Live` of each container, made on first use."""

    def __init__(self) -> None:
        self._lives: dict[str, Live] = {}

    def of(self, container_id: str) -> Live:
        live = self._lives.get(container_id)
        if live is None:
            live = self._lives[container_id] = Live(container_id)
        return live

    def forget(self, container_id: str) -> None:
        self._lives.pop(container_id, None)

    def __iter__(self) -> Iterator[Live]:
        return iter(list(self._lives.values()))


def _enlist(waiters: set[asyncio.Future[Ended]]) -> asyncio.Future[Ended]:
    waiter: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
    waiters.add(waiter)
    waiter.add_done_callback(waiters.discard)
    return waiter


def _release(waiters: set[asyncio.Future[Ended]], ended: Ended) -> None:
    for waiter in list(waiters):
        if not waiter.done():
            waiter.set_result(ended)
