"""Runs the health checks of running containers and records what they say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from naru.engine.containers import health_rules, json_lines, multiplex
from naru.engine.containers.attachment import Duplex
from naru.engine.containers.containers import Containers
from naru.engine.containers.health_rules import MOST_OUTPUT, Check
from naru.engine.containers.occurrences import occurrence
from naru.engine.tasks import Tasks
from naru.spec.containers import ContainerRecord, Health, HealthProbe, Status
from naru.spec.errors import NaruError

_SECOND = 10**9


class Prober(Protocol):
    async def probe(
        self, record: ContainerRecord, command: Sequence[str], sink: Duplex, timeout: float
    ) -> int | None: ...


class HealthChecks:
    """Follows the containers' lives: one task per running container that has a health check."""

    def __init__(self, *, containers: Containers, execs: Prober, tasks: Tasks) -> None:
        self._containers = containers
        self._execs = execs
        self._tasks = tasks
        self._running: dict[str, asyncio.Task[None]] = {}

    def started(self, container: ContainerRecord) -> None:
        check = health_rules.check_of(container.config)
        if check is not None:
            self.ended(container.id)
            self._running[container.id] = self._tasks.spawn(
                self._check(container, check), name=f"health checks of {container.id[:12]}"
            )

    def ended(self, container_id: str) -> None:
        task = self._running.pop(container_id, None)
        if task is not None:
            task.cancel()

    def removed(self, container_id: str) -> None:
        self.ended(container_id)

    async def _check(self, container: ContainerRecord, check: Check) -> None:
        health = container.state.health
        if health is None:
            health = Health()
            await self._save(container, health)
        while True:
            running_for = _since(container.state.started_at)
            # The checks' own rhythm, not a wait for something.
            await asyncio.sleep(health_rules.pause_before(health, check, running_for=running_for))
            present = self._containers.get(container.id)
            if present is None or present.state.pid != container.state.pid:
                return
            if present.state.status is Status.PAUSED:
                continue
            running_for = _since(container.state.started_at)
            probe = await self._probe(present, check)
            health = health_rules.after(health, probe, check, running_for=running_for)
            await self._save(container, health)

    async def _probe(self, container: ContainerRecord, check: Check) -> HealthProbe:
        sink = _Sink()
        began = time.time_ns()
        try:
            code = await self._execs.probe(container, check.command, sink, check.timeout)
        except NaruError as error:
            return _probe(began, -1, str(error))
        if code is None:
            limit = health_rules.go_duration(check.timeout)
            text = f"Health check exceeded timeout ({limit})"
            output = f"{text}: {sink.text}" if sink.text else text
            return _probe(began, -1, output)
        return _probe(began, code, sink.text)

    async def _save(self, container: ContainerRecord, health: Health) -> None:
        """Unless the process that was checked is no longer the container's."""
        async with self._containers.live(container).lock:
            present = self._containers.get(container.id)
            if present is None or present.state.pid != container.state.pid:
                return
            before = present.state.health
            state = msgspec.structs.replace(present.state, health=health)
            events = []
            if before is not None and before.status != health.status:
                events.append(occurrence(present, f"health_status: {health.status}"))
            await self._containers.save(msgspec.structs.replace(present, state=state), *events)


class _Sink:
    """A client that keeps the beginning of what a probe writes."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._deframer = multiplex.Deframer()
        self._truncated = False

    @property
    def text(self) -> str:
        return self._kept.decode(errors="replace") + ("..." if self._truncated else "")

    async def read(self, limit: int = 65536) -> bytes:
        return b""

    async def write(self, data: bytes | memoryview) -> None:
        for _, payload in self._deframer.feed(bytes(data)):
            room = MOST_OUTPUT - len(self._kept)
            self._kept += payload[:room]
            self._truncated = self._truncated or len(payload) > room

    async def wait_closed(self) -> None:
        await asyncio.Event().wait()


def _probe(began: int, exit_code: int, output: str) -> HealthProbe:
    return HealthProbe(
        start=json_lines.format_time(began),
        end=json_lines.format_time(time.time_ns()),
        exit_code=exit_code,
        output=output,
    )


def _since(at: int) -> float:
    return (time.time_ns() - at) / _SECOND
