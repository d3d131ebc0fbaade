"""What a `.wh.` member of a layer tar becomes on disk: here the storage drivers differ.

All policies work below an open directory and never follow a link out of it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from typing import Protocol

from naru.store.removal import remove
from naru.store.xattrs import OPAQUE_XATTR, USER_OPAQUE_XATTR

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

    def replaced(self, directory: int, name: str) -> None:
        """This very layer has put something in the place of `name`, which it hid."""


class OverlayWhiteouts:
    """overlayfs's own marks: a 0/0 character device, and an xattr on an opaque directory."""

    def __init__(self, *, userxattr: bool = False) -> None:
        self._opaque = USER_OPAQUE_XATTR if userxattr else OPAQUE_XATTR

    def hide(self, directory: int, name: str) -> None:
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=directory)
        except FileExistsError:
            remove(directory, name)
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=directory)

    def make_opaque(self, directory: int, keep: Callable[[str], bool]) -> None:
        # A descriptor opened with O_PATH takes no xattrs, its /proc name does.
        os.setxattr(f"/proc/self/fd/{directory}", self._opaque, b"y")

    def replaced(self, directory: int, name: str) -> None:
        """It took the place of the device, too."""


class AufsWhiteouts:
    """aufs's own marks, which are a layer tar's: `.wh.NAME`, and `.wh..wh..opq` in a directory."""

    def hide(self, directory: int, name: str) -> None:
        _touch(PREFIX + name, directory)

    def make_opaque(self, directory: int, keep: Callable[[str], bool]) -> None:
        _touch(OPAQUE, directory)

    def replaced(self, directory: int, name: str) -> None:
        # A branch with both shows neither what it holds nor what is below.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(PREFIX + name, dir_fd=directory)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            opened = os.open(name, flags, dir_fd=directory)
            try:
                _touch(OPAQUE, opened)
            finally:
                os.close(opened)


class DeleteWhiteouts:
    """For drivers whose layer is a full copy of its parent: what is hidden is removed."""

    def hide(self, directory: int, name: str) -> None:
        remove(directory, name)

    def make_opaque(self, directory: int, keep: Callable[[str], bool]) -> None:
        for name in os.listdir(f"/proc/self/fd/{directory}"):
            if not keep(name):
                remove(directory, name)

    def replaced(self, directory: int, name: str) -> None:
        """What was there is gone."""


def _touch(name: str, directory: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(name, flags, 0o444, dir_fd=directory))
