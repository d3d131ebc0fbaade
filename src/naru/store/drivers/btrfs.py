"""btrfs: a layer is a subvolume, its child a snapshot: whole trees that share what is the same.

A write is redirected to new blocks, so nothing is ever copied up, and a layer is deleted at once
however large it is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from naru.kernel import btrfs
from naru.spec.errors import InvalidParameter, Unsupported
from naru.store.driver import Usage
from naru.store.drivers.homes import Homes, make_directory
from naru.store.drivers.probe import filesystem_type, filesystems
from naru.store.drivers.whole_trees import WholeTrees
from naru.store.sizes import parse_size

_REMOVING = ".removing"


class Btrfs(WholeTrees):
    name: ClassVar[str] = "btrfs"
    apart: ClassVar[bool] = True

    def __init__(self, root: Path, options: Mapping[str, str]) -> None:
        self._least = _least_size(options)
        root.mkdir(mode=0o710, parents=True, exist_ok=True)
        if (kind := filesystem_type(root)) != "btrfs":
            listed = "is" if "btrfs" in filesystems() else "is not"
            raise Unsupported(
                "driver not supported: btrfs: prerequisites for driver not satisfied (wrong"
                f" filesystem?): {root} is on {kind}; 'btrfs' {listed} in /proc/filesystems"
            )
        super().__init__(Homes(root, self.name))
        self._counting = False

    def create(
        self, layer: str, parent: str | None, *, writable: bool, size: int | None = None
    ) -> None:
        if size and size < self._least:
            raise InvalidParameter(
                f"storage-opt size: {size} is less than btrfs.min_space ({self._least})"
            )
        home = self._homes.make(layer, writable=writable, size=None)
        make_directory(home / "merged", 0o700)
        if parent:
            (home / "parent").write_text(parent)
            btrfs.snapshot(self._homes[parent] / "diff", home / "diff")
        else:
            btrfs.create_subvolume(home / "diff")
            (home / "diff").chmod(0o755)
        if size:
            if not self._counting:
                btrfs.enable_quota(self._homes.root)
                self._counting = True
            btrfs.limit_subvolume(home / "diff", size)

    def remove(self, layer: str) -> None:
        # The second is named so by a removal that was interrupted.
        for home in (self._homes[layer], self._homes.root / (layer + _REMOVING)):
            if btrfs.is_subvolume(home / "diff"):
                with contextlib.suppress(OSError):  # where nothing is counted
                    # A full subvolume does not even let go of those inside it.
                    btrfs.limit_subvolume(home / "diff", None)
                btrfs.delete_subvolume(home / "diff")
        super().remove(layer)

    def usage(self, layer: str) -> Usage:
        """What was written since the snapshot: the rest is its parent's."""
        return self._compared(layer).usage()

    def status(self) -> Sequence[tuple[str, str]]:
        return [("Btrfs", ""), ("Backing Filesystem", "btrfs")]

    def _taken(self, home: Path) -> int:
        return os.stat(home / "parent").st_mtime_ns  # written just before the snapshot was taken


def _least_size(options: Mapping[str, str]) -> int:
    least = 0
    for name, value in options.items():
        if name != "btrfs.min_space":
            raise InvalidParameter(f"btrfs: unknown option {name}")
        least = parse_size(value, name)
        if least <= 0:
            raise InvalidParameter("btrfs: min_space must be greater than 0")
    return least
