"""`docker exec`: further processes in running containers.

Create remembers what shall run, start runs it with a client attached or detached. An exec lives in
the supervisor, so it survives the daemon; only its clients do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from naru.engine.containers import detach_keys, transitions
from naru.engine.containers.attach_point import AttachPoint
from naru.engine.containers.attachment import Duplex, Ending
from naru.engine.containers.collaborators import ExecRuntime, Exit
from naru.engine.containers.containers import Containers
from naru.engine.containers.exec_process import ExecConfig, exec_process
from naru.engine.containers.exec_record import ExecRecord
from naru.engine.containers.exec_store import ExecStore
from naru.engine.containers.occurrences import occurrence
from naru.engine.containers.pump import Pump
from naru.engine.containers.streams import Stdio, Streams
from naru.engine.tasks import Tasks
from naru.spec.containers import ContainerRecord, Status
from naru.spec.errors import Conflict, InvalidParameter

log = logging.getLogger(__name__)


class _Run:
    """The handles of one exec, from its start until its exit is recorded."""

    def __init__(self) -> None:
        self.point = AttachPoint()
        self.streams: Streams | None = None
        self.told: asyncio.Task[None] | None = None
        """Records the `exec_start` event, beside the start itself."""
        self.exited = asyncio.Event()


class Execs:
    """`pidfd` gives the supervisor's pidfd of an exec, `stdio` fresh copies of its stdio."""

    def __init__(
        self,
        *,
        containers: Containers,
        runtimes: Mapping[str, ExecRuntime],
        store: ExecStore,
        pump: Pump,
        tasks: Tasks,
        acknowledge: Callable[[Any], Awaitable[None]],
        pidfd: Callable[[str, str], int | None],
        stdio: Callable[[str, str], Awaitable[Stdio]],
        apparmor_profile: str = "",
        no_new_privileges: bool = False,
    ) -> None:
        self._containers = containers
        self._runtimes = runtimes
        self._store = store
        self._pump = pump
        self._tasks = tasks
        self._acknowledge = acknowledge
        self._pidfd = pidfd
        self._stdio = stdio
        self._apparmor_profile = apparmor_profile
        self._no_new_privileges = no_new_privileges
        self._runs: dict[str, _Run] = {}

    # -- the verbs --------------------------------------------------------------------------

    async def create(self, ref: str, config: ExecConfig) -> str:
        """-> the new exec's id."""
        record = self._containers.find(ref)
        _must_take_execs(record)
        if not config.cmd:
            raise InvalidParameter("No exec command specified")
        self._store.forget_old()
        made = ExecRecord(
            id=secrets.token_hex(32),
            container_id=record.id,
            config=config,
            detach_keys=detach_keys.parse(config.detach_keys) if config.detach_keys else b"",
        )
        self._store.save(made)
        await self._tell(record, made, f"exec_create: {' '.join(config.cmd)}")
        return made.id

    def startable(self, exec_id: str) -> ExecRecord:
        """Raise what a start would be refused with; to be asked before the answer begins."""
        found = self._store.get(exec_id)
        _must_take_execs(self._containers.find(found.container_id))
        if found.exit_code is not None:
            raise Conflict(f"Error: Exec command {exec_id} has already run")
        if found.started:
            raise Conflict(f"Error: Exec command {exec_id} is already running")
        return found

    async def start(
        self, exec_id: str, conn: Duplex | None = None, *, console_size: Sequence[int] = ()
    ) -> None:
        """Run it. With a client: until the process has ended and its exit code is known, the
        client is gone or detached. Without one: until it runs."""
        made = self.startable(exec_id)
        record = self._containers.find(made.container_id)
        made = self._store.save(msgspec.structs.replace(made, started=True))
        run = self._runs[made.id] = _Run()
        attached = None
        if conn is not None:
            attached = asyncio.ensure_future(run.point.attach(conn, made.attach_options()))
            await asyncio.sleep(0)  # so that it waits at the attach point when output comes
        try:
            await self._launch(record, made, run, console_size or made.config.console_size)
        except BaseException as error:
            self._store.save(made.ended(getattr(error, "exit_code", 126)))
            self._runs.pop(made.id, None)
            run.point.close()
            if attached is not None:
                attached.cancel()
                await asyncio.wait({attached})
            raise
        if attached is None or conn is None:
            if run.told is not None:
                await asyncio.wait({run.told})
            return
        try:
            ending = await attached
            if ending is Ending.DETACHED:
                await self._tell(record, made, "exec_detach")
            elif ending is Ending.EXITED:
                await _either(run.exited.wait(), conn.wait_closed())
        finally:
            attached.cancel()

    async def probe(
        self, record: ContainerRecord, command: Sequence[str], sink: Duplex, timeout: float
    ) -> int | None:
        """Run a health check's command -> exit code; None when it took too long and was killed."""
        exec_id = await self.create(
            record.id,
            ExecConfig(cmd=list(command), attach_stdout=True, attach_stderr=True, tty=False),
        )
        try:
            await asyncio.wait_for(self.start(exec_id, sink), timeout)
        except TimeoutError:
            self._kill(self._store.get(exec_id))
            return None
        return self._store.get(exec_id).exit_code

    def inspect(self, exec_id: str) -> dict[str, Any]:
        """The body of `GET /exec/{id}/json`."""
        return self._store.get(exec_id).inspected()

    async def resize(self, exec_id: str, height: int, width: int) -> None:
        found = self._store.get(exec_id)
        if not found.running:
            raise Conflict(f"cannot resize a stopped exec: {exec_id}")
        runtime = self._runtime(self._containers.find(found.container_id))
        await runtime.resize(found.container_id, found.id, height, width)

    def of_container(self, container_id: str) -> list[str]:
        """`ExecIDs` of inspect: those that have not ended."""
        return [
            each.id for each in self._store.of_container(container_id) if each.exit_code is None
        ]

    # -- what happens to them ---------------------------------------------------------------

    def heard(self, ended: Exit) -> None:
        """The supervisor says that an exec's process has ended; also again after a restart."""
        self._tasks.spawn(self._handle(ended), name=f"exit of exec {(ended.exec_id or '')[:12]}")

    async def recover(self) -> None:
        """Take up what a former daemon started: its output must be read, or it would block."""
        await asyncio.to_thread(self._store.load)
        for found in self._store.all():
            container = self._containers.get(found.container_id)
            if container is None:
                self._store.forget(found)
            elif found.running:
                run = self._runs[found.id] = _Run()
                stdio = await self._stdio(found.container_id, found.id)
                if (stdio.stdin, stdio.stdout, stdio.stderr, stdio.pty) == (None,) * 4:
                    if not container.running:
                        self._store.save(found.ended(137))
                        self._runs.pop(found.id, None)
                    continue
                run.streams = self._stream(self._runtime(container), found, run, stdio)

    def started(self, container: ContainerRecord) -> None:
        """Nothing to do: execs are made by clients."""

    def ended(self, container_id: str) -> None:
        """The container's processes are gone; the supervisor tells each exec's end by itself."""

    def removed(self, container_id: str) -> None:
        for found in self._store.of_container(container_id):
            self._store.forget(found)

    async def leave(self) -> None:
        """The daemon goes down; the execs run on."""
        for run in list(self._runs.values()):
            if run.streams is not None:
                await run.streams.leave()

    # -- inside -----------------------------------------------------------------------------

    async def _launch(
        self, record: ContainerRecord, made: ExecRecord, run: _Run, console_size: Sequence[int]
    ) -> None:
        process = await asyncio.to_thread(
            exec_process, record, made.config, console_size,
            apparmor_profile=self._apparmor_profile, no_new_privileges=self._no_new_privileges,
        )  # fmt: skip
        # Nobody waits for the record of it; the records keep the order of what they are told.
        run.told = self._tasks.spawn(
            self._tell(record, made, f"exec_start: {' '.join(made.config.cmd)}"),
            name=f"event of exec {made.id[:12]}",
        )
        runtime = self._runtime(record)
        pid, stdio = await runtime.exec(
            record.id, made.id, process, tty=made.config.tty, stdin=made.config.attach_stdin
        )
        # No await before the streams are there: the exit may come in the next turn.
        run.streams = self._stream(runtime, made, run, stdio)
        self._store.save(msgspec.structs.replace(self._store.get(made.id), pid=pid))

    def _stream(self, runtime: ExecRuntime, made: ExecRecord, run: _Run, stdio: Stdio) -> Streams:
        return Streams.start(
            stdio,
            tty=made.config.tty,
            log=None,
            stdin_once=True,
            close_stdin=functools.partial(runtime.close_stdin, made.container_id, made.id),
            pump=self._pump,
            point=run.point,
        )

    async def _handle(self, ended: Exit) -> None:
        run = self._runs.pop(ended.exec_id or "", None)
        if run is not None and run.streams is not None:
            await run.streams.drained()
        found = self._store.find(ended.exec_id or "")
        if found is not None and found.exit_code is None:
            self._store.save(found.ended(ended.status, at=ended.at))
        else:
            found = None  # it is known, from a former daemon
        if run is not None:
            run.exited.set()
            if run.streams is not None:
                await run.streams.close()
        container = self._containers.get(ended.container_id)
        if found is not None and container is not None:
            await self._tell(container, found, "exec_die", exitCode=str(ended.status))
        await self._acknowledge(ended)

    async def _tell(
        self, container: ContainerRecord, made: ExecRecord, action: str, **attributes: str
    ) -> None:
        await self._containers.tell(occurrence(container, action, execID=made.id, **attributes))

    def _kill(self, found: ExecRecord) -> None:
        pidfd = self._pidfd(found.container_id, found.id)
        if pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def _runtime(self, record: ContainerRecord) -> ExecRuntime:
        return self._runtimes[record.host_config.runtime]


def _must_take_execs(record: ContainerRecord) -> None:
    transitions.must_run(record)
    if record.state.status is Status.PAUSED:
        raise Conflict(f"Container {record.id} is paused, unpause the container before exec")


async def _either(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
