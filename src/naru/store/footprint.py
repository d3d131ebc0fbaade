"""What trees take on the disk, as `du` counts it: in blocks, and each inode once."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection


class Footprint:
    """One count over several trees: what one of them has counted costs the others nothing.

    So hard links are the first tree's that has them. Directories in `mounted` show another file
    system, or the same files once more, and are left out. What vanishes meanwhile is, too.
    """

    def __init__(self, mounted: Collection[str] = ()) -> None:
        self._mounted = frozenset(mounted)
        self._seen: set[tuple[int, int]] = set()

    def entry(self, path: str | os.PathLike[str]) -> int:
        """Bytes of a file, or of a directory without what is in it."""
        if os.fspath(path) in self._mounted:
            return 0
        try:
            return self._new(os.lstat(path))
        except FileNotFoundError:
            return 0

    def tree(self, path: str | os.PathLike[str]) -> int:
        """Bytes of all that is there, `path` included."""
        used = self.entry(path)
        pending = [os.fspath(path)]
        while pending:
            directory = pending.pop()
            if directory in self._mounted:
                continue
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        used += self._child(entry, pending)
            except (FileNotFoundError, NotADirectoryError):
                continue
        return used

    def _child(self, entry: os.DirEntry[str], pending: list[str]) -> int:
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return 0
        if stat.S_ISDIR(status.st_mode):
            if entry.path in self._mounted:
                return 0
            pending.append(entry.path)
        return self._new(status)

    def _new(self, status: os.stat_result) -> int:
        inode = (status.st_dev, status.st_ino)
        if inode in self._seen:
            return 0
        self._seen.add(inode)
        return status.st_blocks * 512
