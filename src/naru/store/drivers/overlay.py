"""overlay: the driver before overlay2, for unions of exactly one layer below.

An image's layer is a whole tree, `<id>/root`, whose unchanged files are hard links into the layer
below it: it costs inodes, not data. A container's layer is `<id>/upper` over one such tree
(`<id>/lower-id` names it). A layer made on another writable one stacks that one in between.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, ClassVar

from naru.kernel.mounts import Mount
from naru.spec.errors import Unsupported
from naru.store.diff import TreeDiff, usage_of
from naru.store.driver import Change, Usage
from naru.store.drivers.homes import Homes, make_directory, size_option, written
from naru.store.drivers.probe import (
    backing_filesystem,
    in_user_namespace,
    overlay_options,
    overlay_refusal,
    supports_dtype,
)
from naru.store.extract import extract
from naru.store.treecopy import copy_root_attributes, link_tree
from naru.store.upper import UpperDiff
from naru.store.whiteouts import DeleteWhiteouts, OverlayWhiteouts


class Overlay:
    name: ClassVar[str] = "overlay"
    apart: ClassVar[bool] = True

    def __init__(self, root: Path, options: Mapping[str, str]) -> None:
        self._homes = Homes(root, self.name, size_option(self.name, options))
        self._userxattr = in_user_namespace()
        if refusal := overlay_refusal(root, userxattr=self._userxattr):
            raise Unsupported(f"driver not supported: overlay: {refusal}")
        self._options = overlay_options(userxattr=self._userxattr)

    def create(
        self, layer: str, parent: str | None, *, writable: bool, size: int | None = None
    ) -> None:
        home = self._homes.make(layer, writable=writable, size=size)
        make_directory(home / "merged", 0o700)
        tree = home / ("upper" if writable else "root")
        make_directory(tree, 0o755)
        if writable:
            make_directory(home / "work", 0o700)
        if parent is None:
            return
        if writable:
            copy_root_attributes(self._own(parent), tree)
        else:
            if self._is_writable(parent):
                raise Unsupported("overlay: a read-only layer cannot be made on a writable one")
            link_tree(str(self._homes[parent] / "root"), str(tree))
        (home / "lower-id").write_text(parent)

    def remove(self, layer: str) -> None:
        self._homes.remove(layer)

    def mounts(self, layer: str, target: Path, *, read_only: bool = False) -> Sequence[Mount]:
        own, lowers = self._own(layer), self._lowers(layer)
        if not self._is_writable(layer) or not lowers:
            return [Mount("", str(own), target, ["bind", *(["ro"] if read_only else [])])]
        if read_only:
            lowers = [own, *lowers]
        below = [f"lowerdir+={lower}" for lower in lowers]
        upper = [f"upperdir={own}", f"workdir={self._homes[layer] / 'work'}"]
        options = [*below, *([] if read_only else upper), *self._options]
        return [Mount("overlay", "overlay", target, options)]

    def widened(self, layer: str) -> AbstractContextManager[None]:
        return self._homes.widened(layer)

    def apply(self, layer: str, diff: BinaryIO) -> int:
        # Members replace files, they do not write into them, so what is linked below stays.
        whiteouts = (
            OverlayWhiteouts(userxattr=self._userxattr)
            if self._is_writable(layer)
            else DeleteWhiteouts()
        )
        return extract(diff, self._own(layer), whiteouts=whiteouts)

    def diff(self, layer: str, out: BinaryIO) -> None:
        self._compared(layer).write(out)

    def changes(self, layer: str) -> Iterator[Change]:
        return self._compared(layer).changes()

    def usage(self, layer: str) -> Usage:
        own = self._own(layer)
        parent = self._parent(layer)
        if self._is_writable(layer) or parent is None:
            return usage_of(own)
        return _not_shared(own, self._homes[parent] / "root")

    def status(self) -> Sequence[tuple[str, str]]:
        return [
            ("Backing Filesystem", backing_filesystem(self._homes.root)),
            ("Supports d_type", str(supports_dtype(self._homes.root)).lower()),
        ]

    def data(self, layer: str, target: Path) -> dict[str, str]:
        home = self._homes[layer]
        if not self._is_writable(layer):
            return {"RootDir": str(home / "root")}
        found = {
            "UpperDir": str(home / "upper"),
            "WorkDir": str(home / "work"),
            "MergedDir": str(target),
        }
        if lowers := self._lowers(layer):
            found["LowerDir"] = ":".join(str(lower) for lower in lowers)
        return found

    def layers(self) -> Iterator[str]:
        return self._homes.layers()

    def _is_writable(self, layer: str) -> bool:
        return (self._homes[layer] / "upper").exists()

    def _own(self, layer: str) -> Path:
        return self._homes[layer] / ("upper" if self._is_writable(layer) else "root")

    def _parent(self, layer: str) -> str | None:
        return written(self._homes[layer] / "lower-id")

    def _lowers(self, layer: str) -> list[Path]:
        """What a writable layer lies on: writable ones, then the one whole tree."""
        found: list[Path] = []
        below = self._parent(layer)
        while below is not None:
            found.append(self._own(below))
            below = self._parent(below) if self._is_writable(below) else None
        return found

    def _compared(self, layer: str) -> UpperDiff | TreeDiff:
        if self._is_writable(layer):
            return UpperDiff(self._own(layer), self._lowers(layer))
        parent = self._parent(layer)
        return TreeDiff(self._own(layer), self._homes[parent] / "root" if parent else None)


def _not_shared(own: Path, below: Path) -> Usage:
    """Space of the files that are no hard links into the layer below."""
    used = inodes = 0
    for directory, folders, files in os.walk(own):
        inodes += 1
        used += os.lstat(directory).st_blocks * 512
        there = below / os.path.relpath(directory, own)
        links = [name for name in folders if os.path.islink(f"{directory}/{name}")]
        for name in (*files, *links):
            status = os.lstat(f"{directory}/{name}")
            if status.st_nlink > 1 and _inode(there / name) == status.st_ino:
                continue
            inodes += 1
            used += status.st_blocks * 512 if stat.S_ISREG(status.st_mode) else 0
    return Usage(used, inodes)


def _inode(path: Path) -> int | None:
    try:
        return os.lstat(path).st_ino
    except (FileNotFoundError, NotADirectoryError):
        return None
