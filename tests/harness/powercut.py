"""A disk whose power fails at an instant: what it holds then is kept, and looked at later.

The disk is a file on XFS behind a loop device. A reflink of the file is taken with its inode locked
against the loop device's writes: it holds what the device had completed at one instant, in the
order in which the file system above sent it, and nothing of what that had in memory only. Mounting
it replays the journal as a machine's next start does. Not simulated is a disk that loses what it
has acknowledged without a flush.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.loopdisk import MAKERS, NoDisk, loop_disk, mount_image, unmount_patiently


class FailingDisk:
    """`root` is where it is mounted. Made by `failing_disk`."""

    def __init__(self, kind: str, below: Path, size: int) -> None:
        self.kind = kind
        self.root = below / "root"
        self._below = below
        self._image = below / "disk"
        self._cuts: list[Path] = []
        self.root.mkdir()
        with self._image.open("wb") as out:
            out.truncate(size)
        subprocess.run([*MAKERS[kind], str(self._image)], check=True, capture_output=True)

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        with self._at_root(self._image):
            yield self.root

    def cut(self) -> None:
        """Keep what is on the disk now."""
        kept = self._below / f"cut-{len(self._cuts)}"
        subprocess.run(["cp", "--reflink=always", self._image, kept], check=True)
        self._cuts.append(kept)

    def after_each_cut(self) -> Iterator[Path]:
        """The disk as it was at each cut, mounted in the same place, one after the other."""
        for kept in self._cuts:
            with self._at_root(kept):
                yield self.root

    @contextmanager
    def _at_root(self, image: Path) -> Iterator[None]:
        mount_image(self.kind, image, self.root)
        try:
            yield
        finally:
            unmount_patiently(self.root)


@contextmanager
def failing_disk(kind: str, *, size: int) -> Iterator[FailingDisk]:
    """`NoDisk` where it cannot be had."""
    with loop_disk("xfs", size=4 * size) as below:
        if shutil.which(MAKERS[kind][0]) is None:
            raise NoDisk(f"there is no {MAKERS[kind][0]}")
        yield FailingDisk(kind, below, size)
