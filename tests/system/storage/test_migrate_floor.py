"""The free-space floor holds against a migration: at its start, and in the middle of each kind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from tests.harness.aftermath import until
from tests.harness.daemon import Daemon
from tests.harness.loopdisk import NoDisk, fill, loop_disk
from tests.harness.trees import compared
from tests.system.disk.place import problems, root_tar
from tests.system.storage.stage import Messages, Stage, kill_when
from tests.system.storage.test_migrate_full import importing

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

MIB = 1 << 20
DISK = 512 * MIB
FLOOR = 128 * MIB  # more than what a migration leaves of itself
DATA = 32 * MIB
PIECES = 8 * MIB  # how much may be written between two looks at what is free, and its metadata


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A container that runs, and an image of which nothing can be compressed."""
    try:
        with loop_disk("ext4", size=DISK, make=("-m", "0", "-N", "16384")) as disk:
            options = ("-s", "overlay2", "--min-free-space", str(FLOOR))
            here = Stage(Daemon(disk, options=options).start())
            try:
                here.daemon.make_busybox("base")
                here.daemon.docker("run", "-d", "--stop-signal", "KILL", "--name", "runs",
                                   "base", "sleep", "1000")  # fmt: skip
                yield here
            finally:
                here.daemon.stop()
    except NoDisk as reason:
        pytest.skip(str(reason))


def free(stage: Stage) -> int:
    return shutil.disk_usage(stage.daemon.data_root).free


def driver_directory(stage: Stage, driver: str) -> set[str]:
    path = stage.daemon.data_root / driver
    return set(os.listdir(path)) if path.exists() else set()


def assert_refused(stage: Stage, error: str, before: int) -> None:
    """By the floor, which holds; the container runs, and what was half made is gone."""
    assert "no space left on device: " in error
    assert "are to stay free (min-free-space)" in error
    until(lambda: free(stage) >= before - PIECES)  # ext4 frees in its own time
    assert free(stage) >= FLOOR
    assert stage.driver() == "overlay2"
    assert running(stage)
    assert problems(stage.daemon) == [("pending-migration", "left")]


def running(stage: Stage) -> bool:
    return stage.daemon.docker("inspect", "-f", "{{.State.Running}}", "runs").stdout == "true\n"


def test_a_migration_that_would_go_below_the_floor_is_not_begun(stage: Stage) -> None:
    stage.daemon.docker("import", "-", "large", input=root_tar(DATA))
    ballast = fill(stage.daemon.root, leave=FLOOR + DATA // 2)
    refused = stage.migrate("--to", "vfs", "--stop", check=False)
    assert "not enough disk space: the layers need about" in refused
    assert "134.2MB of which are to stay so (min-free-space)" in refused
    assert problems(stage.daemon) == []
    assert running(stage)
    assert driver_directory(stage, "vfs") <= {"l"}
    # It is the floor alone that was in the way: the disk itself has room.
    ballast.unlink()
    fill(stage.daemon.root, leave=FLOOR + 4 * DATA)  # its tar is kept beside it
    stage.migrate("--to", "vfs", "--stop")
    assert stage.driver() == "vfs"
    assert free(stage) >= FLOOR
    assert running(stage)


@pytest.mark.parametrize("target", ["vfs", "overlay", "erofs"])
def test_an_images_layer_that_does_not_fit_above_the_floor(stage: Stage, target: str) -> None:
    # As base, so that its containers run, with what makes the layer large.
    stage.daemon.docker("run", "--name", "maker", "base", "sh", "-c",
                        f"head -c {DATA} /dev/urandom > /data")  # fmt: skip
    stage.daemon.docker("commit", "maker", "large")
    stage.daemon.docker("rm", "maker")
    expected = stage.image_tree("large")
    stage.daemon.docker("stop", "runs")
    if not kill_when(stage, "Migrating from", to=target):
        pytest.skip(f"no {target} here")
    stage.daemon.start()
    stage.daemon.docker("start", "runs")
    # A migration that is begun asks no more whether all of it will fit.
    ballast = fill(stage.daemon.root, leave=FLOOR + DATA // 2)
    before = free(stage)
    assert_refused(stage, stage.migrate("--to", target, "--stop", check=False), before)
    ballast.unlink()
    stage.migrate("--to", target, "--stop")
    assert stage.driver() == target
    assert compared(expected, stage.image_tree("large")) == []
    assert running(stage)
    assert problems(stage.daemon, "--verify") == []


@pytest.mark.parametrize("target", ["vfs", "overlay"])
def test_a_containers_layer_that_does_not_fit_above_the_floor(stage: Stage, target: str) -> None:
    with stage.running("base", name="big") as root:
        (root / "data").write_bytes(os.urandom(DATA))
        (root / "bin/vi").unlink()
    expected = stage.container_tree("big")
    with Messages(stage.daemon, To=target, Stop=True) as messages:
        told = iter(messages)
        with importing(stage):
            carried = 0
            while carried < 2:  # the image's layer, and that of the mount points
                message = next(told)
                if "not supported" in message.get("error", ""):
                    pytest.skip(message["error"])
                carried += message["status"] == "Carried and verified"
            ballast = fill(stage.daemon.root, leave=FLOOR + DATA // 2)
            before = free(stage)
        errors = [message["error"] for message in told if "error" in message]
    assert len(errors) == 1
    assert "carrying a layer" in errors[0]
    assert_refused(stage, errors[0], before)
    assert compared(expected, stage.container_tree("big")) == []
    ballast.unlink()
    stage.migrate("--to", target, "--stop")
    assert stage.driver() == target
    assert compared(expected, stage.container_tree("big")) == []
    assert running(stage)
    assert problems(stage.daemon, "--verify") == []
