"""A full disk: what cannot be done is refused with a reason, nothing is damaged, and once there is
room again everything goes on, without a restart."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.harness import aftermath
from tests.harness.daemon import Daemon

MIB = 1 << 20


@contextmanager
def small_disk(at: Path, size: int) -> Iterator[None]:
    at.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(at)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not a byte is left on `disk` meanwhile."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (MIB, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    try:
        yield
    finally:
        ballast.unlink()


def where_data(daemon: Daemon) -> Path:
    return daemon.data_root


def where_run(daemon: Daemon) -> Path:
    return daemon.exec_root


@pytest.fixture(params=[where_data, where_run])
def cramped(
    needs_root: None, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Daemon, Path]]:
    """A daemon with one of its roots on a small disk, and that disk."""
    daemon = Daemon(root=tmp_path)
    where: Callable[[Daemon], Path] = request.param
    with small_disk(where(daemon), 64 * MIB):
        try:
            daemon.start()
            daemon.make_busybox()
            yield daemon, where(daemon)
        finally:
            daemon.stop()


def test_a_full_disk(cramped: tuple[Daemon, Path]) -> None:
    daemon, disk = cramped
    script = "i=0; while read line; do echo $i; i=$((i+1)); done; exit 4"
    daemon.docker("run", "-d", "-i", "--name", "writer", "busybox", "sh", "-c", script)
    daemon.docker("run", "-d", "--name", "ends", "busybox", "sh", "-c", "sleep 1; exit 5")
    daemon.docker("run", "-d", "--name", "goes", "busybox", "sleep", "1000")
    ending = int(daemon.docker("inspect", "-f", "{{.State.Pid}}", "ends").stdout)
    say(daemon, 100)
    aftermath.until(lambda: daemon.docker("logs", "writer").stdout.endswith("99\n"))
    with full(disk):
        refused = daemon.docker("run", "--name", "new", "busybox", "true", check=False)
        assert refused.returncode in (0, 125, 126)
        if refused.returncode:
            reasons = ("no space left on device", "disk is full")
            assert any(each in refused.stderr.lower() for each in reasons), refused.stderr
        say(daemon, 5000)
        assert "writer" in daemon.docker("ps").stdout
        daemon.docker("rm", "-f", "goes")  # which is how a disk is emptied
        aftermath.gone(ending)
    aftermath.until(lambda: "Exited (5)" in daemon.docker("ps", "-a").stdout)
    say(daemon, 100)
    aftermath.until(lambda: daemon.docker("logs", "writer").stdout.endswith("5199\n"))
    numbers = [int(line) for line in daemon.docker("logs", "writer").stdout.splitlines()]
    assert numbers == sorted(set(numbers))
    assert numbers[:100] == list(range(100))
    assert daemon.docker("run", "--rm", "busybox", "echo", "x").stdout == "x\n"
    daemon.kill()
    daemon.start()
    aftermath.until(lambda: "Exited (5)" in daemon.docker("ps", "-a").stdout)
    daemon.docker("rm", "-f", *daemon.docker("ps", "-aq").stdout.split())
    aftermath.empty(lambda: [each for each in aftermath.remains(daemon) if each != str(disk)])
    assert aftermath.crashes(daemon) == []


def say(daemon: Daemon, lines: int) -> None:
    """Have the writer write so many lines more."""
    pid = aftermath.containers(daemon, "running")
    writer = next(each for each in pid if each["Name"] == "/writer")
    with open(f"/proc/{writer['State']['Pid']}/fd/0", "wb", buffering=0) as stdin:
        os.write(stdin.fileno(), b"\n" * lines)
