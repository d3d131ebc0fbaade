"""Carry one layer from a storage driver to another, and do not believe that it worked: check it.

An image's layer is unpacked anew from its tar, whose digest must be the layer's diff id. What has
no such tar (containers' layers, and those of mount points) is made equal tree by tree, then
compared, through the mounts that containers will use. All of this blocks: for worker threads.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from naru.spec.errors import InternalError, InvalidParameter
from naru.store.driver import ChangeKind, StorageDriver
from naru.store.mounting import shown
from naru.store.room import Room, metered
from naru.store.treesync import TreeSync, differences, touched_paths
from naru.store.unpack import Unpacker

_SHOWN = 5
_ATTEMPTS = 2
"""fuse-overlayfs shows names of one file as one, and in its next mount as several."""


class Carrier:
    def __init__(
        self,
        source: StorageDriver,
        target: StorageDriver,
        scratch: Path,
        *,
        room: Room | None = None,
        copied: Callable[[int], None] = lambda size: None,
    ) -> None:
        """`scratch` is an empty directory to mount in; `copied` hears of bytes as they go over.

        `room` is what must stay free where the layers are.
        """
        self.source = source
        self.target = target
        self.stop = threading.Event()
        self._scratch = scratch
        self._room = room
        self._copied = copied

    def image_layer(
        self, old: str, new: str, parent: str | None, diff_id: str, blob: BinaryIO | None
    ) -> int:
        """`blob` is the layer's tar as it came, None where it was not kept -> bytes of its files.

        Without one the source driver's own diff must do; where that is another tar with the same
        contents, the trees are compared instead.
        """
        if blob is not None:
            return self._unpacked(new, parent, diff_id, blob)
        with tempfile.TemporaryFile(dir=self._scratch) as spool:
            self.source.diff(old, cast(BinaryIO, _Metered(spool, self._room)))
            spool.seek(0)
            try:
                return self._unpacked(new, parent, diff_id, cast(BinaryIO, spool))
            except InvalidParameter:
                spool.seek(0)
                return self._applied(old, new, parent, cast(BinaryIO, spool))

    def writable(self, old: str, new: str, parent: str | None, size: int | None) -> int:
        """Make it, or what an interrupted attempt left of it, equal -> bytes copied."""
        total = 0

        def copied(count: int) -> None:
            nonlocal total
            total += count
            self._copied(count)

        meter = metered(self._room, "carrying a layer")
        touched = touched_paths([
            change.path for change in self.source.changes(old) if change.kind != ChangeKind.DELETED
        ])  # fmt: skip
        if new not in set(self.target.layers()):
            self.target.create(new, parent, writable=True, size=size)
        with self._mounted(self.source, old, read_only=True) as there:
            for _ in range(_ATTEMPTS):
                with self._mounted(self.target, new) as here:
                    TreeSync(
                        str(there), str(here), touched,
                        stop=self._check, copied=copied, meter=meter,
                    )()  # fmt: skip
                # Through a mount of its own: what is shown from now on, not what is remembered.
                found = self._differences(there, new, touched)
                if not found:
                    return total
            raise self._unequal(new, found)

    def _unpacked(self, new: str, parent: str | None, diff_id: str, tar: BinaryIO) -> int:
        counted = _Counted(tar, self._copied)
        unpacked = Unpacker(self._scratch, room=self._room).unpack(
            self.target, new, parent, counted, self.stop, diff_id=diff_id
        )
        return unpacked.size

    def _applied(self, old: str, new: str, parent: str | None, tar: BinaryIO) -> int:
        self.target.create(new, parent, writable=False)
        size = self.target.apply(new, tar)
        with self._mounted(self.source, old, read_only=True) as there:
            if found := self._differences(there, new, None):
                raise self._unequal(new, found)
        return size

    def _differences(self, there: Path, new: str, touched: set[str] | None) -> list[str]:
        with self._mounted(self.target, new, read_only=True) as here:
            return sorted(differences(str(there), str(here), touched))

    def _unequal(self, new: str, found: list[str]) -> InternalError:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return InternalError(
            f"layer {new[:12]} is not the same in {self.target.name} as in"
            f" {self.source.name}: {'; '.join(found[:_SHOWN])}{more}"
        )

    @contextmanager
    def _mounted(
        self, driver: StorageDriver, layer: str, *, read_only: bool = False
    ) -> Iterator[Path]:
        self._check()
        with shown(driver, layer, self._scratch, read_only=read_only) as tree:
            yield tree

    def _check(self) -> None:
        if self.stop.is_set():
            raise InternalError("the migration was stopped")


class _Metered:
    """A file to write to, as long as enough stays free beside it."""

    def __init__(self, out: IO[bytes], room: Room | None) -> None:
        self._write = out.write
        self._meter = metered(room, "writing the tar of a layer")

    def write(self, data: bytes) -> int:
        self._meter(len(data))
        return self._write(data)


class _Counted:
    """A reader that tells how much was read."""

    def __init__(self, source: BinaryIO, read: Callable[[int], None]) -> None:
        self._read = getattr(source, "read1", None) or source.read
        self._tell = read

    def read(self, size: int = -1) -> bytes:
        piece: bytes = self._read(size)
        self._tell(len(piece))
        return piece
