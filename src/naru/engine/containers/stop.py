"""Ending a container's process by signals: stop, kill and the first half of restart."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from naru.engine.containers import signals, transitions
from naru.engine.containers.collaborators import Runtimes
from naru.engine.containers.containers import Containers
from naru.engine.containers.live import Ended, Live
from naru.engine.containers.occurrences import occurrence
from naru.engine.containers.transitions import Verdict
from naru.spec.containers import ContainerRecord, Status
from naru.spec.errors import Conflict, InternalError, NaruError

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 10
_KILL_SECONDS = 10.0


class Stop:
    def __init__(self, *, containers: Containers, runtimes: Runtimes) -> None:
        self._containers = containers
        self._runtimes = runtimes

    async def stop(self, ref: str, *, signal: str = "", timeout: int | None = None) -> bool:
        """The stop signal, and SIGKILL after `timeout` seconds (-1: never). -> False: at rest."""
        record = self._containers.find(ref)
        number = signals.parse(signal or record.config.stop_signal or "TERM")
        live = self._containers.live(record)
        if timeout is None:
            configured = record.config.stop_timeout
            timeout = DEFAULT_TIMEOUT if configured is None else configured
        marked = await self._mark(record, live)
        if marked is None:
            return False
        if marked.running:
            await self._end(marked, live, number, timeout)
        await self._containers.tell(occurrence(record, "stop"))
        return True

    async def kill(self, ref: str, *, signal: str = "") -> None:
        """Send one signal. SIGKILL and the stop signal also tell the restart policy to rest."""
        number = signals.parse(signal or "KILL")
        record = self._containers.find(ref)
        live = self._containers.live(record)
        try:
            verdict = transitions.may_kill(record)
        except Conflict as error:
            raise Conflict(f"cannot kill container: {ref}: {error}") from None
        final = number in (signals.KILL, signals.parse(record.config.stop_signal or "TERM"))
        exited = live.next_exit()
        if final or verdict is Verdict.NOTHING_TO_DO:
            marked = await self._mark(record, live)
            if marked is None:
                raise Conflict(f"cannot kill container: {ref}: {transitions.not_running(record)}")
            record = marked
        if not record.running:
            return
        sent = await self._signal(record, number)
        if number == signals.KILL:
            await self._await_kill(record, exited)
        elif not sent:
            raise Conflict(f"cannot kill container: {ref}: {transitions.not_running(record)}")

    async def _mark(self, record: ContainerRecord, live: Live) -> ContainerRecord | None:
        """Say in the record that the end is the user's wish; None when there is nothing to end.

        Under the lock, so that a start or an exit comes wholly before or wholly after; a container
        that waits for its restart is at rest afterwards.
        """
        async with live.lock:
            present = self._containers.get(record.id)
            if present is None or transitions.may_stop(present) is Verdict.NOTHING_TO_DO:
                return None
            live.cancel_restart()
            if present.state.status is Status.RESTARTING:
                state = msgspec.structs.replace(present.state, status=Status.EXITED)
                present = msgspec.structs.replace(present, state=state)
            return await self._containers.save(
                msgspec.structs.replace(present, stopped_by_user=True)
            )

    async def _end(self, record: ContainerRecord, live: Live, signal: int, timeout: int) -> None:
        exited = live.next_exit()
        present = self._containers.get(record.id)
        if present is None or not present.running:
            return  # it ended between our mark and our look
        await self._signal(present, signal)
        try:
            if signal != signals.KILL:
                # Shielded: the same future is waited for again.
                await asyncio.wait_for(asyncio.shield(exited), None if timeout < 0 else timeout)
                return
        except TimeoutError:
            log.info("container %s outlived its stop signal: killing it", record.id[:12])
            present = self._containers.get(record.id)
            if present is None or not present.running:
                return
            await self._signal(present, signals.KILL)
        await self._await_kill(present, exited)

    async def _signal(self, record: ContainerRecord, number: int) -> bool:
        """-> False when it cannot be signalled: most likely it has ended, which is told soon."""
        runtime = self._runtimes[record.host_config.runtime]
        try:
            await runtime.kill(record.id, number)
        except NaruError as error:
            log.info("container %s is not signalled: %s", record.id[:12], error)
            return False
        if record.state.status is Status.PAUSED:
            # A frozen process gets no signal: it must run to end.
            await self._resume(record)
        await self._containers.tell(occurrence(record, "kill", signal=str(number)))
        return True

    async def _resume(self, record: ContainerRecord) -> None:
        live = self._containers.live(record)
        async with live.lock:
            present = self._containers.get(record.id)
            if present is None or present.state.status is not Status.PAUSED:
                return
            await self._runtimes[record.host_config.runtime].resume(record.id)
            state = msgspec.structs.replace(present.state, status=Status.RUNNING)
            await self._containers.save(
                msgspec.structs.replace(present, state=state), occurrence(present, "unpause")
            )

    async def _await_kill(self, record: ContainerRecord, exited: asyncio.Future[Ended]) -> None:
        try:
            await asyncio.wait_for(asyncio.shield(exited), _KILL_SECONDS)
        except TimeoutError:
            raise InternalError(
                f"cannot stop container: {record.id}: tried to kill container, but did not "
                "receive an exit event"
            ) from None
