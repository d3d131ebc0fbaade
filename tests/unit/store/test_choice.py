"""Which driver is chosen, and what the refusals say."""

from __future__ import annotations

from pathlib import Path

import pytest

from naru.spec.errors import InvalidParameter, Unsupported
from naru.store.choice import choose, prior
from naru.store.sizes import parse_size


def test_an_unknown_driver_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="driver not supported: zfs"):
        choose("zfs", tmp_path)


def test_what_is_on_disk_wins(tmp_path: Path) -> None:
    (tmp_path / "vfs" / ("a" * 64)).mkdir(parents=True)
    assert prior(tmp_path) == ["vfs"]
    assert choose(None, tmp_path).name == "vfs"


def test_an_empty_directory_is_no_prior_storage(tmp_path: Path) -> None:
    (tmp_path / "vfs").mkdir()
    (tmp_path / "overlay2" / "l").mkdir(parents=True)
    assert prior(tmp_path) == []


def test_two_prior_drivers_need_a_choice(tmp_path: Path) -> None:
    for name in ("vfs", "overlay2"):
        (tmp_path / name / ("a" * 64)).mkdir(parents=True)
    with pytest.raises(Unsupported, match="several valid graphdrivers: overlay2, vfs"):
        choose(None, tmp_path)
    assert choose("vfs", tmp_path).name == "vfs"


def test_an_unknown_option_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"vfs\.nonsense"):
        choose("vfs", tmp_path, ["vfs.nonsense=1"])
    with pytest.raises(Unsupported, match="Unable to parse"):
        choose("vfs", tmp_path, ["nonsense"])


@pytest.mark.parametrize(
    ("text", "size"),
    [("10", 10), ("1k", 1024), ("1.5G", 3 << 29), ("2mb", 2 << 20), ("3 GiB", 3 << 30)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text, "x") == size


@pytest.mark.parametrize("text", ["", "x", "-1", "10q", "1..5g"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(InvalidParameter, match="some option"):
        parse_size(text, "some option")
