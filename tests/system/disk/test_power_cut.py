"""The power fails while images come and go: what the next start finds is whole.

An image is there with all of its layers, or not at all; see `harness/powercut` for what is cut.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon
from tests.harness.loopdisk import NoDisk
from tests.harness.powercut import FailingDisk, failing_disk
from tests.harness.registry import Registry
from tests.system.disk.place import problems

SIZE = 1 << 30
SUM = "find /data -type f | sort | xargs cat | sha256sum"


@pytest.mark.parametrize(
    ("kind", "driver"),
    [("ext4", "overlay2"), ("btrfs", "btrfs"), ("xfs", "erofs")],
)
def test_images_are_whole_or_not_there(
    needs_root: None, kind: str, driver: str, tmp_path: Path
) -> None:
    try:
        with failing_disk(kind, size=SIZE) as disk:
            _cut_while_it_works(disk, driver, tmp_path)
    except NoDisk as error:
        pytest.skip(str(error))


def _cut_while_it_works(disk: FailingDisk, driver: str, tmp_path: Path) -> None:
    daemon = Daemon(options=("-s", driver, "--min-free-space", "0"))
    daemon.data_root = disk.root / "naru"
    try:
        with disk.mounted():
            try:
                daemon.start()
            except RuntimeError as error:
                if "driver not supported" in str(error):
                    pytest.skip(f"no {driver} here")
                raise
            sums = _work(daemon, disk, tmp_path)
            daemon.docker("rm", "-f", "changed")
            daemon.terminate()
        listed = [_after(daemon, sums) for _ in disk.after_each_cut()]
        assert listed[-1] == {"busybox", "committed", "pulled"}  # of that one all was on the disk
    finally:
        daemon.clear_away()


def _work(daemon: Daemon, disk: FailingDisk, tmp_path: Path) -> dict[str, str]:
    """Images come and go, and the power fails -> the sums of their files, by repository."""
    archive = tmp_path / "image.tar"
    registry = Registry(tmp_path / "registry", daemon.netns)
    try:
        daemon.make_busybox()
        fill = "mkdir /data; for i in $(seq 400); do head -c 9000 /dev/urandom > /data/$i; done"
        daemon.docker("run", "--name", "changed", "busybox", "sh", "-c", fill)
        pulled = f"{registry.address}/pulled:1"
        daemon.docker("commit", "changed", pulled)
        expected = daemon.docker("run", "--rm", pulled, "sh", "-c", SUM).stdout
        daemon.docker("push", pulled)
        daemon.docker("tag", pulled, "loaded")
        daemon.docker("save", "-o", str(archive), "loaded")
        daemon.docker("rmi", pulled, "loaded")
        subprocess.run(["sync", "-f", str(disk.root)], check=True)
        for cuts, *command in (
            (2, "pull", pulled), (1, "rmi", pulled), (2, "load", "-i", str(archive)),
            (2, "commit", "changed", "committed"), (0, "create", "--name", "made", "committed"),
            (1, "image", "prune", "-af"), (1, "pull", pulled),
        ):  # fmt: skip
            _cut_during(daemon, disk, command, cuts)
        subprocess.run(["sync", "-f", str(disk.root)], check=True)
        disk.cut()
        daemon.docker("rm", "made")
    finally:
        registry.close()
    return {"pulled": expected, "loaded": expected, "committed": expected}


def _cut_during(daemon: Daemon, disk: FailingDisk, command: list[str], cuts: int) -> None:
    """`cuts`: at most so many while it runs; then one more."""
    client = subprocess.Popen(
        ["docker", "-H", daemon.host, *command],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    while client.poll() is None and cuts:
        disk.cut()
        cuts -= 1
    _, error = client.communicate(timeout=120)
    assert client.returncode == 0, error.decode()
    disk.cut()  # right after the answer


def _after(daemon: Daemon, sums: dict[str, str]) -> set[str]:
    """Start on what is left -> the repositories of the images that are there."""
    daemon.start()
    try:
        assert problems(daemon, "--verify") == []
        names = daemon.docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
        found = set()
        for name in names:
            repository = name.rpartition("/")[2].rpartition(":")[0]
            found.add(repository)
            if repository in sums:
                ran = daemon.docker("run", "--rm", "--network", "none", name, "sh", "-c", SUM)
                assert ran.stdout == sums[repository], name
        for container in daemon.docker("ps", "-aq", "-f", "name=made").stdout.split():
            daemon.docker("start", "-a", container)
        return found
    finally:
        daemon.terminate()
