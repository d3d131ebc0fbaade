"""Limits of single block devices, as the files of a control group have them.

v2 has all throttles in `io.max`; v1 has a file for each kind. Weights are BFQ's in both (before
Linux 5.0, CFQ's). Formats: the kernel's cgroup-v2.rst, cgroup-v1/blkio-controller.rst and
bfq-iosched.rst.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from naru.kernel.cgroups import Group, Mode

Limits = Mapping[tuple[int, int], int]
"""By the major and minor number of a device."""


class BlockLimits(msgspec.Struct, frozen=True):
    """What a group's devices are limited to: weights, bytes and operations in a second."""

    weight: Limits = {}
    read_bps: Limits = {}
    write_bps: Limits = {}
    read_iops: Limits = {}
    write_iops: Limits = {}


_MAX = {"rbps": "read_bps", "wbps": "write_bps", "riops": "read_iops", "wiops": "write_iops"}
_WEIGHTS = ("io.bfq.weight", "blkio.bfq.weight_device", "blkio.weight_device")


def hold(group: Group, wanted: BlockLimits) -> None:
    """Blocks. Make these the limits of the group's devices: one that is not named has none.

    `OSError` where the kernel does not take or does not know a limit."""
    directory = group.directory("blkio")
    if directory is None:
        return
    if group.hierarchies.mode is Mode.UNIFIED:
        _hold_max(directory / "io.max", wanted)
    else:
        for kind in _MAX.values():
            path = directory / f"blkio.throttle.{kind}_device"
            _hold(path, getattr(wanted, kind), nothing="0")
    weights = [directory / name for name in _WEIGHTS]
    path = next((each for each in weights if each.exists()), weights[0])
    _hold(path, wanted.weight, nothing="default")


def _hold_max(path: Path, wanted: BlockLimits) -> None:
    limited: dict[str, dict[str, str]] = {}
    for key, kind in _MAX.items():
        for (major, minor), value in getattr(wanted, kind).items():
            limited.setdefault(f"{major}:{minor}", {})[key] = str(value)
    for device, *limits in _lines(path, needed=bool(limited)):
        held = dict(each.split("=", 1) for each in limits)
        for key in held.keys() & _MAX.keys():
            if held[key] != "max":
                limited.setdefault(device, {}).setdefault(key, "max")
    for device, values in limited.items():
        path.write_text(" ".join([device, *(f"{key}={value}" for key, value in values.items())]))


def _hold(path: Path, wanted: Limits, *, nothing: str) -> None:
    values = {f"{major}:{minor}": str(value) for (major, minor), value in wanted.items()}
    for device, *_ in _lines(path, needed=bool(values)):
        values.setdefault(device, nothing)
    for device, value in values.items():
        path.write_text(f"{device} {value}")


def _lines(path: Path, *, needed: bool) -> Iterable[list[str]]:
    """The words of each line that is about a device; a file that nobody needs may be absent."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        if needed:
            raise
        return []
    return [words for line in lines if (words := line.split()) and ":" in words[0]]
