"""The free-space floor where files are copied: vfs's layers, and what an image has for a volume."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator

import pytest

from tests.harness.daemon import Daemon
from tests.harness.loopdisk import NoDisk, fill, loop_disk
from tests.system.disk.place import problems, root_tar

MIB = 1 << 20
DISK = 256 * MIB
FLOOR = 24 * MIB
IMAGE = 20 * MIB


@pytest.fixture
def small(needs_root: None) -> Iterator[Daemon]:
    """A daemon with vfs on an ext4, where a copy is one."""
    try:
        with loop_disk("ext4", size=DISK, make=("-m", "0", "-N", "16384")) as disk:
            daemon = Daemon(options=("--min-free-space", str(FLOOR), "-s", "vfs"))
            daemon.data_root = disk / "naru"
            try:
                daemon.start()
                daemon.make_busybox()
                yield daemon
            finally:
                daemon.stop()
    except NoDisk as error:
        pytest.skip(str(error))


def free(daemon: Daemon) -> int:
    return shutil.disk_usage(daemon.data_root).free


def refused(daemon: Daemon, *command: str) -> str:
    """What the client says; the floor must hold, and all that was begun be gone."""
    before, found = free(daemon), layers(daemon)
    done = daemon.docker(*command, check=False)
    assert done.returncode != 0
    assert "no space left on device: " in done.stderr
    assert "are to stay free (min-free-space)" in done.stderr
    assert problems(daemon) == []
    _await(daemon, lambda: layers(daemon) == found)
    _await(daemon, lambda: free(daemon) >= before - MIB)  # ext4 frees in its own time
    return done.stderr


def remove(daemon: Daemon, container: str) -> None:
    """With its layer, which goes after the answer."""
    found = daemon.docker("inspect", "-f", "{{.Id}}", container).stdout.strip()
    daemon.docker("rm", container)
    _await(daemon, lambda: not any(name.startswith(found) for name in layers(daemon)))


def layers(daemon: Daemon) -> set[str]:
    return set(os.listdir(daemon.data_root / "vfs"))


def _await(daemon: Daemon, done: Callable[[], bool]) -> None:
    """Clients have their answer before the last piece is gone."""
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, (free(daemon), layers(daemon))
        daemon.docker("version")


def test_a_container_whose_copy_does_not_fit(small: Daemon) -> None:
    # As busybox, so that its container runs, with what makes the copy large.
    small.docker("run", "--name", "maker", "busybox", "sh", "-c",
                 f"head -c {IMAGE} /dev/urandom > /data")  # fmt: skip
    small.docker("commit", "maker", "large")
    remove(small, "maker")
    # Its first container needs the layer with its mount points too: neither fits.
    ballast = fill(small.data_root.parent, leave=FLOOR + IMAGE // 2)
    assert "copying a layer" in refused(small, "create", "--name", "first", "large", "true")
    ballast.unlink()
    # Now that one fits, and is not left for a container that there is not.
    ballast = fill(small.data_root.parent, leave=FLOOR + 2 * IMAGE)
    assert "copying a layer" in refused(small, "create", "--name", "first", "large", "true")
    ballast.unlink()
    count = "while true; do date +%s%N; usleep 100000; done"
    small.docker("run", "-d", "--name", "runs", "large", "sh", "-c", count)
    ballast = fill(small.data_root.parent, leave=FLOOR + IMAGE // 2)
    assert "copying a layer" in refused(small, "run", "--name", "second", "large", "true")
    assert small.docker("ps", "-a", "--format", "{{.Names}}").stdout.split() == ["runs"]
    # What runs goes on, and starts again, below the floor too.
    ballast.unlink()
    fill(small.data_root.parent, leave=FLOOR // 2)
    assert "making a container's layer" in refused(small, "create", "large", "true")
    assert small.docker("exec", "runs", "sh", "-c", "echo more > /more; cat /more").stdout == (
        "more\n"
    )
    small.docker("restart", "-t", "0", "runs")
    assert small.docker("inspect", "-f", "{{.State.Running}}", "runs").stdout == "true\n"
    small.docker("rm", "-f", "runs")
    small.kill()
    small.start()
    assert problems(small, "--verify") == []


def test_a_layer_whose_copy_does_not_fit(small: Daemon) -> None:
    """A commit unpacks a layer of its own on a copy of those below it."""
    small.docker("import", "-", "large", input=root_tar(IMAGE))
    small.docker("create", "--name", "made", "large", "/none")
    small.docker("cp", "-", "made:/", input=root_tar(1000))
    fill(small.data_root.parent, leave=FLOOR + IMAGE // 2)
    assert "copying a layer" in refused(small, "commit", "made", "twice")
    assert small.docker("images", "-q", "twice").stdout == ""


def test_a_volume_that_the_image_does_not_fit_into(small: Daemon) -> None:
    small.docker("run", "--name", "maker", "busybox", "sh", "-c",
                 f"mkdir /v; head -c {IMAGE} /dev/urandom > /v/data; touch /v/after")  # fmt: skip
    small.docker("commit", "maker", "large")
    small.docker("create", "--name", "user", "-v", "named:/v", "large", "ls", "/v")
    ballast = fill(small.data_root.parent, leave=FLOOR + IMAGE // 2)
    assert "populating volume named" in refused(small, "start", "user")
    assert list((small.data_root / "volumes" / "named" / "_data").iterdir()) == []
    ballast.unlink()
    assert small.docker("start", "-a", "user").stdout.split() == ["after", "data"]
