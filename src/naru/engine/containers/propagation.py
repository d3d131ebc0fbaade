"""Whether a bind's source can propagate as asked: a mount that is private on the host cannot.

The runtime would not notice: mounts made later would silently stay on the side they were made on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from naru.kernel.mount_table import MountInfo, mount_table
from naru.spec.containers import MountPoint
from naru.spec.errors import InvalidParameter

_WANTED = {
    "shared": (("shared:",), "a shared mount"),
    "slave": (("shared:", "master:"), "a shared or slave mount"),
}


def check(points: Iterable[MountPoint]) -> None:
    """Refuse, in Docker's words, what the host's mounts do not allow."""
    asking = [point for point in points if point.propagation.removeprefix("r") in _WANTED]
    if asking:
        table = mount_table()
        for point in asking:
            _check(point, _holding(os.path.realpath(point.source), table))


def _check(point: MountPoint, mount: MountInfo) -> None:
    fields, name = _WANTED[point.propagation.removeprefix("r")]
    if not any(field.startswith(fields) for field in mount.fields):
        raise InvalidParameter(
            f"path {point.source} is mounted on {mount.target} but it is not {name}"
        )


def _holding(path: str, table: Sequence[MountInfo]) -> MountInfo:
    """The mount that `path` is on: the deepest above it, and of several there the newest."""
    above = [each for each in table if os.path.commonpath((path, each.target)) == each.target]
    return max(enumerate(above), key=lambda numbered: (len(numbered[1].target), numbered[0]))[1]
