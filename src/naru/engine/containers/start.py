"""`POST /containers/{id}/start`: network, root and configuration at once, then the runtime.

What a failed start has done is undone by the same steps as an exit, and the record says why.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
from msgspec.structs import replace

from naru.engine.containers import health_rules, transitions
from naru.engine.containers.collaborators import (
    Attachment,
    Followers,
    Logs,
    NetworkFiles,
    Networks,
    Runtimes,
)
from naru.engine.containers.containers import Containers
from naru.engine.containers.live import Live
from naru.engine.containers.occurrences import occurrence
from naru.engine.containers.oci_config import Setting, oci_config
from naru.engine.containers.paths import ContainerPaths
from naru.engine.containers.prepare import Prepare
from naru.engine.containers.pump import Pump
from naru.engine.containers.streams import Streams
from naru.engine.containers.teardown import Teardown
from naru.engine.containers.transitions import Verdict
from naru.engine.tasks import Tasks
from naru.runtime.supervisor_link import LinkLost
from naru.spec.containers import ContainerRecord, ContainerState, Status
from naru.spec.errors import InternalError, NaruError, no_such_container

log = logging.getLogger(__name__)

_UNKNOWN_FAILURE = 128  # `State.ExitCode` of a start that failed before its command was tried


class Start:
    def __init__(
        self,
        *,
        containers: Containers,
        prepare: Prepare,
        networks: Networks,
        runtimes: Runtimes,
        logs: Logs,
        pump: Pump,
        teardown: Teardown,
        paths: ContainerPaths,
        tasks: Tasks,
        followers: Sequence[Followers] = (),
    ) -> None:
        self._containers = containers
        self._prepare = prepare
        self._networks = networks
        self._runtimes = runtimes
        self._logs = logs
        self._pump = pump
        self._teardown = teardown
        self._paths = paths
        self._tasks = tasks
        self._followers = followers

    async def __call__(self, container_id: str) -> bool:
        """-> False when it runs already. By the user's wish: earlier stops are forgotten."""
        record = self._present(container_id)
        live = self._containers.live(record)
        async with live.lock:
            record = self._present(container_id)
            if live.removing:
                raise no_such_container(container_id)
            if transitions.may_start(record) is Verdict.NOTHING_TO_DO:
                return False
            live.cancel_restart()
            live.restart_delay = 0.0
            await self._launch(msgspec.structs.replace(record, restart_count=0), live)
        return True

    async def again(self, container_id: str) -> None:
        """By the restart policy, when its time has come: only if nothing happened meanwhile.

        `LinkLost` when the supervisor has died meanwhile: try again, the record has not changed."""
        record = self._containers.get(container_id)
        if record is None:
            return
        live = self._containers.live(record)
        async with live.lock:
            record = self._containers.get(container_id)
            if record is None or live.removing or record.state.status is not Status.RESTARTING:
                return
            live.restart_timer = None
            count = record.restart_count + 1
            await self._launch(msgspec.structs.replace(record, restart_count=count), live)

    async def _launch(self, record: ContainerRecord, live: Live) -> None:
        """With the lock held: from a container at rest to a running one, or back."""
        runtime = self._runtimes.get(record.host_config.runtime)
        if runtime is None:
            raise InternalError(f"unknown or invalid runtime name: {record.host_config.runtime}")
        runtime.expect_start()
        if live.teardown is not None:
            await asyncio.wait({live.teardown})  # the former run's; it logs its own failures
        try:
            async with AsyncExitStack() as undo:
                undo.push_async_callback(self._undone, record, live)
                attachment, setting = await self._surroundings(record)
                record = msgspec.structs.replace(record, endpoints=dict(attachment.endpoints))
                setting = self._completed(record, setting, attachment)
                config = oci_config(record, setting)
                intake = self._logs.intake(record)
                if intake is not None:
                    undo.callback(intake.close, over=True)
                pid, stdio = await runtime.run(
                    record.id,
                    self._paths.bundle(record.id),
                    tty=record.config.tty,
                    stdin=record.config.open_stdin,
                    config=config,
                )
                # No await until the streams are there: the exit may come in the next turn.
                live.streams = Streams.start(
                    stdio,
                    tty=record.config.tty,
                    log=intake,
                    stdin_once=record.config.stdin_once,
                    close_stdin=functools.partial(runtime.close_stdin, record.id),
                    pump=self._pump,
                    point=live.attach_point,
                )
                undo.pop_all()
                undo.push_async_callback(self._abandoned, record, live)
                running = msgspec.structs.replace(
                    record,
                    stopped_by_user=False,
                    state=ContainerState(
                        status=Status.RUNNING,
                        pid=pid,
                        started_at=time.time_ns(),
                        finished_at=record.state.finished_at,
                        health=health_rules.initial(record.config),
                    ),
                )
                await self._containers.save(running, occurrence(running, "start"))
                undo.pop_all()
        except Exception as error:
            await self._failed(record, error)
            raise
        for follower in self._followers:
            follower.started(running)

    async def _surroundings(self, record: ContainerRecord) -> tuple[Attachment, Setting]:
        """Both to their ends, so that what is undone after a failure is not still being done."""
        attaching = asyncio.ensure_future(self._networks.attach(record))
        preparing = asyncio.ensure_future(self._prepare(record))
        try:
            await asyncio.wait({attaching, preparing})
        except asyncio.CancelledError:
            await asyncio.wait({attaching, preparing})
            raise
        for task in (attaching, preparing):
            if (error := task.exception()) is not None:
                raise error
        return attaching.result(), preparing.result()

    def _completed(
        self, record: ContainerRecord, setting: Setting, attachment: Attachment
    ) -> Setting:
        """The setting with what the network decided."""
        kind, _, ref = record.host_config.network_mode.partition(":")
        if kind == "container":
            files = self._paths.directory(ref)
        else:
            files = self._paths.directory(record.id)
            _write(files, self._networks.files(record))
        namespaces = replace(setting.namespaces, network=attachment.netns)
        return replace(setting, files=files, namespaces=namespaces)

    async def _abandoned(self, record: ContainerRecord, live: Live) -> None:
        """The process runs, but the record of it could not be written: it must not stay."""
        if live.streams is not None:
            await self._runtimes[record.host_config.runtime].delete(record.id)
            await live.streams.close()
            live.streams = None
        await self._undone(record, live)

    async def _undone(self, record: ContainerRecord, live: Live) -> None:
        """As after an exit: what others may want at once, the rest behind the answer."""
        await self._teardown.release(record)
        live.teardown = self._tasks.spawn(
            self._teardown.rest(record), name=f"teardown of {record.id[:12]}"
        )

    async def _failed(self, record: ContainerRecord, error: Exception) -> None:
        if isinstance(error, LinkLost) and record.state.status is Status.RESTARTING:
            return  # no fault of the container: it is still to be restarted
        code = getattr(error, "exit_code", 0) or _UNKNOWN_FAILURE
        text = str(error) if isinstance(error, NaruError) else f"{type(error).__name__}: {error}"
        status = record.state.status
        failed = msgspec.structs.replace(
            record,
            state=msgspec.structs.replace(
                record.state,
                status=Status.EXITED if status is Status.RESTARTING else status,
                pid=0,
                exit_code=code,
                error=text,
            ),
        )
        try:
            await self._containers.save(failed)
        except NaruError:
            log.exception("the failed start of %s could not be recorded", record.id[:12])

    def _present(self, container_id: str) -> ContainerRecord:
        record = self._containers.get(container_id)
        if record is None:
            raise no_such_container(container_id)
        return record


def _write(directory: Path, files: NetworkFiles) -> None:
    """In place: a bind mount of the file keeps showing what is written later."""
    for name, content in (
        ("hosts", files.hosts),
        ("hostname", files.hostname),
        ("resolv.conf", files.resolv_conf),
    ):
        (directory / name).write_text(content)
