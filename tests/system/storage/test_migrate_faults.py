"""A migration that is killed, refused, given up or contradicted loses nothing."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
from collections.abc import Iterator

import pytest
from tests.harness import aftermath
from tests.harness.daemon import Daemon
from tests.harness.trees import compared
from tests.system.storage.stage import Messages, Stage, kill_when

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def stage() -> Iterator[Stage]:
    here = Stage(Daemon().start())
    try:
        yield here
    finally:
        here.daemon.stop()


@pytest.mark.parametrize(
    ("text", "count"),
    [("Migrating", 1), ("Carrying", 1), ("Carrying", 3), ("Carried", 3), ("Carrying", 5),
     ("Carried", 5), ("Switched", 1), ("Removing", 2)],
    ids=lambda value: str(value),
)  # fmt: skip
def test_killed_and_resumed(stage: Stage, text: str, count: int) -> None:
    stage.build()
    before = stage.trees()
    assert stage.driver() == "overlay2"
    assert kill_when(stage, text, count)
    stage.daemon.start()
    # Whatever the moment was, everything is there and works, on the one driver or on the other.
    for name, tree in stage.trees().items():
        assert compared(before[name], tree) == [], name
    if stage.driver() == "overlay2":
        with stage.running("", name="changed") as root:
            (root / "srv" / "later").write_text("changed after it was carried, perhaps")
            os.utime(root / "srv", ns=(3, 4))
        before = stage.trees()
        stage.migrate("--to", "vfs")
    assert stage.driver() == "vfs"
    for name, tree in stage.trees().items():
        assert compared(before[name], tree) == [], name
    stage.daemon.terminate()
    stage.daemon.start()
    assert stage.driver() == "vfs"
    aftermath.until(lambda: not (stage.daemon.data_root / "overlay2").exists())


def test_running_containers_are_named_and_refused(stage: Stage) -> None:
    stage.daemon.make_busybox("base")
    stage.daemon.docker("run", "-d", "--name", "web", "base", "sleep", "1000")
    refused = stage.daemon.naru("storage", "migrate", "--to", "vfs", check=False)
    assert refused.returncode == 1
    assert "containers are running: web: stop them first, or let --stop" in refused.stderr
    with Messages(stage.daemon, To="vfs") as messages:
        assert messages.status == 409
    assert stage.daemon.docker("inspect", "-f", "{{.State.Running}}", "web").stdout == "true\n"


def test_stop_stops_and_starts_again(stage: Stage) -> None:
    stage.daemon.make_busybox("base")
    docker = stage.daemon.docker
    script = "echo from-run | tee -a /kept; sleep 1000"
    docker("run", "-d", "--name", "web", "base", "sh", "-c", script)
    aftermath.until(lambda: docker("logs", "web").stdout == "from-run\n")
    docker("create", "--name", "other", "base", "true")
    text = stage.migrate("--to", "vfs", "--stop")
    assert "Stopping web" in text
    assert "Started web" in text
    shown = docker("inspect", "-f", "{{.State.Status}} {{.GraphDriver.Name}}", "web", "other")
    assert shown.stdout.splitlines() == ["running vfs", "created vfs"]
    grep = ("exec", "web", "grep", "-c", "from-run", "/kept")
    aftermath.until(lambda: docker(*grep).stdout == "2\n")


def test_stop_does_not_lose_a_container_that_removes_itself(stage: Stage) -> None:
    stage.daemon.make_busybox("base")
    stage.daemon.docker("run", "-d", "--rm", "--name", "brief", "base", "sleep", "1000")
    refused = stage.daemon.naru("storage", "migrate", "--to", "vfs", "--stop", check=False)
    assert "with --rm: brief" in refused.stderr
    assert stage.daemon.docker("ps", "-q", "--filter", "name=brief").stdout


def test_stopped_containers_run_again_after_a_kill(stage: Stage) -> None:
    stage.daemon.make_busybox("base")
    stage.daemon.docker("run", "-d", "--name", "web", "base", "sleep", "1000")
    with (
        Messages(stage.daemon, To="vfs", Stop=True) as messages,
        contextlib.suppress(http.client.HTTPException),
    ):
        stopping = False
        for message in messages:
            stopping = stopping or message["status"] == "Stopping web"
            if stopping and message["status"] == "Carrying":
                stage.daemon.kill()
                break
    stage.daemon.start()
    shown = stage.daemon.docker("inspect", "-f", "{{.State.Status}}", "web").stdout
    assert shown == "running\n"


def test_an_interrupted_migration_can_be_given_up(stage: Stage) -> None:
    stage.build()
    before = stage.trees()
    assert kill_when(stage, "Carrying", 4)
    stage.daemon.start()
    other = stage.daemon.naru("storage", "migrate", "--to", "overlay", check=False)
    assert "a migration to vfs was begun" in other.stderr
    stage.migrate("--abandon")
    assert not (stage.daemon.data_root / "vfs").exists()
    for name, tree in stage.trees().items():
        assert compared(before[name], tree) == [], name
    assert "no migration of the storage is pending" in stage.migrate("--abandon", check=False)


def test_work_goes_on_meanwhile(stage: Stage) -> None:
    """Containers made, changed and removed during a migration are whole after it."""
    stage.build()
    docker = stage.daemon.docker
    numbers = iter(range(20))
    with Messages(stage.daemon, To="vfs") as messages:
        for message in messages:
            if message.get("error"):
                # One of ours ran at the very moment of the switch.
                assert "containers are running: c" in message["error"]
            elif message["status"] == "Carrying" and (number := next(numbers, None)) is not None:
                name = f"c{number}"
                docker("run", "-d", "--name", name, "layered", "sh", "-c", f"echo {number} > /n")
                docker("wait", name)
                if number % 2:
                    docker("rm", name)
    if stage.driver() != "vfs":
        stage.migrate("--to", "vfs")
    names = docker("ps", "-a", "--format", "{{.Names}}", "--filter", "name=^c[0-9]").stdout.split()
    assert names
    for name in names:
        assert docker("cp", f"{name}:/n", "-").stdout.find(name[1:]) > 0
    assert stage.drivers_of_records() == {"vfs"}


def test_a_configuration_that_names_the_former_driver() -> None:
    here = Stage(Daemon(options=("-s", "overlay2")).start())
    try:
        here.daemon.make_busybox("base")
        text = here.migrate("--to", "vfs")
        assert re.search(
            "WARNING: the daemon's configuration names the storage driver overlay2", text
        )
        here.daemon.terminate()
        with pytest.raises(RuntimeError, match="images and containers are in that of vfs"):
            here.daemon.start()
        here.daemon._options = ()
        here.daemon.start()
        assert here.daemon.docker("run", "--rm", "base", "echo", "here").stdout == "here\n"
    finally:
        here.daemon.stop()


def test_the_driver_in_use_or_an_unknown_one(stage: Stage) -> None:
    for name, why in (
        ("overlay2", "is overlay2 already"),
        ("nosuch", "driver not supported: nosuch"),
    ):
        refused = stage.daemon.naru("storage", "migrate", "--to", name, check=False)
        assert refused.returncode == 1
        assert why in refused.stderr
