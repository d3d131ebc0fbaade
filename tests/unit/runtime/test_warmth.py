from __future__ import annotations

import os
from pathlib import Path

import pytest

from naru.kernel import cgroups
from naru.runtime.warmth import CgroupWarmth


def test_without_a_v1_hierarchy_there_is_nothing_to_do() -> None:
    warmth = CgroupWarmth(None)
    warmth.expect()
    assert warmth._thread is None
    warmth.close()


def test_a_start_that_is_expected_makes_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "own_group", lambda hierarchy: hierarchy)
    os.mkfifo(tmp_path / "cgroup.procs")
    warmth = CgroupWarmth(tmp_path)
    warmth.expect()
    reader = os.open(tmp_path / "cgroup.procs", os.O_RDONLY)  # waits for the writer
    try:
        assert os.read(reader, 1) == b"0"
        warmth.close()
        assert set(os.read(reader, 4096)) <= {ord("0")}
    finally:
        os.close(reader)
    assert warmth._thread is None


def test_a_group_that_cannot_be_written_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "own_group", lambda hierarchy: hierarchy / "gone")
    warmth = CgroupWarmth(tmp_path)
    warmth.expect()
    thread = warmth._thread
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    warmth.expect()
    warmth.close()
