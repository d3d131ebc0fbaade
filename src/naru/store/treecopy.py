"""Copy a directory tree exactly: owners, modes, xattrs, times, hard links, devices, holes.

Data is shared with the source where the file system can (reflink); links are never followed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from naru.store.room import unmetered

_FICLONE = 0x40049409
_CHUNK = 1 << 20
_BLOCK = 4096
_INODE = 512
_NO_CLONE = (
    errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM,
    errno.ETXTBSY,
)  # fmt: skip


def copy_tree(source: str, target: str, meter: Callable[[int], None] = unmetered) -> None:
    """Copy what is in `source`, and its own attributes, to the directory `target`, which exists.

    What `meter` raises ends the copy in the middle, see `TreeCopy`.
    """
    TreeCopy(meter=meter).directory(source, target)


def link_tree(source: str, target: str) -> None:
    """As `copy_tree`, with every file a hard link to the source's: both are on one file system."""
    TreeCopy(link=True).directory(source, target)


class TreeCopy:
    """Copies one entry after another; names of one file in the source are one in the target.

    `meter` is told the bytes of disk space that each piece takes, before it is written: whole
    blocks of data, inodes and directories. What is shared with the source, and holes, take none.
    """

    def __init__(self, *, link: bool = False, meter: Callable[[int], None] = unmetered) -> None:
        self._link = link
        self._meter = meter
        self._clone = True
        self._links: dict[tuple[int, int], str] = {}

    def directory(self, source: str, target: str) -> None:
        with os.scandir(source) as entries:
            listing = sorted(entries, key=lambda entry: entry.name)
        for entry in listing:
            self.entry(entry.path, f"{target}/{entry.name}", entry.stat(follow_symlinks=False))
        # Last: making the entries has changed its times.
        copy_attributes(source, target, os.lstat(source))

    def entry(self, source: str, target: str, status: os.stat_result) -> None:
        """Copy what is at `source` to `target`, where nothing is; a socket is left out."""
        mode = status.st_mode
        if stat.S_ISDIR(mode):
            self._meter(_INODE + status.st_blocks * 512)
            os.mkdir(target, 0o700)
            self.directory(source, target)
            return
        if self._link:
            os.link(source, target, follow_symlinks=False)
            return
        if status.st_nlink > 1:
            inode = (status.st_dev, status.st_ino)
            if inode in self._links:
                os.link(self._links[inode], target, follow_symlinks=False)
                return
            self._links[inode] = target
        self._meter(_INODE)
        if stat.S_ISREG(mode):
            self._file(source, target)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(source), target)
        elif not stat.S_ISSOCK(mode):
            os.mknod(target, stat.S_IFMT(mode) | 0o600, status.st_rdev)
        else:
            return
        copy_attributes(source, target, status)

    def _file(self, source: str, target: str) -> None:
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            out = os.open(target, flags, 0o600)
            try:
                if not self._cloned(fd, out):
                    self._copy_data(fd, out)
            finally:
                os.close(out)
        finally:
            os.close(fd)

    def _cloned(self, fd: int, out: int) -> bool:
        if self._clone:
            try:
                fcntl.ioctl(out, _FICLONE, fd)
            except OSError as error:
                if error.errno not in _NO_CLONE:
                    raise
                self._clone = False
        return self._clone

    def _copy_data(self, fd: int, out: int) -> None:
        size = os.fstat(fd).st_size
        position = 0
        while position < size:
            try:
                position = os.lseek(fd, position, os.SEEK_DATA)
                end = os.lseek(fd, position, os.SEEK_HOLE)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole is left
                    break
                if error.errno != errno.EINVAL:
                    raise
                end = size
            while position < end:
                count = min(end - position, _CHUNK)
                self._meter(-(-count // _BLOCK) * _BLOCK)
                count = _copy_range(fd, out, position, count)
                if not count:
                    break
                position += count
            if position < end:
                break  # the file shrank meanwhile
        os.ftruncate(out, size)


def copy_root_attributes(source: Path, target: Path) -> None:
    """Owner, mode and times of one directory for another.

    A union shows the attributes of its topmost layer's directory: that takes after those below.
    """
    status = os.stat(source)
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, status.st_mode & 0o7777)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def copy_attributes(source: str, target: str, status: os.stat_result) -> None:
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(target, stat.S_IMODE(status.st_mode))  # after chown, which clears setuid
    try:
        names = os.listxattr(source, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        names = []
    for name in names:
        try:
            value = os.getxattr(source, name, follow_symlinks=False)
            os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            # The target's file system may lack a namespace, and labels are the host's to give.
            if name == "security.capability" or error.errno not in (
                errno.ENOTSUP, errno.EPERM, errno.ENODATA,
            ):  # fmt: skip
                raise
    times = (status.st_atime_ns, status.st_mtime_ns)
    os.utime(target, ns=times, follow_symlinks=False)


def _copy_range(fd: int, out: int, position: int, count: int) -> int:
    with suppress(OSError):
        return os.copy_file_range(fd, out, count, position, position)
    data = os.pread(fd, count, position)
    written = 0
    while written < len(data):
        written += os.pwrite(out, data[written:], position + written)
    return written
