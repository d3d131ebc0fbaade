"""vfs: every layer is a full copy of the one below it. It works everywhere, and costs the most.

Where the file system shares data between files (XFS, btrfs), a copy costs inodes only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from naru.store.diff import usage_of
from naru.store.driver import Usage
from naru.store.drivers.homes import Homes, make_directory, size_option
from naru.store.drivers.probe import backing_filesystem
from naru.store.drivers.whole_trees import WholeTrees
from naru.store.room import Room, metered
from naru.store.treecopy import copy_tree


class Vfs(WholeTrees):
    name: ClassVar[str] = "vfs"
    apart: ClassVar[bool] = True

    def __init__(self, root: Path, options: Mapping[str, str]) -> None:
        super().__init__(Homes(root, self.name, size_option(self.name, options)))
        self.room: Room | None = None

    def create(
        self, layer: str, parent: str | None, *, writable: bool, size: int | None = None
    ) -> None:
        home = self._homes.make(layer, writable=writable, size=size)
        make_directory(home / "diff", 0o755)
        make_directory(home / "merged", 0o700)
        if parent:
            meter = metered(self.room, "copying a layer")
            copy_tree(str(self._homes[parent] / "diff"), str(home / "diff"), meter)
            (home / "parent").write_text(parent)
        # Its change time is the moment up to which nothing has been written to the layer.
        (home / "made").touch()

    def usage(self, layer: str) -> Usage:
        return usage_of(self._homes[layer] / "diff")

    def status(self) -> Sequence[tuple[str, str]]:
        return [("Backing Filesystem", backing_filesystem(self._homes.root))]

    def _made(self, home: Path) -> int | None:
        return os.stat(home / "made").st_ctime_ns
