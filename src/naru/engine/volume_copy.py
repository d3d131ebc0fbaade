"""What an image has at a volume's place becomes an empty volume's first content."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from naru.kernel.inroot import open_in_root
from naru.store.removal import remove
from naru.store.room import unmetered
from naru.store.treecopy import TreeCopy, copy_attributes


def copy_up(
    volume: Path,
    rootfs: Path,
    destination: str,
    meter: Callable[[int], None] = unmetered,
) -> None:
    """Nothing is copied where the image has no such directory, and nothing stays of what fails.

    What `meter` raises ends the copy in the middle, see `TreeCopy`.
    """
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
        _copy(f"/proc/self/fd/{source}/.", volume, meter)
    finally:
        os.close(source)


def _copy(source: str, volume: Path, meter: Callable[[int], None]) -> None:
    copy = TreeCopy(meter=meter)
    made: list[str] = []
    try:
        for name in sorted(os.listdir(source)):
            if os.path.lexists(volume / name):  # by a container that runs: not ours to remove
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(volume / name))
            made.append(name)
            copy.entry(f"{source}/{name}", str(volume / name), os.lstat(f"{source}/{name}"))
        copy_attributes(source, str(volume), os.lstat(source))
    except BaseException:
        # A volume with half of it would pass for one that is filled.
        directory = os.open(volume, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in made:
                remove(directory, name)
        finally:
            os.close(directory)
        raise
