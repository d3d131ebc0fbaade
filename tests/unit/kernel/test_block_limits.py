"""What is written to make a group's limits of devices those that are wanted, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from naru.kernel.block_limits import BlockLimits, hold
from naru.kernel.cgroups import Group, Hierarchies, Mode

ONE, OTHER, THIRD = (8, 0), (8, 16), (7, 1)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(file, text) of each write; the kernel's files do not become what is written to them."""
    found: list[tuple[str, str]] = []

    def note(path: Path, text: str) -> int:
        found.append((path.name, text))
        return len(text)

    monkeypatch.setattr(Path, "write_text", note)
    return found


def group(root: Path, mode: Mode, **files: str) -> Group:
    for name, text in files.items():
        with (root / name.replace("_of_", ".")).open("w") as file:
            file.write(text)
    if mode is Mode.UNIFIED:
        return Group(Hierarchies(mode, {}, root, frozenset({"io"})), "/")
    return Group(Hierarchies(mode, {"blkio": root}), "/")


def test_v2(tmp_path: Path, written: list[tuple[str, str]]) -> None:
    of = group(
        tmp_path, Mode.UNIFIED,
        io_of_max="8:0 rbps=1000 wbps=max riops=max wiops=20\n7:1 rbps=max wbps=9 riops=max wiops=max\n",
        io_of_bfq_of_weight="default 100\n8:0 300\n7:1 200\n",
    )  # fmt: skip
    hold(of, BlockLimits(weight={ONE: 300}, read_bps={ONE: 5}, write_bps={OTHER: 6, ONE: 7}))
    assert written == [
        ("io.max", "8:0 rbps=5 wbps=7 wiops=max"),
        ("io.max", "8:16 wbps=6"),
        ("io.max", "7:1 wbps=max"),
        ("io.bfq.weight", "8:0 300"),
        ("io.bfq.weight", "7:1 default"),
    ]


def test_v1(tmp_path: Path, written: list[tuple[str, str]]) -> None:
    throttle = "blkio_of_throttle_of_"
    of = group(
        tmp_path, Mode.LEGACY,
        **{
            f"{throttle}read_bps_device": "8:0 1000\n7:1 9\n", f"{throttle}write_bps_device": "",
            f"{throttle}read_iops_device": "8:16 4\n", f"{throttle}write_iops_device": "",
            "blkio_of_bfq_of_weight_device": "default 100\n8:0 300\n",
        },
    )  # fmt: skip
    hold(of, BlockLimits(read_bps={ONE: 5}, write_iops={THIRD: 6}))
    assert written == [
        ("blkio.throttle.read_bps_device", "8:0 5"),
        ("blkio.throttle.read_bps_device", "7:1 0"),
        ("blkio.throttle.read_iops_device", "8:16 0"),
        ("blkio.throttle.write_iops_device", "7:1 6"),
        ("blkio.bfq.weight_device", "8:0 default"),
    ]


def test_files_that_are_not_there(tmp_path: Path, written: list[tuple[str, str]]) -> None:
    of = group(tmp_path, Mode.UNIFIED)
    hold(of, BlockLimits())
    for wanted in (BlockLimits(read_bps={ONE: 5}), BlockLimits(weight={ONE: 5})):
        with pytest.raises(FileNotFoundError):
            hold(of, wanted)
    hold(Group(Hierarchies(Mode.LEGACY), "/"), BlockLimits(read_bps={ONE: 5}))
    assert written == []
