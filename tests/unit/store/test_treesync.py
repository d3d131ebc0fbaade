"""One tree is made what another is; the judge of tests agrees with the product's own comparison."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from tests.harness.trees import compared, tree

from naru.store.treesync import TreeSync, differences, touched_paths


def synced(source: Path, target: Path, touched: set[str] | None = None) -> None:
    names = {str(p.relative_to(source)) for p in source.rglob("*")} if touched is None else touched
    TreeSync(str(source), str(target), names)()
    assert compared(tree(source), tree(target)) == []
    assert list(differences(str(source), str(target))) == []


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    return source, target


def test_into_an_empty_tree(pair: tuple[Path, Path]) -> None:
    source, target = pair
    (source / "a" / "b").mkdir(parents=True)
    (source / "a" / "b" / "file").write_text("content")
    (source / "link").symlink_to("a/b/file")
    os.link(source / "a" / "b" / "file", source / "second")
    os.mkfifo(source / "fifo", 0o640)
    os.utime(source / "a" / "b", ns=(1, 1_234_567_891))
    os.chmod(source, 0o711)
    synced(source, target)


def test_kinds_replace_each_other(pair: tuple[Path, Path]) -> None:
    source, target = pair
    (source / "one").write_text("a file")
    (target / "one" / "deep").mkdir(parents=True)
    (target / "one" / "deep" / "x").write_text("x")
    (source / "two" / "deep").mkdir(parents=True)
    (target / "two").write_text("a file")
    (source / "three").symlink_to("one")
    (target / "three").write_text("a file")
    (target / "extra").mkdir()
    (target / "extra" / "y").write_text("y")
    synced(source, target)


def test_contents_of_touched_files_are_compared(pair: tuple[Path, Path]) -> None:
    source, target = pair
    for root, content in ((source, "new"), (target, "old")):
        (root / "file").write_text(content)
        os.utime(root / "file", ns=(5, 5))
    TreeSync(str(source), str(target), set())()
    assert list(differences(str(source), str(target))) == ["/file: contents"]
    assert list(differences(str(source), str(target), set())) == []
    synced(source, target, touched_paths(["/file"]))


def test_links_are_joined_and_parted(pair: tuple[Path, Path]) -> None:
    source, target = pair
    for name in ("a", "b", "c", "d"):
        (source / name).write_text("same")
        os.utime(source / name, ns=(5, 5))
    os.unlink(source / "b")
    os.link(source / "a", source / "b")
    (target / "c").write_text("same")
    os.link(target / "c", target / "d")
    os.link(target / "c", target / "a")
    (target / "b").write_text("same")
    for name in ("b", "c"):
        os.utime(target / name, ns=(5, 5))
    assert any("hard links" in each for each in differences(str(source), str(target)))
    synced(source, target)


def test_nothing_is_touched_where_nothing_differs(pair: tuple[Path, Path]) -> None:
    source, target = pair
    (source / "a").mkdir()
    (source / "a" / "file").write_text("content")
    synced(source, target)
    before = {name: os.lstat(target / name).st_ctime_ns for name in (".", "a", "a/file")}
    synced(source, target)
    assert before == {name: os.lstat(target / name).st_ctime_ns for name in before}


def test_it_can_be_stopped(pair: tuple[Path, Path]) -> None:
    source, target = pair
    (source / "file").write_text("content")

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        TreeSync(str(source), str(target), set(), stop=stop)()


@pytest.mark.parametrize("seed", range(20))
def test_any_tree_to_any_other(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    roots = [tmp_path / "source", tmp_path / "target"]
    for root in roots:
        root.mkdir()
        folders, files = [root], []
        for number in range(chance.randrange(5, 40)):
            place = chance.choice(folders) / f"n{chance.randrange(12)}"
            if os.path.lexists(place):
                continue
            match chance.randrange(4):
                case 0:
                    place.mkdir()
                    folders.append(place)
                case 1 if files:
                    os.link(chance.choice(files), place)
                case 2:
                    place.symlink_to(f"n{number}")
                case _:
                    place.write_text(str(chance.randrange(3)))
                    os.chmod(place, chance.choice((0o600, 0o644, 0o755)))
                    os.utime(place, ns=(0, chance.randrange(3)))
                    files.append(place)
    synced(*roots)
