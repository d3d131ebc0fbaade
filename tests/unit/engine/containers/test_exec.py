from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from tests.unit.engine.containers.duplex import FakeDuplex

from naru.engine.containers.exec import Execs
from naru.engine.containers.exec_process import ExecConfig
from naru.engine.containers.exec_store import ExecStore
from naru.engine.containers.multiplex import STDOUT, frame
from naru.engine.containers.pump import Pump
from naru.engine.tasks import Tasks
from naru.runtime.complaints import CommandFailed
from naru.spec.containers import (
    ContainerConfig,
    ContainerRecord,
    ContainerState,
    HostConfig,
    Status,
)
from naru.spec.errors import Conflict, InvalidParameter, NotFound
from naru.spec.events import Event

CONFIG = ExecConfig(cmd=["echo", "hi"], attach_stdout=True, attach_stderr=True, env=["X=1"])


class Around:
    """One running container, its runtime and its supervisor."""

    def __init__(self) -> None:
        self.record = ContainerRecord(
            id="c" * 64,
            name="web",
            created=0,
            image_id="",
            chain_id="",
            driver="vfs",
            config=ContainerConfig(working_dir="/srv", env=["X=0", "Y=2"]),
            host_config=HostConfig(runtime="crun"),
            path="sh",
            args=[],
            state=ContainerState(status=Status.RUNNING, pid=os.getpid()),
        )
        self.events: list[Event] = []
        self.process: dict[str, Any] = {}
        self.stdout = -1
        self.refuses: Exception | None = None
        self.runs = asyncio.Event()
        self.acknowledged = asyncio.Event()

    def become(self, status: Status) -> None:
        state = msgspec.structs.replace(self.record.state, status=status)
        self.record = msgspec.structs.replace(self.record, state=state)

    def find(self, ref: str) -> ContainerRecord:
        return self.record

    def get(self, container_id: str) -> ContainerRecord:
        return self.record

    async def tell(self, *events: Event) -> None:
        self.events += events

    async def exec(
        self, container_id: str, exec_id: str, process: dict[str, Any], *, tty: bool, stdin: bool
    ) -> tuple[int, Any]:
        if self.refuses is not None:
            raise self.refuses
        self.process = process
        read_end, self.stdout = os.pipe()
        self.runs.set()
        return 4711, SimpleNamespace(stdin=None, stdout=read_end, stderr=None, pty=None)

    async def close_stdin(self, container_id: str, exec_id: str | None = None) -> None: ...

    async def acknowledge(self, ended: Any) -> None:
        self.acknowledged.set()


def exit_of(exec_id: str, status: int) -> Any:
    return SimpleNamespace(container_id="c" * 64, exec_id=exec_id, pid=4711, status=status, at=1)


@pytest.fixture
def around() -> Around:
    return Around()


@pytest.fixture
def pump() -> Iterator[Pump]:
    pump = Pump()
    yield pump
    pump.close()


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks()
    yield tasks
    await tasks.close()


@pytest.fixture
def execs(around: Around, pump: Pump, tasks: Tasks, tmp_path: Path) -> Execs:
    async def stdio(container_id: str, exec_id: str) -> Any:
        return SimpleNamespace(stdin=None, stdout=None, stderr=None, pty=None)

    store = ExecStore(tmp_path / "execs")
    store.load()
    return Execs(
        containers=around,  # type: ignore[arg-type]
        runtimes={"crun": around},  # type: ignore[dict-item]
        store=store,
        pump=pump,
        tasks=tasks,
        acknowledge=around.acknowledge,
        pidfd=lambda container_id, exec_id: None,
        stdio=stdio,
    )


async def test_an_attached_exec_ends_when_its_exit_code_is_known(
    execs: Execs, around: Around
) -> None:
    exec_id = await execs.create("web", CONFIG)
    assert execs.of_container("c" * 64) == [exec_id]
    client = FakeDuplex()
    started = asyncio.create_task(execs.start(exec_id, client))
    await around.runs.wait()
    os.write(around.stdout, b"hi\n")
    await client.until(frame(STDOUT, b"hi\n"))
    assert execs.inspect(exec_id)["Running"] is True
    os.close(around.stdout)
    await asyncio.sleep(0)
    assert not started.done()
    execs.heard(exit_of(exec_id, 3))
    await asyncio.wait_for(started, 60)
    seen = execs.inspect(exec_id)
    assert (seen["Running"], seen["ExitCode"], seen["CanRemove"]) == (False, 3, True)
    assert execs.of_container("c" * 64) == []
    await around.acknowledged.wait()  # the event comes behind the answer
    assert [event.action for event in around.events] == [
        "exec_create: echo hi",
        "exec_start: echo hi",
        "exec_die",
    ]
    assert around.events[-1].attributes["exitCode"] == "3"


async def test_the_process_is_the_container_s_with_what_was_asked(
    execs: Execs, around: Around
) -> None:
    await execs.start(await execs.create("web", CONFIG))
    process = around.process
    assert process["args"] == ["echo", "hi"]
    assert process["cwd"] == "/srv"
    assert {"X=1", "Y=2"} <= set(process["env"])
    assert "X=0" not in process["env"]
    os.close(around.stdout)


async def test_an_exec_runs_once(execs: Execs, around: Around) -> None:
    exec_id = await execs.create("web", CONFIG)
    await execs.start(exec_id)
    with pytest.raises(Conflict, match="is already running"):
        execs.startable(exec_id)
    os.close(around.stdout)
    execs.heard(exit_of(exec_id, 0))
    await around.acknowledged.wait()
    with pytest.raises(Conflict, match="has already run"):
        await execs.start(exec_id)


async def test_a_command_that_cannot_run_leaves_its_code(execs: Execs, around: Around) -> None:
    around.refuses = CommandFailed('exec: "nosuch": executable file not found in $PATH', 127)
    exec_id = await execs.create("web", CONFIG)
    with pytest.raises(CommandFailed):
        await execs.start(exec_id, FakeDuplex())
    assert execs.inspect(exec_id)["ExitCode"] == 127


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (Status.EXITED, "is not running"),
        (Status.PAUSED, "is paused, unpause the container before exec"),
        (Status.RESTARTING, "is restarting, wait until the container is running"),
    ],
)
async def test_only_a_running_container_takes_execs(
    execs: Execs, around: Around, status: Status, text: str
) -> None:
    around.become(status)
    with pytest.raises(Conflict, match=text):
        await execs.create("web", CONFIG)


async def test_bad_requests(execs: Execs) -> None:
    with pytest.raises(InvalidParameter, match="No exec command specified"):
        await execs.create("web", ExecConfig())
    with pytest.raises(InvalidParameter, match="Invalid escape keys"):
        await execs.create("web", ExecConfig(cmd=["x"], detach_keys="ctrl-9"))
    with pytest.raises(NotFound, match="No such exec instance: nope"):
        execs.inspect("nope")


async def test_the_next_daemon_knows_what_ended_meanwhile(
    execs: Execs, around: Around, tmp_path: Path
) -> None:
    exec_id = await execs.create("web", CONFIG)
    await execs.start(exec_id)
    os.close(around.stdout)
    await execs.leave()
    successor = ExecStore(tmp_path / "execs")
    successor.load()
    assert successor.get(exec_id).running
    assert successor.get(exec_id).pid == 4711
