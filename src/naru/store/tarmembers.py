"""What files on a disk are as members of a tar: their attributes, and which are hard links."""

from __future__ import annotations

import os
import stat

from naru.store.tarentry import BLOCKDEV, CHARDEV, HARDLINK, Entry, kind_of


class Members:
    """Of one archive: an inode that was met before is a hard link to the name it had then."""

    def __init__(self, *, owner: tuple[int, int] | None = None) -> None:
        """`owner`: (uid, gid) of all members, where it is not each file's own."""
        self._owner = owner
        self._first_names: dict[tuple[int, int], str] = {}

    def entry(self, name: str, status: os.stat_result) -> Entry | None:
        """The member, without size, xattrs and a symlink's target; None for what tar cannot hold.

        That is a socket: it means nothing without the process that listens on it.
        """
        kind = kind_of(status.st_mode)
        if kind is None:
            return None
        uid, gid = self._owner or (status.st_uid, status.st_gid)
        mode, mtime = stat.S_IMODE(status.st_mode), status.st_mtime_ns
        entry = Entry(name, kind, mode=mode, uid=uid, gid=gid, mtime=mtime)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            inode = (status.st_dev, status.st_ino)
            if inode in self._first_names:
                entry.kind, entry.linkname = HARDLINK, self._first_names[inode]
                return entry
            self._first_names[inode] = name
        if kind in (CHARDEV, BLOCKDEV):
            entry.devmajor, entry.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        return entry
