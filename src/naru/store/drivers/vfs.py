"""vfs: every layer is a full copy of the one below it. It works everywhere, and costs the most.

Where the file system shares data between files (XFS, btrfs), a copy costs inodes only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar

from naru.kernel.mounts import Mount
from naru.store.diff import TreeDiff, usage_of
from naru.store.driver import Change, Usage
from naru.store.drivers.homes import Homes, make_directory, size_option
from naru.store.drivers.probe import backing_filesystem
from naru.store.extract import extract
from naru.store.treecopy import copy_tree
from naru.store.whiteouts import DeleteWhiteouts


class Vfs:
    """Below the root: `<id>/diff` is the whole tree, `<id>/parent` names the layer copied."""

    name: ClassVar[str] = "vfs"

    def __init__(self, root: Path, options: Mapping[str, str]) -> None:
        self._homes = Homes(root, self.name, size_option(self.name, options))

    def create(
        self, layer: str, parent: str | None, *, writable: bool, size: int | None = None
    ) -> None:
        home = self._homes.make(layer, writable=writable, size=size)
        make_directory(home / "diff", 0o755)
        make_directory(home / "merged", 0o700)
        if parent:
            copy_tree(str(self._homes[parent] / "diff"), str(home / "diff"))
            (home / "parent").write_text(parent)
        # Its change time is the moment up to which nothing has been written to the layer.
        (home / "made").touch()

    def remove(self, layer: str) -> None:
        self._homes.remove(layer)

    def mounts(self, layer: str, target: Path, *, read_only: bool = False) -> Sequence[Mount]:
        options = ["bind", "rprivate", *(["ro"] if read_only else [])]
        return [Mount("", str(self._homes[layer] / "diff"), target, options)]

    def apply(self, layer: str, diff: BinaryIO) -> int:
        return extract(diff, self._homes[layer] / "diff", whiteouts=DeleteWhiteouts())

    def diff(self, layer: str, out: BinaryIO) -> None:
        self._tree(layer).write(out)

    def changes(self, layer: str) -> Iterator[Change]:
        return self._tree(layer).changes()

    def usage(self, layer: str) -> Usage:
        return usage_of(self._homes[layer] / "diff")

    def status(self) -> Sequence[tuple[str, str]]:
        return [("Backing Filesystem", backing_filesystem(self._homes.root))]

    def data(self, layer: str, target: Path) -> dict[str, str]:
        return {}

    def layers(self) -> Iterator[str]:
        return self._homes.layers()

    def _tree(self, layer: str) -> TreeDiff:
        home = self._homes[layer]
        try:
            parent = (home / "parent").read_text()
        except FileNotFoundError:
            return TreeDiff(home / "diff", None)
        made = os.stat(home / "made").st_ctime_ns
        return TreeDiff(home / "diff", self._homes[parent] / "diff", made=made)
