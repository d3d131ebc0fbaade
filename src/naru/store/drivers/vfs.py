"""vfs: every layer is a full copy of the one below it. It works everywhere, and costs the most.

Where the file system shares data between files (XFS, btrfs), a copy costs inodes only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar

from naru.kernel.mounts import Mount
from naru.kernel.quota import ProjectQuota
from naru.spec.errors import InvalidParameter, Unsupported
from naru.store.diff import TreeDiff, usage_of
from naru.store.driver import Change, Usage
from naru.store.drivers.probe import backing_filesystem
from naru.store.extract import extract
from naru.store.sizes import parse_size
from naru.store.treecopy import copy_tree
from naru.store.whiteouts import DeleteWhiteouts

_REMOVING = ".removing"


class Vfs:
    """Below the root: `<id>/diff` is the whole tree, `<id>/parent` names the layer copied."""

    name: ClassVar[str] = "vfs"

    def __init__(self, root: Path, options: Mapping[str, str]) -> None:
        self._root = root
        self._default_size = 0
        for name, value in options.items():
            if name not in ("size", "vfs.size"):
                raise InvalidParameter(f"vfs: unknown option {name}")
            self._default_size = parse_size(value, name)
        root.mkdir(mode=0o710, parents=True, exist_ok=True)
        self._quota = ProjectQuota.on(root)
        if self._default_size and self._quota is None:
            raise Unsupported(f"vfs.size: the file system of {root} has no project quota")

    def create(
        self, layer: str, parent: str | None, *, writable: bool, size: int | None = None
    ) -> None:
        home = self._root / layer
        home.mkdir(mode=0o710)
        size = size or (self._default_size if writable else 0)
        if size:
            if self._quota is None:
                raise Unsupported(
                    f"storage-opt size: the file system of {self._root} has no project quota"
                )
            self._quota.limit(home, size)
        (home / "diff").mkdir(mode=0o755)
        os.chmod(home / "diff", 0o755)
        (home / "merged").mkdir(mode=0o700)
        if parent:
            copy_tree(str(self._root / parent / "diff"), str(home / "diff"))
            (home / "parent").write_text(parent)
        # Its change time is the moment up to which nothing has been written to the layer.
        (home / "made").touch()

    def remove(self, layer: str) -> None:
        home, doomed = self._root / layer, self._root / (layer + _REMOVING)
        if doomed.exists():
            shutil.rmtree(doomed)
        try:
            home.rename(doomed)
        except FileNotFoundError:
            return
        shutil.rmtree(doomed)

    def mounts(self, layer: str, target: Path, *, read_only: bool = False) -> Sequence[Mount]:
        options = ["bind", "rprivate", *(["ro"] if read_only else [])]
        return [Mount("", str(self._root / layer / "diff"), target, options)]

    def apply(self, layer: str, diff: BinaryIO) -> int:
        return extract(diff, self._root / layer / "diff", whiteouts=DeleteWhiteouts())

    def diff(self, layer: str, out: BinaryIO) -> None:
        self._tree(layer).write(out)

    def changes(self, layer: str) -> Iterator[Change]:
        return self._tree(layer).changes()

    def usage(self, layer: str) -> Usage:
        return usage_of(self._root / layer / "diff")

    def status(self) -> Sequence[tuple[str, str]]:
        return [("Backing Filesystem", backing_filesystem(self._root))]

    def data(self, layer: str, target: Path) -> dict[str, str]:
        return {}

    def layers(self) -> Iterator[str]:
        for entry in sorted(os.listdir(self._root)):
            yield entry.removesuffix(_REMOVING)

    def _tree(self, layer: str) -> TreeDiff:
        home = self._root / layer
        try:
            parent = (home / "parent").read_text()
        except FileNotFoundError:
            return TreeDiff(home / "diff", None)
        made = os.stat(home / "made").st_ctime_ns
        return TreeDiff(home / "diff", self._root / parent / "diff", made=made)
