"""aufs without its kernel: the branches that are asked for, and reading what a branch hides."""

from __future__ import annotations

import io
from pathlib import Path

from naru.store.driver import ChangeKind
from naru.store.drivers.aufs import branch_mounts
from naru.store.tarstream import TarReader
from naru.store.upper import AufsMarks, UpperDiff


def test_few_branches_fit_one_mount() -> None:
    [mount] = branch_mounts(
        Path("/top"), [Path("/b"), Path("/a")], Path("/t"), read_only=False, dirperm=True
    )
    assert mount.type == "aufs"
    assert mount.options == [
        "br:/top=rw:/b=ro+wh:/a=ro+wh", "dio", "xino=/dev/shm/aufs.xino", "dirperm1",
    ]  # fmt: skip


def test_many_branches_are_appended_in_pages() -> None:
    below = [Path(f"/var/lib/naru/aufs/{number:064x}/diff") for number in range(200)]
    mounts = branch_mounts(Path("/top"), below, Path("/t"), read_only=True, dirperm=False)
    assert all(len(",".join(mount.options)) < 4096 for mount in mounts)
    assert all(mount.options[0] == "remount" for mount in mounts[1:])
    words = ":".join(",".join(mount.options).replace("append:", "") for mount in mounts)
    positions = [words.index(str(path)) for path in below]
    assert positions == sorted(positions)
    assert mounts[0].options[0].startswith("br:/top=ro+wh:")


def test_a_branch_says_what_it_hides(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for path in ("d/gone", "o/old", "o/both", "kept"):
        (lower / path).parent.mkdir(parents=True, exist_ok=True)
        (lower / path).touch()
    for path in (
        "d/.wh.gone", "d/new", "o/.wh..wh..opq", "o/both", ".wh.never", ".wh..wh.aufs",
        ".wh..wh.plnk/x",
    ):  # fmt: skip
        (upper / path).parent.mkdir(parents=True, exist_ok=True)
        (upper / path).touch()
    found = UpperDiff(upper, [lower], AufsMarks())
    assert [tuple(change) for change in found.changes()] == [
        ("/d", ChangeKind.MODIFIED),
        ("/d/gone", ChangeKind.DELETED),
        ("/d/new", ChangeKind.ADDED),
        ("/o", ChangeKind.MODIFIED),
        ("/o/both", ChangeKind.MODIFIED),
        ("/o/old", ChangeKind.DELETED),
    ]
    out = io.BytesIO()
    found.write(out)
    names = [entry.name for entry in TarReader(io.BytesIO(out.getvalue()))]
    assert names == [
        ".wh.never", "d/", "d/.wh.gone", "d/new", "o/", "o/.wh..wh..opq", "o/both",
    ]  # fmt: skip
