"""`system df` is what `du` says, byte for byte, on drivers that keep layers in different ways."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon
from tests.harness.loopdisk import NoDisk, loop_disk
from tests.harness.registry import Registry
from tests.system.disk.place import du, root_tar, usage

FEW_BLOCKS = 16 * 4096
"""Directories below mounts, and records: their log grows by the events of the asking itself."""


@pytest.mark.parametrize("driver", ["overlay2", "vfs", "erofs"])
def test_df_is_du(needs_root: None, driver: str) -> None:
    _df_is_du(Daemon(options=("-s", driver)), driver)


def test_df_is_du_on_btrfs(needs_root: None) -> None:
    """Where layers are subvolumes, each a file system of its own by its number."""
    try:
        with loop_disk("btrfs", size=1 << 30) as disk:
            daemon = Daemon(options=("-s", "btrfs"))
            daemon.data_root = disk / "naru"
            _df_is_du(daemon, "btrfs")
    except NoDisk as error:
        pytest.skip(str(error))


def _df_is_du(daemon: Daemon, driver: str) -> None:
    try:
        try:
            daemon.start()
        except RuntimeError as error:
            if "driver not supported" in str(error):
                pytest.skip(f"no {driver} here")
            raise
        assert abs(usage(daemon)["Total"] - du(daemon.data_root)) <= FEW_BLOCKS
        _fill(daemon)
        found = usage(daemon)
        assert abs(found["Total"] - du(daemon.data_root)) <= FEW_BLOCKS
        kinds = {kind["Kind"]: kind["Size"] for kind in found["Kinds"]}
        assert sum(kinds.values()) == found["Total"]
        assert kinds["logs"] >= 200_000
        assert kinds["volumes"] >= 3_000_000
        assert kinds["unknown layers"] == kinds["other drivers"] == kinds["build cache"] == 0
        _compare_with_docker(daemon, kinds)
        ids = daemon.docker("ps", "-aq").stdout.split()
        daemon.docker("rm", "-f", "-v", *ids)
        daemon.docker("volume", "prune", "-af")
        daemon.docker("image", "prune", "-af")
        daemon.terminate()
        daemon.start()  # removals are through
        left = {kind["Kind"]: kind["Size"] for kind in usage(daemon)["Kinds"]}
        assert left["blobs"] + left["layers"] + left["init layers"] + left["containers"] <= 3 * 4096
        assert left["logs"] == 0
    finally:
        daemon.stop()


def _fill(daemon: Daemon) -> None:
    """A pull, a commit, a container that runs and one that does not, a volume, a log."""
    daemon.make_busybox()
    registry = Registry(daemon.root / "registry", daemon.netns)
    try:
        daemon.docker("import", "-", f"{registry.address}/big", input=root_tar(700_000, 5, 70_000))
        daemon.docker("push", f"{registry.address}/big")
        daemon.docker("rmi", f"{registry.address}/big")
        daemon.docker("pull", f"{registry.address}/big")
    finally:
        registry.close()
    write = "head -c 3000000 /dev/zero >/v/data; head -c 500000 /dev/zero >/own; rm /bin/vi"
    daemon.docker("run", "-v", "v1:/v", "--name", "writer", "busybox", "sh", "-c", write)
    log = "head -c 150000 /dev/urandom | od -An -tx1"
    daemon.docker("run", "--name", "logger", "busybox", "sh", "-c", log)
    daemon.docker("commit", "writer", "committed")
    daemon.docker("run", "-d", "--name", "runs", "committed", "sleep", "1000")


def _compare_with_docker(daemon: Daemon, kinds: dict[str, int]) -> None:
    """Docker's own four rows hold all but what is Naru's own: records, lock, empty directories."""
    response = daemon.docker("system", "df", "-v", "--format", "json").stdout
    shown = json.loads(response)
    names = {item["Names"] for item in shown["Containers"]}
    assert names == {"writer", "logger", "runs"}
    api = daemon.naru("system", "df", "--format", "json").stdout.splitlines()
    rows = {row["Type"]: row for row in map(json.loads, api)}
    images = sum(
        kinds[kind] for kind in ("blobs", "partial blobs", "layers", "init layers", "driver")
    )
    containers = kinds["containers"] + kinds["logs"] + kinds["container files"]
    assert rows["Images"]["Size"] == _human(images)
    # The directory that holds all of them is no container's.
    own = {name: _blocks(daemon.data_root / name) for name in ("containers", "volumes")}
    assert rows["Containers"]["Size"] == _human(containers - own["containers"])
    assert rows["Local Volumes"]["Size"] == _human(kinds["volumes"] - own["volumes"])


def _blocks(directory: Path) -> int:
    return directory.stat().st_blocks * 512


def _human(size: int) -> str:
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.4g}{unit}"
        number /= 1000
    raise AssertionError(size)
