"""The end of a container's process: logs complete, record and `die` event, then the undoing.

Whoever waits is answered as soon as the exit is recorded and what others may want is released;
deleting and unmounting go on afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from naru.engine.containers import restart_policy
from naru.engine.containers.collaborators import Exit, Followers
from naru.engine.containers.containers import Containers
from naru.engine.containers.facts import HostFacts
from naru.engine.containers.live import Ended, Live
from naru.engine.containers.occurrences import occurrence
from naru.engine.containers.persevere import persevere
from naru.engine.containers.remove import Remove
from naru.engine.containers.start import Start
from naru.engine.containers.teardown import Teardown
from naru.engine.tasks import Tasks
from naru.runtime.supervisor_link import LinkLost
from naru.spec.containers import ContainerRecord, Status
from naru.spec.errors import Conflict, NotFound
from naru.spec.events import Event

log = logging.getLogger(__name__)

_SECOND = 10**9


Acknowledge = Callable[[Any], Awaitable[None]]
"""Gives the very `Exit` back that was heard."""


class Exits:
    """`heard` is for the supervisor: it is called once per exit and again after a restart.

    Until `begin`, exits are kept: the output of a former daemon's runs must be taken up first.
    """

    def __init__(
        self,
        *,
        containers: Containers,
        start: Start,
        remove: Remove,
        teardown: Teardown,
        facts: HostFacts,
        tasks: Tasks,
        acknowledge: Acknowledge,
        exec_ended: Callable[[Any], None] | None = None,
        followers: Sequence[Followers] = (),
    ) -> None:
        """`exec_ended` is told of the exits of execs, and acknowledges them itself."""
        self._containers = containers
        self._start = start
        self._remove = remove
        self._teardown = teardown
        self._facts = facts
        self._tasks = tasks
        self._acknowledge = acknowledge
        self._exec_ended = exec_ended
        self._followers = followers
        self._kept: list[Exit] | None = []

    async def begin(self) -> None:
        """Handle the exits that nobody has heard of, and from now on each as it comes."""
        kept, self._kept = self._kept or [], None
        for ended in kept:
            if ended.exec_id is not None:
                self.heard(ended)
        await asyncio.gather(*(self.handle(ended) for ended in kept if ended.exec_id is None))

    def heard(self, ended: Exit) -> None:
        if self._kept is not None:
            self._kept.append(ended)
            return
        if ended.exec_id is not None and self._exec_ended is not None:
            self._exec_ended(ended)
            return
        self._tasks.spawn(self.handle(ended), name=f"exit of {ended.container_id[:12]}")

    async def handle(self, ended: Exit) -> None:
        """Now if that is possible, else in the background, until it is."""
        try:
            await self._handle_now(ended)
        except Exception as error:
            what = f"exit of {ended.container_id[:12]}"
            log.error("the %s is not recorded yet: %s", what, error)
            # The disk is full, most likely: nobody tells when it is not any more.
            again = persevere(
                lambda: self._handle_now(ended), f"recording the {what}", endless=True
            )
            self._tasks.spawn(again, name=what)

    async def _handle_now(self, ended: Exit) -> None:
        record = self._containers.get(ended.container_id)
        if record is not None and ended.exec_id is None:
            await self._handle(record, ended)
        await self._acknowledge(ended)

    async def _handle(self, record: ContainerRecord, ended: Exit) -> None:
        live = self._containers.live(record)
        if live.streams is not None:
            # Not under the lock: a slow client may take its time. Nobody replaces the streams of a
            # run before its exit is recorded.
            await live.streams.drained()
        async with live.lock:
            present = self._containers.get(record.id)
            if present is None or not present.running or present.state.pid != ended.pid:
                return  # an exit that was recorded already, by a former daemon
            await self._record(present, live, ended)

    async def lost(self, record: ContainerRecord) -> None:
        """For recovery: it ran, and nobody can say how it ended (a reboot, say)."""
        live = self._containers.live(record)
        async with live.lock:
            present = self._containers.get(record.id)
            if present is not None and present.running:
                await self._record(present, live, _Lost(record.id, record.state.pid))

    async def _record(self, record: ContainerRecord, live: Live, ended: Exit) -> None:
        """With the lock held."""
        for follower in self._followers:
            follower.ended(record.id)
        if live.streams is not None:
            await live.streams.close()
            live.streams = None
        ran_for = max(0, ended.at - record.state.started_at) / _SECOND
        again = not live.removing and restart_policy.restarts(
            record.host_config.restart_policy,
            exit_code=ended.status,
            restart_count=record.restart_count,
            stopped_by_user=record.stopped_by_user,
        )
        oom = await asyncio.to_thread(self._oom_killed, record)
        exited = msgspec.structs.replace(
            record,
            state=msgspec.structs.replace(
                record.state,
                status=Status.RESTARTING if again else Status.EXITED,
                pid=0,
                exit_code=ended.status,
                oom_killed=oom,
                finished_at=ended.at,
            ),
        )
        await self._containers.save(exited, *_events(exited, oom=oom, ran_for=ran_for))
        await self._teardown.release(exited)
        live.announce_exit(Ended(ended.status))
        live.teardown = self._tasks.spawn(
            self._teardown.rest(exited), name=f"teardown of {exited.id[:12]}"
        )
        if again:
            live.restart_delay = restart_policy.next_delay(live.restart_delay, ran_for=ran_for)
            self.restart_later(exited, live)
        elif record.host_config.auto_remove and not live.kept and not live.removing:
            await self._remove_ended(exited, live)

    async def _remove_ended(self, record: ContainerRecord, live: Live) -> None:
        """With the lock held. The exit counts as recorded, whatever comes of the removal."""
        try:
            await self._remove.finish(record, live, volumes=True)
        except Exception as error:
            log.warning("container %s is not removed yet: %s", record.id[:12], error)
            self._tasks.spawn(
                persevere(lambda: self._remove_later(record.id), f"removal of {record.id[:12]}"),
                name=f"removal of {record.id[:12]}",
            )

    async def _remove_later(self, container_id: str) -> None:
        with contextlib.suppress(NotFound, Conflict):  # somebody has removed it, or uses it again
            await self._remove(container_id, volumes=True)

    def restart_later(self, record: ContainerRecord, live: Live) -> None:
        """Start a RESTARTING container after its back-off, unless something cancels that."""

        async def wait_and_start() -> None:
            await asyncio.sleep(live.restart_delay)
            # Not cancelled any more once it has begun: a half start is nobody's wish.
            self._tasks.spawn(self._start_again(record), name=f"restart of {record.id[:12]}")

        live.cancel_restart()
        live.restart_timer = self._tasks.spawn(
            wait_and_start(), name=f"restart timer of {record.id[:12]}"
        )

    async def _start_again(self, record: ContainerRecord) -> None:
        try:
            await self._start.again(record.id)
        except LinkLost:
            live = self._containers.live(record)
            live.restart_delay = restart_policy.next_delay(live.restart_delay, ran_for=0)
            self.restart_later(record, live)
        except Exception as error:
            log.warning("container %s does not restart: %s", record.id[:12], error)

    def _oom_killed(self, record: ContainerRecord) -> bool:
        return self._facts.group(record.id, record.host_config.cgroup_parent).oom_kills() > 0


class _Lost:
    """An exit that nobody saw."""

    def __init__(self, container_id: str, pid: int) -> None:
        self.container_id = container_id
        self.exec_id: str | None = None
        self.pid = pid
        self.status = 255
        self.at = time.time_ns()


def _events(record: ContainerRecord, *, oom: bool, ran_for: float) -> list[Event]:
    die = occurrence(
        record,
        "die",
        exitCode=str(record.state.exit_code),
        execDuration=str(int(ran_for)),
    )
    return [occurrence(record, "oom"), die] if oom else [die]
