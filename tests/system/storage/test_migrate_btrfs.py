"""From btrfs and to it: redirect-on-write on one side, copy-on-write on the other."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.daemon import Daemon
from tests.harness.trees import compared
from tests.system.storage.stage import Stage

from naru.store.drivers.probe import filesystems

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("mkfs.btrfs") is None, reason="needs mkfs.btrfs"),
    pytest.mark.skipif("btrfs" not in filesystems(), reason="the kernel has no btrfs"),
]


@pytest.fixture
def disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="naru-test-btrfs-") as name:
        image, root = Path(name, "image"), Path(name, "root")
        root.mkdir()
        with image.open("wb") as file:
            file.truncate(2 << 30)
        subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(root)], check=True)
        try:
            yield root
        finally:
            subprocess.run(["umount", str(root)], check=True)


@pytest.mark.parametrize("other", ["overlay2", "vfs"])
def test_there_and_back(disk: Path, other: str) -> None:
    here = Stage(Daemon(disk, options=("-s", "btrfs")).start())
    try:
        here.build()
        before = here.trees()
        for target in (other, "btrfs"):
            here.migrate("--to", target)
            assert here.driver() == target
            for name, tree in here.trees().items():
                assert compared(before[name], tree) == [], (target, name)
    finally:
        here.daemon.stop()
