"""From btrfs and to it: redirect-on-write on one side, copy-on-write on the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.daemon import Daemon
from tests.harness.loopdisk import NoDisk, loop_disk
from tests.harness.trees import compared
from tests.system.storage.stage import Stage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def disk() -> Iterator[Path]:
    try:
        with loop_disk("btrfs", size=2 << 30) as root:
            yield root
    except NoDisk as reason:
        pytest.skip(str(reason))


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
