"""erofs: a layer is its tar, stored once, and mounted through an EROFS image of its headers.

Nothing is extracted: a read-only layer is two files, its diff is the tar itself to the byte, and
removing it is two unlinks. A container's writable layer is an overlay upper directory as with
overlay2, over the mounted images.

    .block                        the block size of the images, where that is not 512
    <id>/layer.tar, layer.erofs   a read-only layer, and `<id>/tree` where it is mounted
    <id>/diff, work, merged       a writable layer, and the overlay's parts
    <id>/lower                    ids of the layers below, topmost first

A layer's tree is mounted when the first container needs it and stays, so that all containers
share its page cache; `close()` and `remove()` take it down, which running containers do not notice.
The images are mounted as files, by kernels before 6.12 through loop devices (see `erofs_backing`).
A layer that EROFS cannot show (unaligned sparse files) is extracted into its `tree` instead.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar, cast

from naru.kernel import mounts
from naru.kernel.mounts import Mount
from naru.spec.errors import Unsupported
from naru.store.diff import usage_of
from naru.store.driver import Change, Usage
from naru.store.drivers.erofs_backing import (
    BACKINGS,
    FILES,
    IMAGE,
    TAR,
    TREE,
    Backing,
    first_possible,
)
from naru.store.drivers.homes import Homes, make_directory, size_option, written
from naru.store.drivers.probe import backing_filesystem, overlay_refusal
from naru.store.erofs_format import Unmappable
from naru.store.erofs_image import write_image
from naru.store.erofs_tree import LayerTree
from naru.store.extract import Extractor
from naru.store.tee import Tee
from naru.store.treecopy import copy_root_attributes
from naru.store.upper import UpperDiff
from naru.store.whiteouts import OverlayWhiteouts

_log = logging.getLogger(__name__)

_COPY = 1 << 20
_BLOCK = ".block"
_UNPLACED = "unplaced"
"""What a layer without a parent needs one for: directories that its tar did not speak of."""


class Erofs:
    name: ClassVar[str] = "erofs"
    apart: ClassVar[bool] = True
    stores_tars: ClassVar[bool] = True

    def __init__(
        self, root: Path, options: Mapping[str, str], *, backings: Sequence[Backing] = BACKINGS
    ) -> None:
        """Raise `Unsupported` where the kernel cannot mount EROFS, or no overlay.

        `backings`: the ways to mount an image that are tried; the first that works is taken.
        """
        self._root = root
        self._homes = Homes(root, self.name, size_option(self.name, options))
        if refusal := overlay_refusal(root, userxattr=False):
            raise Unsupported(f"driver not supported: erofs: {refusal}")
        self._backing = first_possible(backings, root)
        # Devices are waited for.
        self.mounts_slowly = self._backing.loops
        self._follow_block_size()

    def create(
        self, layer: str, parent: str | None, *, writable: bool, size: int | None = None
    ) -> None:
        lower = [parent, *self._lower(parent)] if parent else []
        home = self._homes.make(layer, writable=writable, size=size)
        if writable:
            for name, mode in (("diff", 0o755), ("work", 0o700), ("merged", 0o700)):
                make_directory(home / name, mode)
            if parent:
                copy_root_attributes(self._own_tree(parent), home / "diff")
        else:
            (home / TREE).mkdir(mode=0o755)
        if lower:
            (home / "lower").write_text("\n".join(lower))

    def remove(self, layer: str) -> None:
        tree = self._root / layer / TREE
        if mounts.is_mounted(tree):
            mounts.unmount(tree)
        self._homes.remove(layer)

    def mounts(self, layer: str, target: Path, *, read_only: bool = False) -> Sequence[Mount]:
        home = self._homes[layer]
        lower = self._lower(layer)
        own: list[str] = []
        if (home / "diff").exists():
            if read_only:
                lowers = [str(home / "diff")]
            else:
                lowers = []
                own = [f"upperdir={home / 'diff'}", f"workdir={home / 'work'}"]
        else:
            lower = [layer, *lower]
            lowers = []
        if self._backing.loops:  # one at a time: each holds up to nine devices until it is mounted
            self._show(lower)
        trees = list(self._tree_mounts(lower))
        lowers += [str(self._tree(name)) for name in lower]
        if not lowers or (len(lowers) == 1 and not own):  # overlay wants something below
            source = lowers[0] if lowers else str(home / "diff")
            return [*trees, Mount("", source, target, ["bind", *(["ro"] if read_only else [])])]
        below = [f"lowerdir+={path}" for path in lowers]
        options = [*below, *own, "index=off", "metacopy=off", "redirect_dir=off"]
        return [*trees, Mount("overlay", "overlay", target, options)]

    def apply(self, layer: str, diff: BinaryIO) -> int:
        home = self._homes[layer]
        tree = LayerTree()
        below = self._below(layer).below if (home / "lower").exists() else None
        with (home / TAR).open("w+b") as tar:
            copied = Tee(diff, tar)
            try:
                tree.read(cast(BinaryIO, copied))
                tar.flush()
                self._write_image(home, tree, tar, below)
                content = tree.content
                implied = tree.implied
            except Unmappable:
                copied.drain()
                tar.seek(0)
                (home / IMAGE).unlink(missing_ok=True)
                with Extractor(home / TREE, whiteouts=OverlayWhiteouts()) as extractor:
                    content = extractor.extract(tar)
                implied = sorted(extractor.implied)
                if below is not None:
                    self._below(layer).adopt(implied)
        if below is None and implied:
            (home / _UNPLACED).write_text(json.dumps(implied))
        return content

    def place(self, layer: str, parent: str | None) -> None:
        home = self._homes[layer]
        implied = _noted(home)
        if parent is not None:
            (home / "lower").write_text("\n".join([parent, *self._lower(parent)]))
            if implied:
                self._take_after(layer, implied)
        (home / _UNPLACED).unlink(missing_ok=True)

    def tar_size(self, layer: str) -> int | None:
        try:
            return (self._homes[layer] / TAR).stat().st_size
        except FileNotFoundError:
            return None

    def tar_pieces(self, layer: str) -> Iterator[bytes]:
        with (self._homes[layer] / TAR).open("rb", buffering=0) as tar:
            while piece := tar.read(_COPY):
                yield piece

    def _write_image(
        self,
        home: Path,
        tree: LayerTree,
        tar: BinaryIO,
        below: Callable[[str], Path | None] | None,
    ) -> None:
        if below is not None:
            tree.adopt(below)
        # What is there may be mounted.
        (home / IMAGE).unlink(missing_ok=True)
        with (home / IMAGE).open("w+b") as out:
            write_image(tree, out, block=self._backing.block, tar=tar)

    def _remake_image(self, layer: str) -> None:
        home = self._homes[layer]
        tree = LayerTree()
        with (home / TAR).open("rb") as tar:
            tree.read(tar)
            self._write_image(home, tree, tar, self._below(layer).below)

    def _take_after(self, layer: str, implied: Sequence[str]) -> None:
        """Directories that the layer's tar did not speak of are as those of the layers below."""
        below = self._below(layer)
        if not (self._homes[layer] / IMAGE).exists():
            below.adopt(implied)
        elif any(below.below(path) is not None for path in implied):
            self._remake_image(layer)

    def _follow_block_size(self) -> None:
        """Make the images anew where another kernel has made them for itself."""
        noted = self._root / _BLOCK
        have = int(noted.read_text()) if noted.exists() else FILES.block
        if have == self._backing.block:
            return
        layers = sorted(set(self.layers()), key=lambda layer: len(self._lower(layer)))
        for layer in layers:  # those below first: others take after them
            if (self._root / layer / IMAGE).exists():
                _log.info("erofs: %s gets blocks of %d bytes", layer, self._backing.block)
                self._remake_image(layer)
        noted.write_text(str(self._backing.block))

    def diff(self, layer: str, out: BinaryIO) -> None:
        home = self._homes[layer]
        if (home / TAR).exists():
            with (home / TAR).open("rb") as tar:
                shutil.copyfileobj(tar, out, _COPY)
        else:
            self._upper(layer).write(out)

    def changes(self, layer: str) -> Iterator[Change]:
        return self._upper(layer).changes()

    def usage(self, layer: str) -> Usage:
        home = self._homes[layer]
        if (home / "diff").exists():
            return usage_of(home / "diff")
        files = [home / TAR, home / IMAGE]
        found = [path.stat() for path in files if path.exists()]
        used = sum(status.st_blocks * 512 for status in found)
        if not (home / IMAGE).exists():
            tree = usage_of(home / TREE)
            return Usage(used + tree.bytes, len(found) + tree.inodes)
        return Usage(used, len(found))

    def status(self) -> Sequence[tuple[str, str]]:
        layers = [self._homes[layer] for layer in self.layers()]
        mapped = sum((home / IMAGE).exists() for home in layers)
        return [
            ("Backing Filesystem", backing_filesystem(self._root)),
            ("Backed By", self._backing.words),
            ("Layers Mapped From Tar", str(mapped)),
            ("Layers Mounted", str(sum(mounts.is_mounted(home / TREE) for home in layers))),
        ]

    def data(self, layer: str, target: Path) -> dict[str, str]:
        home = self._homes[layer]
        found = {"ID": layer, "MergedDir": str(target)}
        if (home / "diff").exists():
            found |= {"UpperDir": str(home / "diff"), "WorkDir": str(home / "work")}
        else:
            found |= {"UpperDir": str(home / TREE), "LayerTar": str(home / TAR)}
        if lower := self._lower(layer):
            found["LowerDir"] = ":".join(str(self._tree(name)) for name in lower)
        return found

    def layers(self) -> Iterator[str]:
        return self._homes.layers()

    def close(self) -> None:
        """Unmount the layers' trees; overlays on them keep what they hold."""
        for layer in self.layers():
            if mounts.is_mounted(self._homes[layer] / TREE):
                mounts.unmount(self._homes[layer] / TREE)

    def _tree_mounts(self, layers: Sequence[str]) -> Iterator[Mount]:
        """What is still to mount so that every one of `layers` shows its tree."""
        for home in (self._homes[layer] for layer in layers):
            if (home / IMAGE).exists() and not mounts.is_mounted(home / TREE):
                yield self._backing.mount(home)

    def _show(self, layers: Sequence[str]) -> list[Path]:
        for mount in self._tree_mounts(layers):
            mounts.mount(mount)
        return [self._tree(layer) for layer in layers]

    def _upper(self, layer: str) -> UpperDiff:
        return UpperDiff(self._own_tree(layer), self._show(self._lower(layer)))

    def _below(self, layer: str) -> UpperDiff:
        return UpperDiff(self._homes[layer] / TREE, self._show(self._lower(layer)))

    def _own_tree(self, layer: str) -> Path:
        """Where the layer's own files can be read."""
        return self._show([layer])[0]

    def _tree(self, layer: str) -> Path:
        """The directory of a layer's own files, once it is mounted. Any may lie below another."""
        diff = self._homes[layer] / "diff"
        return diff if diff.exists() else self._homes[layer] / TREE

    def _lower(self, layer: str) -> list[str]:
        text = written(self._homes[layer] / "lower")
        return text.split("\n") if text else []


def _noted(home: Path) -> list[str]:
    try:
        implied: list[str] = json.loads((home / _UNPLACED).read_text())
    except FileNotFoundError:
        return []
    return implied
