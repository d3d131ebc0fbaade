"""Between a `kill -9` and the command that goes on: what is asked of the disk is still right."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from tests.harness.aftermath import until
from tests.harness.daemon import Daemon
from tests.harness.trees import compared
from tests.system.disk.place import du, problems, usage
from tests.system.storage.stage import Stage, kill_when

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

FEW_BLOCKS = 16 * 4096


@pytest.fixture
def stage() -> Iterator[Stage]:
    here = Stage(Daemon().start())
    try:
        here.build()
        yield here
    finally:
        here.daemon.stop()


def moving(stage: Stage) -> int:
    """Bytes of the other driver; the total is what `du` says."""
    found = usage(stage.daemon)
    assert abs(found["Total"] - du(stage.daemon.data_root)) <= FEW_BLOCKS
    kinds = {kind["Kind"]: kind["Size"] for kind in found["Kinds"]}
    assert sum(kinds.values()) == found["Total"]
    assert kinds["unknown layers"] == kinds["other drivers"] == 0
    return int(kinds["migration"])


@pytest.mark.parametrize("target", ["vfs", "overlay", "erofs"])
def test_what_is_half_carried_is_known(stage: Stage, target: str) -> None:
    before = stage.trees()
    if not kill_when(stage, "Carrying", 4, to=target):
        pytest.skip(f"this kernel cannot run {target}")
    stage.daemon.start()
    assert moving(stage) > 4096
    there = stage.daemon.data_root / target
    files = set(there.rglob("*"))
    for options in ((), ("--verify",), ("--repair", "--verify")):
        assert problems(stage.daemon, *options) == [("pending-migration", "left")]
    assert set(there.rglob("*")) == files
    done = stage.daemon.naru("system", "check", check=False)
    assert f"'naru storage migrate --to {target}' goes on with it" in done.stdout
    stage.daemon.docker("image", "prune", "-af")
    assert stage.daemon.naru("storage", "inspect", "changed").stdout
    stage.migrate("--to", target)
    assert stage.driver() == target
    assert problems(stage.daemon, "--verify") == []
    assert moving(stage) == 0
    assert compared(before["changed"], stage.container_tree("changed")) == []


def test_what_is_half_removed_is_known(stage: Stage) -> None:
    """The daemon's start goes on with that by itself, which is no problem to be told."""
    assert kill_when(stage, "Switched", to="vfs")
    moved = stage.daemon.data_root / "overlay2"
    assert moved.exists()
    stage.daemon.start()
    assert stage.driver() == "vfs"
    assert problems(stage.daemon, "--verify") == []
    until(lambda: not moved.exists())
    assert moving(stage) == 0
    assert problems(stage.daemon, "--verify") == []


def test_what_was_given_up_leaves_nothing(stage: Stage) -> None:
    assert kill_when(stage, "Carrying", 4, to="vfs")
    stage.daemon.start()
    stage.migrate("--abandon")
    assert moving(stage) == 0
    assert problems(stage.daemon, "--verify") == []
    info = json.loads(stage.daemon.docker("info", "-f", "{{json .}}").stdout)
    assert info["Driver"] == "overlay2"
