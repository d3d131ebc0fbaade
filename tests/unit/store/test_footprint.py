"""What trees take, counted as du counts it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from naru.store.footprint import Footprint


def du(*paths: Path) -> int:
    done = subprocess.run(
        ["du", "-sc", "--block-size=1", *map(str, paths)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout.splitlines()[-1].split()[0])


def make(root: Path) -> None:
    (root / "a/deep/er").mkdir(parents=True)
    (root / "a/data").write_bytes(b"x" * 100_000)
    (root / "a/deep/er/small").write_bytes(b"x")
    (root / "b").mkdir()
    os.link(root / "a/data", root / "b/same")
    os.symlink("/nowhere/" + "long" * 40, root / "b/link")
    with (root / "sparse").open("wb") as file:
        file.truncate(1 << 30)


def test_is_what_du_says(tmp_path: Path) -> None:
    make(tmp_path)
    assert Footprint().tree(tmp_path) == du(tmp_path)


def test_hard_links_count_once_over_all_trees(tmp_path: Path) -> None:
    make(tmp_path)
    found = Footprint()
    first, second = found.tree(tmp_path / "a"), found.tree(tmp_path / "b")
    assert first + second == du(tmp_path / "a", tmp_path / "b")
    assert second < 100_000
    assert found.tree(tmp_path / "a") == 0


def test_mounts_and_what_is_gone_are_left_out(tmp_path: Path) -> None:
    make(tmp_path)
    without = Footprint([str(tmp_path / "a")])
    assert without.tree(tmp_path) == du(tmp_path) - du(tmp_path / "a") + _data(tmp_path)
    assert Footprint([str(tmp_path)]).tree(tmp_path) == 0
    assert Footprint().tree(tmp_path / "gone") == 0
    assert Footprint().entry(tmp_path / "gone") == 0


def _data(root: Path) -> int:
    """The file that has a name outside of what is left out."""
    return (root / "b/same").stat().st_blocks * 512
