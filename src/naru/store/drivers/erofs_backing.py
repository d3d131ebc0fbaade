"""How a kernel mounts a layer's EROFS image and its tar: as files, or by loop devices."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from naru.kernel import mounts
from naru.kernel.loop import ReadOnlyLoop
from naru.kernel.mounts import Mount
from naru.spec.errors import Unsupported
from naru.store.drivers.probe import filesystems
from naru.store.erofs_format import SUPER_OFFSET, read_offsets
from naru.store.erofs_image import write_image
from naru.store.erofs_tree import LayerTree
from naru.store.tarentry import REGULAR, Entry
from naru.store.tarwriter import TarWriter

TAR, IMAGE, TREE = "layer.tar", "layer.erofs", "tree"
_HEAD = SUPER_OFFSET + 2048


class Backing(NamedTuple):
    words: str  # in `docker info`
    block: int  # bytes: what the images are made of
    loops: bool
    since: str  # the kernel that brought it

    def mount(self, home: Path) -> Mount:
        """The mount of a layer's tree. It holds its loop devices until it is done or forgotten."""
        tar, image = home / TAR, home / IMAGE
        if not self.loops:
            return Mount("erofs", str(image), home / TREE, ["ro", f"device={tar}"])
        with image.open("rb") as file:
            offsets = read_offsets(file.read(_HEAD))
        first, *others = [ReadOnlyLoop(image), *(ReadOnlyLoop(tar, at) for at in offsets)]
        options = ["ro", *(f"device={loop.path}" for loop in others)]
        return Mount("erofs", first.path, home / TREE, options, held=[first, *others])


FILES: Final = Backing("files", 512, False, "Linux 6.12")
LOOPS: Final = Backing("loop devices", 512, True, "Linux 6.4")
WIDE_LOOPS: Final = Backing("loop devices, 4096-byte blocks", 4096, True, "Linux 5.16")
BACKINGS: Final = (FILES, LOOPS, WIDE_LOOPS)
"""The first that the kernel can is the best: fewest devices, and no copies of files' ends."""


def first_possible(backings: Sequence[Backing], root: Path) -> Backing:
    """Raise `Unsupported` where the kernel can do none of them."""
    refusals = []
    for backing in backings:
        if (refusal := refusal_of(backing, root)) is None:
            return backing
        refusals.append(f"by {backing.words} ({backing.since}): {refusal}")
    raise Unsupported(
        f"driver not supported: erofs: no image can be mounted: {'; '.join(refusals)}"
    )


def refusal_of(backing: Backing, root: Path) -> str | None:
    """Why the kernel cannot do it below `root`, or None: a layer is mounted, and read."""
    content = os.urandom(backing.block * 2 + 1)
    probe = root / f".erofs-probe-{os.getpid()}"
    shutil.rmtree(probe, ignore_errors=True)
    (probe / TREE).mkdir(parents=True)
    try:
        with (probe / TAR).open("w+b") as tar, (probe / IMAGE).open("w+b") as image:
            writer = TarWriter(tar)
            writer.add(Entry("file", REGULAR, size=len(content)), [content])
            writer.close()
            tar.seek(0)
            tree = LayerTree()
            tree.read(tar)
            write_image(tree, image, block=backing.block, tar=tar)
        mounts.mount(backing.mount(probe))
        try:
            if (probe / TREE / "file").read_bytes() != content:
                return "it shows other bytes than the tar's"
        finally:
            mounts.unmount(probe / TREE)
    except OSError as error:
        listed = "is" if "erofs" in filesystems() else "is not"
        return f"{error.strerror or error}; 'erofs' {listed} in /proc/filesystems"
    finally:
        shutil.rmtree(probe, ignore_errors=True)
    return None
