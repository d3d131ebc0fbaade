"""`--stop`: what ran runs again, what was paused is paused again, whatever happens in between."""

from __future__ import annotations

import contextlib
import http.client
import os
from collections.abc import Iterator

import pytest
from tests.harness.aftermath import until
from tests.harness.daemon import Daemon
from tests.system.disk.place import problems
from tests.system.storage.stage import Messages, Stage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

SLEEP = ("base", "sh", "-c", "trap 'exit 0' TERM; echo begun >> /log; while :; do sleep 0.1; done")
NAMES = ("one", "two", "three", "four", "frozen", "idle")
BEFORE = {
    "one": "running", "two": "running", "three": "running", "four": "running", "frozen": "paused",
    "idle": "exited",
}  # fmt: skip


@pytest.fixture
def stage() -> Iterator[Stage]:
    here = Stage(Daemon().start())
    try:
        here.daemon.make_busybox("base")
        for name in NAMES:
            policy = ["--restart", "always"] if name == "two" else []
            here.daemon.docker("run", "-d", "--name", name, *policy, *SLEEP)
        for name in NAMES:
            until(lambda name=name: begun(here, name) == 1)
        here.daemon.docker("pause", "frozen")
        here.daemon.docker("stop", "idle")
        assert states(here) == BEFORE
        yield here
    finally:
        here.daemon.stop()


def states(stage: Stage) -> dict[str, str]:
    shown = stage.daemon.docker("inspect", "-f", "{{.Name}} {{.State.Status}}", *NAMES).stdout
    return dict(line.lstrip("/").split() for line in shown.splitlines())


def begun(stage: Stage, name: str) -> int:
    """How often the container has been started, by what it has written."""
    return stage.daemon.docker("cp", f"{name}:/log", "-").stdout.count("begun\n")


def test_all_come_back_as_they_were(stage: Stage) -> None:
    text = stage.migrate("--to", "vfs", "--stop")
    assert "Stopping frozen" in text
    assert "Started and paused frozen" in text
    assert states(stage) == BEFORE
    assert stage.drivers_of_records() == {"vfs"}
    stage.daemon.docker("unpause", "frozen")
    for name in NAMES:
        until(lambda name=name: begun(stage, name) == (1 if name == "idle" else 2))


def test_a_refusal_stops_nobody(stage: Stage) -> None:
    stage.daemon.docker("run", "-d", "--rm", "--name", "brief", "base", "sleep", "1000")
    refused = stage.migrate("--to", "vfs", "--stop", check=False)
    assert "with --rm: brief" in refused
    assert states(stage) == BEFORE
    assert begun(stage, "one") == 1


# The gate closes at "Stopping"; images are carried before it, containers' own layers after it.
@pytest.mark.parametrize(
    "moment",
    [
        ("Stopping", 1), ("Stopping", 3), ("Stopping", 5), ("Carrying", 3), ("Carrying", 6),
        ("Carried", 8), ("Switched", 1), ("Removing", 1),
    ],
    ids=lambda moment: f"{moment[0]}-{moment[1]}",
)  # fmt: skip
def test_killed_with_several_running(stage: Stage, moment: tuple[str, int]) -> None:
    text, left = moment
    with (
        Messages(stage.daemon, To="vfs", Stop=True) as messages,
        contextlib.suppress(http.client.HTTPException),
    ):
        for message in messages:
            assert "error" not in message, message
            if message["status"].startswith(text) and message.get("progress", "") == "":
                left -= 1
                if not left:
                    stage.daemon.kill()
                    break
    assert left == 0
    stage.daemon.start()
    until(lambda: states(stage) == BEFORE)
    if stage.driver() != "vfs":
        stage.migrate("--to", "vfs", "--stop")
    until(lambda: states(stage) == BEFORE)
    assert stage.drivers_of_records() == {"vfs"}
    stage.daemon.docker("unpause", "frozen")
    for name in NAMES:
        until(lambda name=name: begun(stage, name) >= (1 if name == "idle" else 2))
    assert begun(stage, "idle") == 1
    until(lambda: not (stage.daemon.data_root / "overlay2").exists())
    assert problems(stage.daemon, "--verify") == []
