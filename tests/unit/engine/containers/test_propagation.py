"""Which mount decides about a bind's propagation, and what is said where it cannot be."""

from __future__ import annotations

import pytest

from naru.engine.containers import propagation
from naru.kernel.mount_table import MountInfo, parse_mountinfo
from naru.spec.containers import MountPoint
from naru.spec.errors import InvalidParameter

_TABLE = """\
20 1 8:1 / / rw - ext4 /dev/sda1 rw
21 20 8:2 / /srv rw shared:1 - ext4 /dev/sda2 rw
22 20 8:3 / /srv/private rw - ext4 /dev/sda3 rw
23 20 8:4 / /media rw master:2 - ext4 /dev/sda4 rw
24 21 8:5 / /srv/twice rw - ext4 /dev/sda5 rw
25 24 8:6 / /srv/twice rw shared:3 - ext4 /dev/sda6 rw
"""


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    mounts: list[MountInfo] = [parse_mountinfo(line) for line in _TABLE.splitlines()]
    monkeypatch.setattr(propagation, "mount_table", lambda: mounts)


def bind(source: str, wanted: str) -> MountPoint:
    return MountPoint(type="bind", source=source, destination="/x", propagation=wanted)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("/srv", "rshared"),
        ("/srv/www", "shared"),
        ("/srv/twice/deep", "rshared"),
        ("/srv/privately", "rslave"),
        ("/media/disk", "slave"),
        ("/home", "rprivate"),
        ("/home", ""),
    ],
)
def test_allowed(source: str, wanted: str) -> None:
    propagation.check([bind(source, wanted)])


@pytest.mark.parametrize(
    ("source", "wanted", "text"),
    [
        ("/home", "rshared", "path /home is mounted on / but it is not a shared mount"),
        ("/home", "slave", "path /home is mounted on / but it is not a shared or slave mount"),
        ("/media/x", "shared", "path /media/x is mounted on /media but it is not a shared mount"),
        ("/srv/private/x", "rslave", "is mounted on /srv/private but it is not a shared or slave"),
    ],
)
def test_refused(source: str, wanted: str, text: str) -> None:
    with pytest.raises(InvalidParameter, match=text):
        propagation.check([bind(source, wanted)])
