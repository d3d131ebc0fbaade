"""Comparing trees, and the tar of what differs; what needs overlay marks is in tests/contract."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from naru.store.diff import TreeDiff, usage_of
from naru.store.driver import ChangeKind
from naru.store.tarentry import HARDLINK, REGULAR
from naru.store.tarstream import TarReader
from naru.store.treecopy import copy_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="copies owners")


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "d/e").mkdir(parents=True)
    (old / "d/e/f").write_text("1")
    (old / "d/g").write_text("1")
    (old / "link").symlink_to("d")
    new.mkdir()
    copy_tree(str(old), str(new))
    return old, new


def written(diff: TreeDiff) -> list[str]:
    out = io.BytesIO()
    diff.write(out)
    return [entry.name for entry in TarReader(io.BytesIO(out.getvalue()))]


def test_a_copy_does_not_differ(trees: tuple[Path, Path]) -> None:
    old, new = trees
    assert list(TreeDiff(new, old).changes()) == []
    assert written(TreeDiff(new, old)) == []


def test_changes_and_their_tar(trees: tuple[Path, Path]) -> None:
    old, new = trees
    (new / "d/e/f").write_text("22")
    (new / "d/g").unlink()
    (new / "link").unlink()
    (new / "link").symlink_to("elsewhere")
    changes = [(change.path, change.kind) for change in TreeDiff(new, old).changes()]
    assert changes == [
        ("/d", ChangeKind.MODIFIED),
        ("/d/e/f", ChangeKind.MODIFIED),
        ("/d/g", ChangeKind.DELETED),
        ("/link", ChangeKind.MODIFIED),
    ]
    assert written(TreeDiff(new, old)) == ["d/", "d/e/", "d/e/f", "d/.wh.g", "link"]


def test_a_new_name_is_told_with_the_old_one(trees: tuple[Path, Path]) -> None:
    """A tar links to its own members only; what is compared sees one addition."""
    old, new = trees
    os.link(new / "d/e/f", new / "z")
    diff = TreeDiff(new, old)
    out = io.BytesIO()
    diff.write(out)
    found = {e.name: (e.kind, e.linkname) for e in TarReader(io.BytesIO(out.getvalue()))}
    assert found["d/e/f"] == (REGULAR, "")
    assert found["z"] == (HARDLINK, "d/e/f")
    assert [change.path for change in diff.changes()] == ["/z"]


def test_names_that_all_changed_are_told_once(trees: tuple[Path, Path]) -> None:
    old, new = trees
    os.link(new / "d/g", new / "d/h")
    (new / "d/g").write_text("22")
    assert written(TreeDiff(new, old)) == ["d/", "d/g", "d/h"]


def test_a_file_becomes_a_directory(trees: tuple[Path, Path]) -> None:
    old, new = trees
    (new / "d/g").unlink()
    (new / "d/g").mkdir()
    (new / "d/g/h").touch()
    changes = {change.path: change.kind for change in TreeDiff(new, old).changes()}
    assert changes["/d/g"] == ChangeKind.MODIFIED
    assert changes["/d/g/h"] == ChangeKind.ADDED


def test_usage_counts_a_hard_link_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x" * 100_000)
    before = usage_of(tmp_path)
    os.link(tmp_path / "one", tmp_path / "two")
    assert usage_of(tmp_path) == before
    assert usage_of(tmp_path / "gone").bytes == 0


def test_a_copy_keeps_holes_links_and_times(tmp_path: Path) -> None:
    source, target = tmp_path / "s", tmp_path / "t"
    source.mkdir()
    target.mkdir()
    with open(source / "sparse", "wb") as out:
        out.seek(10 << 20)
        out.write(b"end")
        out.truncate(20 << 20)
    os.link(source / "sparse", source / "twin")
    os.utime(source / "sparse", ns=(1, 123_456_789))
    os.chmod(source, 0o711)
    os.utime(source, ns=(5, 6))
    copy_tree(str(source), str(target))
    found = (target / "sparse").stat()
    assert found.st_mtime_ns == 123_456_789
    assert found.st_ino == (target / "twin").stat().st_ino
    assert found.st_blocks * 512 < 1 << 20
    assert (target / "sparse").read_bytes() == (source / "sparse").read_bytes()
    assert target.stat().st_mode & 0o777 == 0o711
    assert target.stat().st_mtime_ns == 6


def as_if(path: Path, *, inode: int, ctime: int) -> os.stat_result:
    """The status of a file, but for its inode's number and change time."""
    real = path.lstat()
    values = [*real[:1], inode, *real[2:9], ctime // 10**9]
    times = {"st_mtime_ns": real.st_mtime_ns, "st_ctime_ns": ctime}
    return os.stat_result(values, times)


SECOND = 10**9
TAKEN = 1000 * SECOND + 5_000_000


@pytest.mark.parametrize(
    ("ctime", "looked_at"),
    [
        (TAKEN - 1, False),
        (TAKEN, True),  # a change in the same tick of the clock leaves it as it is
        (TAKEN + 1, True),
        (999 * SECOND, False),
        (1000 * SECOND, True),  # a clock of whole seconds
    ],
)
def test_a_snapshots_change_time_tells_only_of_what_is_older(
    trees: tuple[Path, Path], ctime: int, looked_at: bool
) -> None:
    old, new = trees
    (new / "d/g").write_text("2")
    os.utime(new / "d/g", ns=(0, (old / "d/g").stat().st_mtime_ns))
    one, two = (as_if(tree / "d/g", inode=7, ctime=ctime) for tree in (new, old))
    diff = TreeDiff(new, old, taken=TAKEN)
    assert diff._differs(str(new / "d/g"), one, str(old / "d/g"), two) is looked_at
