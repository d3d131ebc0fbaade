"""btrfs on a loop file: its own limits, and subvolumes that a container made itself."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.loopdisk import NoDisk, loop_disk

from naru.kernel import btrfs
from naru.spec.errors import InvalidParameter
from naru.store.drivers.btrfs import Btrfs

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

A, B = "a" * 64, "b" * 64


@pytest.fixture
def root() -> Iterator[Path]:
    try:
        with loop_disk("btrfs", size=300 << 20) as disk:
            yield disk / "data"
    except NoDisk as reason:
        pytest.skip(str(reason))


def test_a_limit_holds_in_its_layer_only_and_does_not_hinder_removal(root: Path) -> None:
    driver = Btrfs(root, {})
    driver.create(A, None, writable=False)
    driver.create(B, A, writable=True, size=8 << 20)
    tree = root / B / "diff"
    (tree / "inside").mkdir()
    btrfs.create_subvolume(tree / "inside" / "nested")
    btrfs.create_subvolume(tree / "inside" / "nested" / "deeper")
    with pytest.raises(OSError, match="quota") as refused:
        _fill(tree / "big", 30)
    assert refused.value.errno in (errno.EDQUOT, errno.ENOSPC)
    (root / A / "diff" / "free").write_bytes(b"x" * (10 << 20))
    for layer in (B, A):
        driver.remove(layer)
    assert list(driver.layers()) == []


def _fill(path: Path, mib: int) -> None:
    with path.open("wb") as out:
        for _ in range(mib):
            out.write(os.urandom(1 << 20))
            out.flush()
            os.fsync(out.fileno())


def test_a_removal_killed_in_the_middle_is_finished_by_the_next(root: Path) -> None:
    driver = Btrfs(root, {})
    driver.create(A, None, writable=True)
    (root / A).rename(root / f"{A}.removing")
    assert list(driver.layers()) == [A]
    driver.remove(A)
    assert list(driver.layers()) == []


def test_a_size_below_min_space_is_refused(root: Path) -> None:
    driver = Btrfs(root, {"btrfs.min_space": "10M"})
    with pytest.raises(InvalidParameter, match="min_space"):
        driver.create(A, None, writable=True, size=1 << 20)
    with contextlib.suppress(FileNotFoundError):
        assert not (root / A).exists()
