"""A disk that becomes full in the middle: nobody notices but who migrates, and it can go on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.harness.aftermath import until
from tests.harness.daemon import Daemon
from tests.harness.loopdisk import NoDisk, loop_disk
from tests.harness.trees import compared
from tests.system.disk.place import du, problems, root_tar, usage
from tests.system.storage.stage import Messages, Stage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

MIB = 1 << 20
SPARE = 8 * MIB  # enough for the small containers, and for what a start writes


@pytest.fixture
def stage() -> Iterator[Stage]:
    """On a small disk: two containers that run, one that does not and has 20 MiB of its own."""
    try:
        with loop_disk("ext4", size=384 * MIB, make=("-m", "0")) as disk:
            options = ("-s", "overlay2", "--min-free-space", "0")
            here = Stage(Daemon(disk, options=options).start())
            try:
                here.daemon.make_busybox("base")
                run = ("run", "-d", "--stop-signal", "KILL", "--name")
                for name in ("one", "two"):
                    here.daemon.docker(*run, name, "base", "sleep", "1000")
                with here.running("base", name="big") as root:
                    (root / "data").write_bytes(os.urandom(20 * MIB))
                    (root / "bin/vi").unlink()
                yield here
            finally:
                here.daemon.stop()
    except NoDisk as reason:
        pytest.skip(str(reason))


@contextmanager
def importing(stage: Stage) -> Iterator[None]:
    """An import that goes nowhere: it keeps the migration from the switch until the end of this."""
    client = subprocess.Popen(
        ["docker", "-H", stage.daemon.host, "import", "-", "stuck"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert client.stdin is not None
    layers = stage.daemon.data_root / "overlay2"
    before = set(layers.iterdir())
    try:
        client.stdin.write(root_tar(500_000)[:300_000])
        client.stdin.flush()
        until(lambda: set(layers.iterdir()) > before)
        yield
    finally:
        client.kill()
        client.wait()
        client.stdin.close()


def fill(disk: Path) -> Path:
    """A file that leaves almost nothing."""
    path = disk / "filler"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room(disk) - SPARE)
    return path


def room(disk: Path) -> int:
    return shutil.disk_usage(disk).free


def states(stage: Stage) -> list[str]:
    shown = stage.daemon.docker("inspect", "-f", "{{.State.Status}}", "one", "two", "big")
    return shown.stdout.split()


@pytest.mark.parametrize("killed", [False, True], ids=["told", "killed"])
def test_no_space_for_a_containers_layer(stage: Stage, *, killed: bool) -> None:
    before = stage.container_tree("big")
    with Messages(stage.daemon, To="vfs", Stop=True) as messages:
        told = iter(messages)
        with importing(stage):
            carried = 0
            while carried < 2:  # the image's layer, and that of the mount points
                carried += next(told)["status"] == "Carried and verified"
            filler = fill(stage.daemon.root)
        errors = [message["error"] for message in told if "error" in message]
    assert len(errors) == 1
    assert "No space left on device" in errors[0]
    assert stage.driver() == "overlay2"
    assert states(stage) == ["running", "running", "exited"]
    # What was half made is gone: who goes on working has the room.
    assert room(stage.daemon.root) > MIB
    assert compared(before, stage.container_tree("big")) == []
    assert problems(stage.daemon) == [("pending-migration", "left")]
    if killed:
        stage.daemon.kill()
        stage.daemon.start()
        assert states(stage) == ["running", "running", "exited"]
    filler.unlink()
    assert abs(usage(stage.daemon)["Total"] - du(stage.daemon.data_root)) <= 16 * 4096
    stage.migrate("--to", "vfs", "--stop")
    assert stage.driver() == "vfs"
    assert states(stage) == ["running", "running", "exited"]
    assert compared(before, stage.container_tree("big")) == []
    assert problems(stage.daemon, "--verify") == []


def test_too_little_from_the_start_is_refused(stage: Stage) -> None:
    fill(stage.daemon.root)
    refused = stage.migrate("--to", "vfs", "--stop", check=False)
    assert "not enough disk space: the layers need about" in refused
    assert states(stage) == ["running", "running", "exited"]
    assert problems(stage.daemon) == []
