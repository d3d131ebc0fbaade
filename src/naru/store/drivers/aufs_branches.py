"""What aufs is told of its branches: the pages of mount options, as in aufs(5).

The first mount names as many branches as a page of mount(2) holds (`br:`), topmost first; each
further page is a remount that adds branches below those that are there (`append:`).
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from naru.kernel.mounts import Mount
from naru.store.drivers.probe import filesystem_type

MOST_BRANCHES: Final = 127
"""What a kernel takes unless it was built for more (CONFIG_AUFS_BRANCH_MAX_127)."""

# `+wh`: the whiteouts of a read-only branch count; without it they would be ignored.
_BELOW = "ro+wh"
_PAGE = os.sysconf("SC_PAGE_SIZE")


def branch_mounts(
    top: Path, below: Sequence[Path], target: Path, *, read_only: bool, options: Sequence[str]
) -> list[Mount]:
    """The mount and remounts that stack `top` on `below`, topmost first, at `target`."""
    flags = ["ro"] if read_only else []
    left = deque(str(path) for path in below)
    room = _PAGE - len(os.fsencode(",".join(["", *options]))) - 1  # the last byte ends the text
    first = f"br:{top}={_BELOW if read_only else 'rw'}"
    first += _page(left, room - len(os.fsencode(first)), ":", "")
    found = [Mount("aufs", "none", target, [first, *options, *flags])]
    while left:
        page = _page(left, _PAGE - 1, ",", "append:", at_least_one=True).removeprefix(",")
        found.append(Mount("aufs", "none", target, ["remount", page, *flags]))
    return found


def _page(
    left: deque[str], room: int, separator: str, verb: str, *, at_least_one: bool = False
) -> str:
    """Take from `left` what fits."""
    page = ""
    while left:
        branch = f"{separator}{verb}{left[0]}={_BELOW}"
        if (page or not at_least_one) and len(os.fsencode(page + branch)) > room:
            break
        page += branch
        left.popleft()
    return page


def mount_options(target: Path, *, xino: str | None, dirperm1: bool) -> list[str]:
    """The options beside the branches. `xino`: the directory for inode tables; None: aufs's choice.

    dio: O_DIRECT works. noplink: a copy-up leaves the other names of a file alone, as on overlay.
    The alternative holds them together only while the union is mounted, unless `auplink flush` is
    run before its end, which a container that outlives its daemon cannot promise. dirperm1: a
    directory's permissions are those of its topmost branch alone.
    """
    found = ["dio", "noplink"]
    if xino is not None:
        # aufs makes the file, insists on that, and unlinks it at once: its name must be its own
        # among the mounts that are being made at the same time.
        name = hashlib.sha256(os.fsencode(target)).hexdigest()[:16]
        found.append(f"xino={xino}/.aufs-{name}.xino")
    return [*found, "dirperm1"] if dirperm1 else found


def xino_directory() -> str | None:
    """A tmpfs for the tables of inode numbers: aufs takes them on neither XFS nor btrfs."""
    for directory in ("/dev/shm", "/run"):
        if os.path.isdir(directory) and filesystem_type(Path(directory)) == "tmpfs":
            return directory
    return None
