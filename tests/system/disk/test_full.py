"""A file system without room: what came half is gone, a check is clean, and a retry works."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon
from tests.harness.registry import Registry
from tests.system.disk.place import problems, root_tar

MIB = 1 << 20
DISK = 40 * MIB
TOO_MUCH = 60 * MIB
FITS = 3 * MIB


@pytest.fixture
def small(needs_root: None, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with all its data on an ext4 of 40 MiB, and no floor that would say so first."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("needs mkfs.ext4")
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(DISK)
    # Many inodes: it is space that is to be short.
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-N", "8192", str(disk)], check=True)
    daemon = Daemon(options=("--min-free-space", "0", "-s", "overlay2"))
    daemon.data_root.mkdir()
    done = subprocess.run(["mount", "-o", "loop", str(disk), str(daemon.data_root)], check=False)
    if done.returncode:
        daemon.netns.close()
        pytest.skip("no loop devices")
    try:
        daemon.start()
        daemon.make_busybox()
        yield daemon
    finally:
        daemon.docker("rm", "-f", *daemon.docker("ps", "-aq").stdout.split(), check=False)
        daemon.terminate()
        subprocess.run(["umount", "--recursive", str(daemon.data_root)], check=True)
        daemon.process = None
        daemon.stop()


def test_images_that_do_not_fit(small: Daemon, tmp_path: Path) -> None:
    large, fitting = tmp_path / "large.tar", tmp_path / "fitting.tar"
    names = _make_elsewhere(small, large, fitting)
    with names as registry:
        for command in (
            ("load", "-i", str(large)),
            ("import", str(tmp_path / "root.tar"), "imported"),
            ("pull", f"{registry.address}/large"),
        ):
            refused = small.docker(*command, check=False)
            assert refused.returncode != 0, command
            assert "no space left on device" in refused.stderr.lower(), refused.stderr
            # At once, and after a crash: nothing that keeps the disk full.
            assert problems(small) == [], command
            _await_room(small, command)
        small.kill()
        small.start()
        assert problems(small, "--verify") == []
        for command in (
            ("load", "-i", str(fitting)), ("pull", f"{registry.address}/fitting")
        ):  # fmt: skip
            small.docker(*command)
    assert small.docker("run", "--rm", "busybox", "echo", "works").stdout == "works\n"
    assert problems(small, "--verify") == []


def test_a_container_that_fills_the_disk(small: Daemon, tmp_path: Path) -> None:
    small.docker("run", "--name", "filler", "busybox", "sh", "-c",
                 f"head -c {20 * MIB} /dev/urandom > /data")  # fmt: skip
    refused = small.docker("commit", "filler", "twice", check=False)
    assert refused.returncode != 0
    assert "no space left on device" in refused.stderr.lower(), refused.stderr
    copied = tmp_path / "root.tar"
    copied.write_bytes(root_tar(TOO_MUCH))
    refused = small.docker("cp", str(copied), "filler:/copied", check=False)
    assert refused.returncode != 0
    assert "no space left on device" in refused.stderr.lower(), refused.stderr
    # Full to the last block, by then: a daemon starts even so, and what it needs is there.
    small.kill()
    small.start()
    assert problems(small, "--verify") == []
    small.docker("rm", "-f", "filler")
    _await_room(small, ("rm", "filler"))
    small.docker("run", "--name", "writer", "busybox", "sh", "-c", "echo new > /new")
    small.docker("commit", "writer", "once")
    assert small.docker("run", "--rm", "once", "cat", "/new").stdout == "new\n"
    assert problems(small, "--verify") == []


class _Elsewhere:
    """A registry next to the daemon, with what another daemon has pushed."""

    def __init__(self, registry: Registry) -> None:
        self.address = registry.address
        self._registry = registry

    def __enter__(self) -> _Elsewhere:
        return self

    def __exit__(self, *_: object) -> None:
        self._registry.close()


def _make_elsewhere(small: Daemon, large: Path, fitting: Path) -> _Elsewhere:
    """`large` and `fitting`: archives of images that are also in the registry by these names."""
    registry = Registry(large.parent / "registry", small.netns)
    other = Daemon(netns=small.netns, options=("--bridge", "none"))
    try:
        other.start()
        for path, size in ((large, TOO_MUCH), (fitting, FITS)):
            data = root_tar(size)
            if path is large:
                (large.parent / "root.tar").write_bytes(data)
            name = f"{registry.address}/{path.stem}"
            other.docker("import", "-", name, input=data)
            other.docker("push", name)
            other.docker("save", "-o", str(path), name)
    except BaseException:
        registry.close()
        raise
    finally:
        other.stop()
    return _Elsewhere(registry)


def _await_room(daemon: Daemon, command: tuple[str, ...]) -> None:
    """The client has its answer before the last piece is gone."""
    deadline = time.monotonic() + 60
    while shutil.disk_usage(daemon.data_root).used > 12 * MIB:
        assert time.monotonic() < deadline, command
        daemon.docker("version")
