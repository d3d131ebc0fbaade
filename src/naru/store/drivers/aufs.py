"""aufs: branches stacked by a file system that is not in Linux's own tree.

`<id>/diff` is a branch; what it hides is written down in it as `.wh.` files, which are those of a
layer tar too. `<id>/layers` names the branches below, topmost first. Written to the interface of
aufs(5): a mount's `br:` option, then `append:` in remounts for what an option page cannot hold.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar

from naru.kernel.mounts import Mount, mount, unmount
from naru.spec.errors import Unsupported
from naru.store.diff import usage_of
from naru.store.driver import Change, Usage
from naru.store.drivers.homes import Homes, make_directory, size_option
from naru.store.drivers.probe import backing_filesystem, filesystem_type, filesystems
from naru.store.extract import Extractor
from naru.store.treecopy import copy_root_attributes
from naru.store.upper import AufsMarks, UpperDiff

_UNSUITABLE = ("aufs", "btrfs", "ecryptfs", "overlay")
_XINO = "/dev/shm/aufs.xino"
# One page is the limit of mount(2)'s data; the options around the branches need room too.
_PAGE = 3800


class Aufs:
    name: ClassVar[str] = "aufs"

    def __init__(self, root: Path, options: Mapping[str, str]) -> None:
        size = size_option(self.name, options)
        if "aufs" not in filesystems():
            raise Unsupported(
                "driver not supported: aufs: 'aufs' is not in /proc/filesystems: this kernel has"
                " no aufs, or its module is not loaded (modprobe aufs)"
            )
        root.mkdir(mode=0o710, parents=True, exist_ok=True)
        if (kind := filesystem_type(root)) in _UNSUITABLE:
            raise Unsupported(f"driver not supported: aufs: it cannot lie on {kind} ({root})")
        self._homes = Homes(root, self.name, size)
        self._dirperm1 = _knows_dirperm1(root)

    def create(
        self, layer: str, parent: str | None, *, writable: bool, size: int | None = None
    ) -> None:
        below = [parent, *self._below(parent)] if parent else []
        home = self._homes.make(layer, writable=writable, size=size)
        make_directory(home / "diff", 0o755)
        make_directory(home / "merged", 0o700)
        if parent:
            copy_root_attributes(self._homes[parent] / "diff", home / "diff")
            (home / "layers").write_text("\n".join(below))

    def remove(self, layer: str) -> None:
        self._homes.remove(layer)

    def mounts(self, layer: str, target: Path, *, read_only: bool = False) -> Sequence[Mount]:
        return branch_mounts(
            self._branch(layer),
            [self._branch(below) for below in self._below(layer)],
            target,
            read_only=read_only,
            dirperm=self._dirperm1,
        )

    def apply(self, layer: str, diff: BinaryIO) -> int:
        # `.wh.` files are what the branch itself holds: unpacked as they are.
        with Extractor(self._homes[layer] / "diff") as extractor:
            written = extractor.extract(diff)
        self._upper(layer).adopt(extractor.implied)
        return written

    def diff(self, layer: str, out: BinaryIO) -> None:
        self._upper(layer).write(out)

    def changes(self, layer: str) -> Iterator[Change]:
        return self._upper(layer).changes()

    def usage(self, layer: str) -> Usage:
        return usage_of(self._homes[layer] / "diff")

    def status(self) -> Sequence[tuple[str, str]]:
        count = sum(1 for _ in self.layers())
        return [
            ("Root Dir", str(self._homes.root)),
            ("Backing Filesystem", backing_filesystem(self._homes.root)),
            ("Dirs", str(count)),
            ("Dirperm1 Supported", str(self._dirperm1).lower()),
        ]

    def data(self, layer: str, target: Path) -> dict[str, str]:
        return {}

    def layers(self) -> Iterator[str]:
        return self._homes.layers()

    def _branch(self, layer: str) -> Path:
        return self._homes[layer] / "diff"

    def _below(self, layer: str) -> list[str]:
        try:
            return (self._homes[layer] / "layers").read_text().split("\n")
        except FileNotFoundError:
            return []

    def _upper(self, layer: str) -> UpperDiff:
        lowers = [self._branch(below) for below in self._below(layer)]
        return UpperDiff(self._branch(layer), lowers, AufsMarks())


def _knows_dirperm1(root: Path) -> bool:
    """aufs refuses a mount with an option that it does not know, so it is asked by one."""
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=root) as where:
        for name in ("branch", "target"):
            (Path(where) / name).mkdir()
        target = Path(where) / "target"
        try:
            mount(Mount("aufs", "none", target, [f"br:{where}/branch=rw", "dirperm1"]))
        except OSError:
            return False
        unmount(target)
        return True


def branch_mounts(
    top: Path, below: Sequence[Path], target: Path, *, read_only: bool, dirperm: bool
) -> list[Mount]:
    """One mount with as many branches as its option page holds, a remount for each further page.

    `+wh` lets a read-only branch's whiteouts count; without it they would be shown as files.
    """
    # xino: aufs's inode tables, off the branches. dio: O_DIRECT works. dirperm1: a directory's
    # mode is that of the topmost branch alone.
    tail = ["dio", f"xino={_XINO}", *(["dirperm1"] if dirperm else [])]
    mode = "ro+wh" if read_only else "rw"
    first = [f"br:{top}={mode}"]
    left = [f"{path}=ro+wh" for path in below]
    used = len(first[0])
    while left and used + len(left[0]) + 1 < _PAGE:
        used += len(left[0]) + 1
        first.append(left.pop(0))
    flags = ["ro"] if read_only else []
    found = [Mount("aufs", "none", target, [":".join(first), *tail, *flags])]
    while left:
        page: list[str] = []
        used = 0
        while left and used + len(left[0]) + 8 < _PAGE:
            used += len(left[0]) + 8
            page.append(f"append:{left.pop(0)}")
        found.append(Mount("aufs", "none", target, ["remount", *page, *flags]))
    return found
