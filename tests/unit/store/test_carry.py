"""What is carried between storage drivers keeps to the free-space floor."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest
from tests.unit.store.plain_driver import PlainDriver

from naru.spec.disk import FreeSpace
from naru.spec.errors import NoSpace
from naru.store.carry import Carrier
from naru.store.room import Room


class Source(PlainDriver):
    """Of which a layer's tar is 20 MiB; `written` says how much of it was taken."""

    written = 0

    def diff(self, layer: str, out: BinaryIO) -> None:
        for _ in range(20):
            out.write(bytes(1 << 20))
            self.written += 1 << 20


def test_a_tar_that_is_written_for_a_layer_stops_at_the_floor(tmp_path: Path) -> None:
    source, target = Source(tmp_path / "a"), PlainDriver(tmp_path / "b")
    room = Room(tmp_path, FreeSpace(percent=99.9999))
    carrier = Carrier(source, target, tmp_path, room=room)
    with pytest.raises(NoSpace, match="writing the tar of a layer"):
        carrier.image_layer("old", "new", None, "sha256:" + "0" * 64, None)
    assert source.written == 0
    assert list((tmp_path / "b").iterdir()) == []
