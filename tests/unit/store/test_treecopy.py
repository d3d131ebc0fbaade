"""A copied tree is metered by the space that it takes, and ends where there is none left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.harness.loopdisk import NoDisk, loop_disk
from tests.harness.trees import compared, tree

from naru.spec.disk import FreeSpace
from naru.spec.errors import NoSpace
from naru.store.drivers.vfs import Vfs
from naru.store.room import Room
from naru.store.treecopy import copy_tree, link_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="copies owners")

MIB = 1 << 20
SMALL = 4096
"""What inodes, symbolic links and small directories may count for, each."""


def metered(source: Path, target: Path) -> int:
    sizes: list[int] = []
    target.mkdir()
    copy_tree(str(source), str(target), sizes.append)
    assert compared(tree(source), tree(target)) == []
    assert max(sizes, default=0) <= MIB  # whoever asks once in a few MiB is not passed by
    return sum(sizes)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    made.mkdir()
    return made


@pytest.fixture
def plain(source: Path) -> Path:
    """A file system that shares no data between files, or the test is of no use."""
    (source / "probe").write_bytes(bytes(SMALL))
    if metered(source, source.parent / "probed") < SMALL:
        pytest.skip("the test directory's file system shares data")
    (source / "probe").unlink()
    return source


def test_data_counts_by_whole_blocks(plain: Path, tmp_path: Path) -> None:
    (plain / "data").write_bytes(os.urandom(3 * MIB))
    for number in range(100):
        (plain / f"small{number}").write_bytes(b"x")
    found = metered(plain, tmp_path / "target")
    assert 3 * MIB + 100 * 4096 <= found <= 3 * MIB + 100 * 4096 + 101 * SMALL


def test_holes_and_further_names_cost_nothing(plain: Path, tmp_path: Path) -> None:
    with (plain / "sparse").open("wb") as out:
        out.truncate(100 * MIB)
        out.seek(50 * MIB)
        out.write(b"x" * 4096)
    for number in range(50):
        os.link(plain / "sparse", plain / f"name{number}")
    (plain / "link").symlink_to("sparse")
    found = metered(plain, tmp_path / "target")
    assert 4096 <= found <= 4096 + 3 * SMALL


def test_links_into_the_source_cost_directories_alone(source: Path, tmp_path: Path) -> None:
    (source / "d").mkdir()
    (source / "d" / "data").write_bytes(os.urandom(MIB))
    target = tmp_path / "target"
    target.mkdir()
    link_tree(str(source), str(target))
    assert (target / "d" / "data").stat().st_ino == (source / "d" / "data").stat().st_ino


@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_shared_data_costs_nothing(kind: str) -> None:
    try:
        with loop_disk(kind, size=400 * MIB) as disk:
            (disk / "source").mkdir()
            (disk / "source" / "data").write_bytes(os.urandom(8 * MIB))
            os.sync()
            assert metered(disk / "source", disk / "target") <= 3 * SMALL
    except NoDisk as error:
        pytest.skip(str(error))


def test_the_meter_ends_a_copy_in_the_middle(plain: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (plain / name).write_bytes(os.urandom(2 * MIB))
    left = 3 * MIB

    def meter(size: int) -> None:
        nonlocal left
        left -= size
        if left < 0:
            raise NoSpace("no more")

    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(NoSpace):
        copy_tree(str(plain), str(target), meter)
    assert sum(path.stat().st_size for path in target.iterdir()) <= 3 * MIB


def test_vfs_heeds_its_room(plain: Path, tmp_path: Path) -> None:
    driver = Vfs(tmp_path / "vfs", {})
    below, above, again = ("a" * 64, "b" * 64, "c" * 64)
    driver.create(below, None, writable=False)
    (tmp_path / "vfs" / below / "diff" / "data").write_bytes(os.urandom(MIB))
    driver.room = room = Room(tmp_path, FreeSpace(percent=99.9999))
    with pytest.raises(NoSpace, match=r"no space left on device: copying a layer: .* to stay free"):
        driver.create(above, below, writable=True)
    driver.remove(above)
    room.floor = FreeSpace(size=0)  # as a reload does
    driver.create(again, below, writable=True)
    assert list(driver.layers()) == [below, again]
