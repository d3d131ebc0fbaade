"""Owner, mode, xattrs and time of what is unpacked, by as few system calls as will do."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from naru.store.tarentry import DIRECTORY, SYMLINK, Entry
from naru.store.xattrs import OF_OVERLAY

Owner = Callable[[int, int], tuple[int, int]]
"""Maps the (uid, gid) of an archive to those on disk, for user namespaces."""


class Attributes:
    """Gives files what their members say of them."""

    def __init__(self, *, owner: Owner | None = None, umask: int | None = None) -> None:
        """`umask`: the process's, if known."""
        self._owner = owner
        self._umask = _process_umask() if umask is None else umask
        self._is_root = os.geteuid() == 0

    def of_file(self, entry: Entry, fd: int, other_owner: bool) -> None:
        """A regular file, made just now with the mode's permissions, perhaps another's."""
        mode, mtime = entry.mode, entry.mtime
        if self._is_root and (other_owner or entry.uid or entry.gid or self._owner):
            os.fchown(fd, *self._owner_of(entry))
        if mode & ~0o777 or mode & self._umask:
            os.fchmod(fd, mode)  # after chown, which clears setuid
        if entry.xattrs:
            self._xattrs(entry, fd)
        os.utime(fd, ns=(mtime, mtime))

    def of_name(self, entry: Entry, directory: int, name: str, other_owner: bool) -> None:
        """The same for what is no regular file; a directory's time is for later."""
        mode, owner = entry.mode, self._owner_of(entry)
        if self._is_root and (other_owner or owner != (0, 0)):
            os.chown(name, *owner, dir_fd=directory, follow_symlinks=False)
        if entry.kind != SYMLINK and (mode & ~0o777 or mode & self._umask or other_owner):
            # chmod would follow a link that somebody puts there at the right moment
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                if stat.S_ISLNK(os.fstat(fd).st_mode):
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                os.chmod(f"/proc/self/fd/{fd}", mode)
            finally:
                os.close(fd)
        if entry.xattrs:
            self._xattrs(entry, f"/proc/self/fd/{directory}/{name}")
        if entry.kind != DIRECTORY:
            times = (entry.mtime, entry.mtime)
            os.utime(name, ns=times, dir_fd=directory, follow_symlinks=False)

    def of_root(self, entry: Entry, root: int) -> None:
        """The directory that an archive is unpacked into."""
        if self._is_root:
            os.fchown(root, *self._owner_of(entry))
        os.fchmod(root, entry.mode)
        self._xattrs(entry, root)

    def _owner_of(self, entry: Entry) -> tuple[int, int]:
        return self._owner(entry.uid, entry.gid) if self._owner else (entry.uid, entry.gid)

    def _xattrs(self, entry: Entry, target: int | str) -> None:
        for key, value in (entry.xattrs or {}).items():
            if key.startswith(OF_OVERLAY):
                continue
            try:
                if isinstance(target, int):
                    os.setxattr(target, key, value)
                else:
                    os.setxattr(target, key, value, follow_symlinks=False)
            except OSError as error:
                # As Docker does: user.* is not for every file type, and not every file system
                # knows every namespace. What guards the host or the container must not be lost.
                if key == "security.capability" and self._is_root:
                    raise
                if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.EINVAL):
                    raise


def _process_umask() -> int:
    """The umask, read without setting it, which would race with other threads."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o777
