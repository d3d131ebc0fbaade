"""kill -9 while images come and go: the next daemon's store is clean, and works."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon
from tests.harness.registry import Registry
from tests.system.disk.place import du, problems, root_tar, usage


@pytest.mark.parametrize(("driver", "rounds"), [("overlay2", 6), ("erofs", 4)])
def test_kills_at_any_moment(needs_root: None, driver: str, rounds: int, tmp_path: Path) -> None:
    daemon = Daemon(options=("-s", driver))
    try:
        try:
            daemon.start()
        except RuntimeError as error:
            if "driver not supported" in str(error):
                pytest.skip(f"no {driver} here")
            raise
        daemon.make_busybox()
        registry = Registry(tmp_path / "registry", daemon.netns)
        try:
            _work(daemon, registry.address, tmp_path, rounds)
        finally:
            registry.close()
    finally:
        daemon.stop()


def _work(daemon: Daemon, registry: str, tmp_path: Path, rounds: int) -> None:
    name, archive, root = f"{registry}/image", tmp_path / "image.tar", tmp_path / "root.tar"
    root.write_bytes(root_tar(*([20_000] * 300), 4_000_000))
    daemon.docker("import", str(root), name)
    daemon.docker("push", name)
    daemon.docker("save", "-o", str(archive), name)
    daemon.docker("rmi", name)
    daemon.docker("run", "--name", "changed", "busybox", "sh", "-c",
                  "for i in $(seq 300); do head -c 9000 /dev/urandom > /f$i; done")  # fmt: skip
    before = usage(daemon)["Total"]
    dice = random.Random(daemon.data_root.name)
    commands = (
        ("pull", name), ("load", "-i", str(archive)), ("import", str(root), "imported"),
        ("commit", "changed", "committed"), ("rmi", name),
    )  # fmt: skip
    for round in range(rounds):
        command = commands[round % len(commands)]
        if command[0] == "rmi":
            daemon.docker("load", "-i", str(archive))
        client = subprocess.Popen(
            ["docker", "-H", daemon.host, *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # Any moment will do: the point is that no moment is special.
        time.sleep(dice.uniform(0.02, 0.25))
        daemon.kill()
        client.wait()
        daemon.start()
        assert problems(daemon, "--verify") == [], (round, command)
    assert abs(usage(daemon)["Total"] - du(daemon.data_root)) <= 16 * 4096
    daemon.docker("pull", name)
    daemon.docker("commit", "changed", "committed")
    assert daemon.docker("run", "--rm", "committed", "sh", "-c", "ls /f300").stdout == "/f300\n"
    daemon.docker("image", "prune", "-af")
    assert daemon.docker("images", "-q").stdout.split() == [
        daemon.docker("inspect", "-f", "{{.Image}}", "changed").stdout[7:19]
    ]
    assert problems(daemon, "--verify") == []
    # But for records and the remains of one download, to be resumed.
    assert usage(daemon)["Total"] - before < 12_000_000
