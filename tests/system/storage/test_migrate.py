"""`naru storage migrate`: everything is there afterwards, to the last nanosecond."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from tests.harness.daemon import Daemon
from tests.harness.trees import compared
from tests.system.storage.stage import Stage

from naru.spec.errors import NaruError
from naru.store.choice import choose

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

DRIVERS = ("overlay2", "vfs", "erofs", "overlay")
PAIRS = list(itertools.combinations(DRIVERS, 2))


@pytest.fixture
def usable(tmp_path: Path) -> set[str]:
    found = set()
    for name in DRIVERS:
        try:
            choose(name, tmp_path / "probe")
        except NaruError:
            continue
        found.add(name)
    return found


def stage(driver: str) -> Stage:
    return Stage(Daemon(options=("-s", driver)).start())


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda name: name)
def test_there_and_back(first: str, second: str, usable: set[str]) -> None:
    if missing := {first, second} - usable:
        pytest.skip(f"this kernel cannot run {missing}")
    here = stage(first)
    try:
        here.build()
        before, diff = here.trees(), here.diff("changed")
        text = here.migrate("--to", second)
        assert f"the storage driver in use is {second}" in text
        assert here.driver() == second
        assert here.drivers_of_records() == {second}
        assert not (here.daemon.data_root / first).exists()
        there = here.trees()
        for name, tree in before.items():
            assert compared(tree, there[name]) == [], name
        assert here.diff("changed") == diff
        # A commit, a save and a new container work on what was carried.
        here.daemon.docker("save", "-o", str(here.daemon.root / "saved"), "layered")
        here.daemon.docker("commit", "changed", "again")
        assert here.daemon.docker("run", "--rm", "again", "cat", "/opt/old/new").stdout == "above"
        here.migrate("--to", first)
        here.daemon.docker("save", "-o", str(here.daemon.root / "saved"), "layered", "again")
        back = here.trees()
        for name, tree in before.items():
            assert compared(tree, back[name]) == [], name
        assert here.diff("changed") == diff
    finally:
        here.daemon.stop()
