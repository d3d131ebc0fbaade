"""What a `.wh.` member of a layer tar becomes on disk: here the storage drivers differ.

Both policies work below an open directory and never follow a link out of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Protocol

from naru.store.removal import remove

PREFIX = ".wh."
OPAQUE = ".wh..wh..opq"
METADATA_PREFIX = ".wh..wh."


class Whiteouts(Protocol):
    def hide(self, directory: int, name: str) -> None:
        """Let `name` of the layers below not be seen."""

    def make_opaque(self, directory: int, keep: Callable[[str], bool]) -> None:
        """Let nothing of the directory in the layers below be seen.

        `keep(name)` tells whether this very layer put an entry there.
        """


class OverlayWhiteouts:
    """overlayfs's own marks: a 0/0 character device, and an xattr on an opaque directory."""

    def __init__(self, *, userxattr: bool = False) -> None:
        self._opaque = "user.overlay.opaque" if userxattr else "trusted.overlay.opaque"

    def hide(self, directory: int, name: str) -> None:
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=directory)
        except FileExistsError:
            remove(directory, name)
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=directory)

    def make_opaque(self, directory: int, keep: Callable[[str], bool]) -> None:
        # A descriptor opened with O_PATH takes no xattrs, its /proc name does.
        os.setxattr(f"/proc/self/fd/{directory}", self._opaque, b"y")


class DeleteWhiteouts:
    """For drivers whose layer is a full copy of its parent: what is hidden is removed."""

    def hide(self, directory: int, name: str) -> None:
        remove(directory, name)

    def make_opaque(self, directory: int, keep: Callable[[str], bool]) -> None:
        for name in os.listdir(f"/proc/self/fd/{directory}"):
            if not keep(name):
                remove(directory, name)
