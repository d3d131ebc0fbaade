"""What an image has at a volume's place becomes an empty volume's first content."""

from __future__ import annotations

import os
from pathlib import Path

from naru.kernel.inroot import open_in_root
from naru.store.treecopy import copy_tree


def copy_up(volume: Path, rootfs: Path, destination: str) -> None:
    if os.listdir(volume):
        return
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Links in the image lead where they would lead in the container.
        source = open_in_root(root, destination, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    finally:
        os.close(root)
    try:
        # The slash and dot: without them it is the link in /proc that is looked at.
        copy_tree(f"/proc/self/fd/{source}/.", str(volume))
    finally:
        os.close(source)
