"""A file or a tree of a container as a tar, read by directory descriptors only.

The container may change its tree meanwhile; no component is ever followed as a symlink, so nothing
outside of the tree can be read through one that was put in the way.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import BinaryIO, Final

from naru.store.tarentry import SYMLINK, Entry
from naru.store.tarmembers import Members
from naru.store.tarwriter import TarWriter

_PATH: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def write_tree(fd: int, name: str, out: BinaryIO) -> None:
    """Write what `fd` (O_PATH) is, as `name`, with all below it."""
    tar = TarWriter(out)
    _Writer(tar).add(fd, name)
    tar.close()


class _Writer:
    def __init__(self, tar: TarWriter) -> None:
        self._tar = tar
        self._members = Members()

    def add(self, fd: int, name: str) -> None:
        entry = self._members.entry(name, os.fstat(fd))
        if entry is None:
            return
        # The descriptor's name in /proc stands for the file itself, whatever its path is by now.
        itself = f"/proc/self/fd/{fd}"
        if entry.is_file:
            self._add_file(entry, itself)
            return
        if entry.kind == SYMLINK:
            entry.linkname = os.readlink("", dir_fd=fd)
        self._tar.add(entry)
        if entry.is_dir:
            self._add_children(itself, name)

    def _add_file(self, entry: Entry, itself: str) -> None:
        fd = os.open(itself, os.O_RDONLY | os.O_CLOEXEC)
        try:
            entry.size = os.fstat(fd).st_size
            entry.xattrs = _xattrs(fd)
            self._tar.add_file(entry, fd)
        finally:
            os.close(fd)

    def _add_children(self, itself: str, name: str) -> None:
        directory = os.open(itself, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for child in sorted(os.listdir(directory)):
                with suppress(FileNotFoundError):  # gone meanwhile
                    fd = os.open(child, _PATH, dir_fd=directory)
                    try:
                        self.add(fd, f"{name.rstrip('/')}/{child}")
                    finally:
                        os.close(fd)
        finally:
            os.close(directory)


def _xattrs(fd: int) -> dict[str, bytes] | None:
    try:
        names = os.listxattr(fd)
    except OSError:
        return None
    kept = [name for name in names if name.startswith(("user.", "security.capability"))]
    return {name: os.getxattr(fd, name) for name in kept} or None
