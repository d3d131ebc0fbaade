"""A file or a tree of a container as a tar, read by directory descriptors only.

The container may change its tree meanwhile; no component is ever followed as a symlink, so nothing
outside of the tree can be read through one that was put in the way. And nothing but a regular file
is opened for reading: opening a device, which the container's own cgroup would refuse it, may
do something.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO, Final

from naru.store.tarentry import SYMLINK, Entry
from naru.store.tarmembers import Members
from naru.store.tarwriter import TarWriter
from naru.store.xattrs import OF_ARCHIVES

_PATH: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHANGED: Final = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EINVAL, errno.ENXIO)
"""A name that is gone, or stands for something else than a moment ago."""


def write_tree(
    fd: int,
    name: str,
    out: BinaryIO,
    *,
    still: bool = False,
    owner: tuple[int, int] | None = None,
) -> None:
    """Write what `fd` (O_PATH) is, as `name`, with all below it.

    `still`: nobody changes it; `owner`: whose all of it is in the archive, None: each file's own.
    """
    tar = TarWriter(out)
    _Writer(tar, Members(owner=owner), still=still).top(fd, name)
    tar.close()


class _Writer:
    def __init__(self, tar: TarWriter, members: Members, *, still: bool) -> None:
        self._tar = tar
        self._members = members
        self._open = _open_still if still else _open_regular

    def top(self, fd: int, name: str) -> None:
        status = os.fstat(fd)
        # The descriptor's name in /proc stands for the file itself, whatever its path is by now.
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            self._opened(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC), name)
        else:
            link = os.readlink("", dir_fd=fd) if stat.S_ISLNK(status.st_mode) else ""
            self._special(self._members.entry(name, status), link)

    def _child(self, child: os.DirEntry[str], directory: int, name: str) -> None:
        if child.is_file(follow_symlinks=False):
            self._opened(self._open(child.name, directory), name)
        elif child.is_dir(follow_symlinks=False):
            self._opened(os.open(child.name, _READ | os.O_DIRECTORY, dir_fd=directory), name)
        else:
            link = os.readlink(child.name, dir_fd=directory) if child.is_symlink() else ""
            status = os.stat(child.name, dir_fd=directory, follow_symlinks=False)
            self._special(self._members.entry(name, status), link)

    def _opened(self, fd: int, name: str) -> None:
        """Write a regular file or a directory, and close it."""
        try:
            status = os.fstat(fd)
            entry = self._members.entry(name, status)
            assert entry is not None
            if not entry.is_file:
                self._tar.add(entry)
            else:
                entry.size = status.st_size
                entry.xattrs = _xattrs(fd)
                self._tar.add_file(entry, fd)
            if entry.is_dir:
                self._children(fd, name.rstrip("/"))
        finally:
            os.close(fd)

    def _children(self, directory: int, name: str) -> None:
        with os.scandir(directory) as found:
            children = sorted(found, key=lambda child: child.name)
        for child in children:
            try:
                self._child(child, directory, f"{name}/{child.name}")
            except OSError as error:
                if error.errno not in _CHANGED:
                    raise

    def _special(self, entry: Entry | None, link: str) -> None:
        if entry is not None:
            if entry.kind == SYMLINK:
                entry.linkname = link
            self._tar.add(entry)


def _open_still(name: str, directory: int) -> int:
    return os.open(name, _READ, dir_fd=directory)


def _open_regular(name: str, directory: int) -> int:
    """Open a regular file, and no device that has taken its place."""
    path = os.open(name, _PATH, dir_fd=directory)
    try:
        if not stat.S_ISREG(os.fstat(path).st_mode):
            raise OSError(errno.EINVAL, "no longer a regular file", name)
        return os.open(f"/proc/self/fd/{path}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(path)


def _xattrs(fd: int) -> dict[str, bytes] | None:
    try:
        names = os.listxattr(fd)
    except OSError:
        return None
    if not names:
        return None
    kept = [name for name in names if name.startswith(OF_ARCHIVES)]
    return {name: os.getxattr(fd, name) for name in kept} or None
