"""aufs: branches stacked by a file system that is not in Linux's own tree.

    <id>/diff     a branch; what it hides is in it as `.wh.` files, which are a layer tar's too
    <id>/layers   the branches below, topmost first, one a line, relative to the root
    <id>/flat     at some depth: all that the parent shows, in one branch (see `aufs_flat`)
    <id>/merged   where it is mounted

aufs mounts no more than 127 branches, so every hundredth layer of an image begins a new stack on
one branch with all that is below it, hard-linked. Written to aufs(5).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar, Final

from naru.kernel import modules
from naru.kernel.mounts import Mount, mount, unmount
from naru.spec.errors import Unsupported
from naru.store.diff import usage_of
from naru.store.driver import Change, Usage
from naru.store.drivers.aufs_branches import (
    MOST_BRANCHES,
    branch_mounts,
    mount_options,
    xino_directory,
)
from naru.store.drivers.aufs_flat import flatten
from naru.store.drivers.homes import Homes, make_directory, size_option, written
from naru.store.drivers.probe import backing_filesystem, filesystem_type, filesystems
from naru.store.drivers.unplaced import placed, take_after, unpack
from naru.store.skeleton import tar_pieces, tar_size
from naru.store.treecopy import copy_root_attributes
from naru.store.upper import AufsMarks, UpperDiff
from naru.store.whiteouts import AufsWhiteouts

_UNSUITABLE = ("aufs", "btrfs", "ecryptfs", "overlay", "ramfs")
_DEEPEST: Final = 100
"""Branches of an image; what is left of those that aufs mounts is for containers' layers."""


class Aufs:
    name: ClassVar[str] = "aufs"
    apart: ClassVar[bool] = True

    def __init__(self, root: Path, options: Mapping[str, str]) -> None:
        size = size_option(self.name, options)
        if refusal := _refusal():
            raise Unsupported(f"driver not supported: aufs: {refusal}")
        if any(character in str(root) for character in ":,="):
            raise Unsupported(f"driver not supported: aufs: no branch may be named like {root}")
        root.mkdir(mode=0o710, parents=True, exist_ok=True)
        if (kind := filesystem_type(root)) in _UNSUITABLE:
            raise Unsupported(f"driver not supported: aufs: it cannot lie on {kind} ({root})")
        self._homes = Homes(root, self.name, size)
        self._xino = xino_directory()
        self._dirperm1 = _knows_dirperm1(root, self._xino)

    def create(
        self, layer: str, parent: str | None, *, writable: bool, size: int | None = None
    ) -> None:
        if parent and writable and len(self._below(parent)) + 2 > MOST_BRANCHES:
            raise Unsupported(f"aufs: more than {MOST_BRANCHES} layers, writable ones among them")
        home = self._homes.make(layer, writable=writable, size=size)
        make_directory(home / "diff", 0o755)
        make_directory(home / "merged", 0o700)
        if parent:
            copy_root_attributes(self._homes[parent] / "diff", home / "diff")
            self._put_over(layer, parent, writable=writable)

    def remove(self, layer: str) -> None:
        self._homes.remove(layer)

    def mounts(self, layer: str, target: Path, *, read_only: bool = False) -> Sequence[Mount]:
        options = mount_options(target, xino=self._xino, dirperm1=self._dirperm1)
        own, below = self._homes[layer] / "diff", self._branches(layer)
        return branch_mounts(own, below, target, read_only=read_only, options=options)

    def apply(self, layer: str, diff: BinaryIO) -> int:
        home = self._homes[layer]
        upper = self._upper(layer) if (home / "layers").exists() else None
        return unpack(home, diff, AufsWhiteouts(), upper)

    def place(self, layer: str, parent: str | None) -> None:
        home = self._homes[layer]
        if parent is not None:
            self._put_over(layer, parent, writable=False)
            take_after(home, self._homes[parent], self._upper(layer))
        placed(home)

    def tar_size(self, layer: str) -> int | None:
        return tar_size(self._homes[layer])

    def tar_pieces(self, layer: str) -> Iterator[bytes]:
        home = self._homes[layer]
        return tar_pieces(home, home / "diff")

    def diff(self, layer: str, out: BinaryIO) -> None:
        self._upper(layer).write(out)

    def changes(self, layer: str) -> Iterator[Change]:
        return self._upper(layer).changes()

    def usage(self, layer: str) -> Usage:
        return usage_of(self._homes[layer] / "diff")

    def status(self) -> Sequence[tuple[str, str]]:
        return [
            ("Root Dir", str(self._homes.root)),
            ("Backing Filesystem", backing_filesystem(self._homes.root)),
            ("Dirs", str(len(set(self.layers())))),
            ("Dirperm1 Supported", str(self._dirperm1).lower()),
        ]

    def data(self, layer: str, target: Path) -> dict[str, str]:
        return {}

    def layers(self) -> Iterator[str]:
        return self._homes.layers()

    def _put_over(self, layer: str, parent: str, *, writable: bool) -> None:
        home = self._homes[layer]
        below = [f"{parent}/diff", *self._below(parent)]
        if not writable and len(below) >= _DEEPEST:
            make_directory(home / "flat", 0o755)
            flatten([self._homes.root / branch for branch in below], home / "flat")
            below = [f"{layer}/flat"]
        (home / "layers").write_text("\n".join(below))

    def _below(self, layer: str) -> list[str]:
        """Relative to the root."""
        text = written(self._homes[layer] / "layers")
        return text.split("\n") if text else []

    def _branches(self, layer: str) -> list[Path]:
        found = []
        for branch in self._below(layer):
            owner, _, kind = branch.partition("/")
            found.append(self._homes[owner] / kind)
        return found

    def _upper(self, layer: str) -> UpperDiff:
        return UpperDiff(self._homes[layer] / "diff", self._branches(layer), AufsMarks())


def _refusal() -> str | None:
    """Why this kernel has no aufs, with what was looked for; None where it has."""
    if "aufs" in filesystems():
        return None
    tried = modules.load("aufs")
    if "aufs" in filesystems():
        return None
    return f"'aufs' is not in /proc/filesystems, and tried {tried}"


def _knows_dirperm1(root: Path, xino: str | None) -> bool:
    """aufs refuses a mount with an option that it does not know, so it is asked by one."""
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=root) as where:
        for name in ("top", "below", "target"):
            (Path(where) / name).mkdir()
        target = Path(where, "target")
        for dirperm1 in (True, False):
            options = mount_options(target, xino=xino, dirperm1=dirperm1)
            [wanted] = branch_mounts(
                Path(where, "top"), [Path(where, "below")], target, read_only=False, options=options
            )
            try:
                mount(wanted)
            except OSError as error:
                refusal = error
            else:
                unmount(target)
                return dirperm1
    raise Unsupported(
        f"driver not supported: aufs: cannot be mounted on {backing_filesystem(root)}"
        f" ({refusal}): the kernel's log says why"
    )
