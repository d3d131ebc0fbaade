"""What a layer changes, found by comparing two whole trees; and changes as an OCI changeset tar.

Where the layers of a union say themselves what they change, see `upper`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from naru.store.driver import Change, ChangeKind, Usage
from naru.store.tarentry import HARDLINK, REGULAR, SYMLINK, Entry
from naru.store.tarmembers import Members
from naru.store.tarwriter import TarWriter
from naru.store.whiteouts import PREFIX
from naru.store.xattrs import read_xattrs


class Item(NamedTuple):
    """One thing that a layer says: a file of its own at `source`, or what it takes away."""

    name: str  # relative, without a leading slash
    source: str | None  # None: a whiteout (`name` is then the marker's)
    status: os.stat_result | None


_SECOND = 1_000_000_000
_Found = tuple[str, int, str, os.stat_result | None]
"""Name, kind of the change, path and status of what is there now."""


class TreeDiff:
    """Compares the tree `new` with `old` (None: an empty one).

    A file is changed when its metadata is, or, where it was touched after `made` (ns, by the file
    system's clock), when its contents are: that finds writes which kept size and mtime.

    `taken` (ns) is when `new` became a snapshot of `old`, where it is one: a file that has been
    left alone since before then is the same. Its change time alone does not tell, for clocks of
    file systems stand still for some milliseconds.
    """

    def __init__(
        self, new: Path, old: Path | None, *, made: int | None = None, taken: int | None = None
    ) -> None:
        self._new = str(new)
        self._old = str(old) if old else None
        self._made = made
        self._taken = taken

    def changes(self) -> Iterator[Change]:
        for name, kind, _, _ in self._walk("", self._new, self._old, parents=False):
            yield Change("/" + name, kind)

    def write(self, out: BinaryIO) -> None:
        write_items(self._items(), out)

    def usage(self) -> Usage:
        """Space and inodes of what is new or changed."""
        used, seen = 0, set[int]()
        for _, _, _, status in self._walk("", self._new, self._old, parents=False):
            if status is not None and status.st_ino not in seen:
                seen.add(status.st_ino)
                used += status.st_blocks * 512
        return Usage(used, len(seen))

    def _items(self) -> Iterator[Item]:
        # With the directories above each change: unpacking one touches their times.
        found: Iterable[_Found] = self._walk("", self._new, self._old, parents=True)
        if self._old is not None:
            found = list(found)
            if split := _split_files(status for _, _, _, status in found):
                # A tar links to its own members only: what has a new name is told with all names.
                found = self._walk("", self._new, self._old, parents=True, told=split)
        for name, kind, path, status in found:
            if kind == ChangeKind.DELETED:
                parent, _, last = name.rpartition("/")
                yield Item(marker(parent, last), None, None)
            else:
                yield Item(name, path, status)

    def _walk(
        self,
        name: str,
        new: str,
        old: str | None,
        *,
        parents: bool,
        told: Collection[int] = frozenset(),
    ) -> Iterator[_Found]:
        """`told` are inodes that count as changed."""
        before = {child: (path, status) for child, path, status in listing(old)} if old else {}
        after = {child: (path, status) for child, path, status in listing(new)}
        for child in sorted(before.keys() | after.keys()):
            below = f"{name}/{child}" if name else child
            if child not in after:
                yield below, ChangeKind.DELETED, "", None
                continue
            path, status = after[child]
            was = before.get(child)
            if was is None:
                yield below, ChangeKind.ADDED, path, status
                if stat.S_ISDIR(status.st_mode):
                    yield from self._walk(below, path, None, parents=parents)
                continue
            if not stat.S_ISDIR(status.st_mode):
                if status.st_ino in told or self._differs(path, status, *was):
                    yield below, ChangeKind.MODIFIED, path, status
                continue
            inside = was[0] if stat.S_ISDIR(was[1].st_mode) else None
            children = list(self._walk(below, path, inside, parents=parents, told=told))
            named = bool(children) and parents
            if (
                named
                or self._differs(path, status, *was)
                or any(kind != ChangeKind.MODIFIED for _, kind, _, _ in children)
            ):
                yield below, ChangeKind.MODIFIED, path, status
            yield from children

    def _differs(
        self, path: str, status: os.stat_result, old_path: str, old: os.stat_result
    ) -> bool:
        if _same_inode(status, old) and self._settled(status):
            return False
        if not same_metadata(status, old) or read_xattrs(path) != read_xattrs(old_path):
            return True
        if stat.S_ISLNK(status.st_mode):
            return os.readlink(path) != os.readlink(old_path)
        touched = self._made is None or status.st_ctime_ns >= self._made
        return stat.S_ISREG(status.st_mode) and touched and not _same_contents(path, old_path)

    def _settled(self, status: os.stat_result) -> bool:
        """Whether a change since the snapshot would show in the change time."""
        if self._taken is None:  # hard links: the very same file
            return True
        # Some file systems count in seconds.
        step = 0 if status.st_ctime_ns % _SECOND else _SECOND
        return status.st_ctime_ns + step < self._taken


def _split_files(changed: Iterable[os.stat_result | None]) -> set[int]:
    """The inodes of files of which not all names are there."""
    missing: dict[int, int] = {}
    for status in changed:
        if status is not None and status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            missing[status.st_ino] = missing.get(status.st_ino, status.st_nlink) - 1
    return {inode for inode, count in missing.items() if count}


def write_items(items: Iterator[Item], out: BinaryIO) -> None:
    """Write a changeset tar: names as given, hard links between its own members kept."""
    tar = TarWriter(out)
    members = Members()
    for item in items:
        if item.source is None or item.status is None:
            tar.add(Entry(item.name, mode=0o600))
        elif (entry := members.entry(item.name, item.status)) is not None:
            _write_file(tar, entry, item.source)
    tar.close()


def _write_file(tar: TarWriter, entry: Entry, source: str) -> None:
    if entry.kind != HARDLINK:
        entry.xattrs = read_xattrs(source) or None
    if entry.kind == SYMLINK:
        entry.linkname = os.readlink(source)
    if entry.kind == REGULAR:
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            entry.size = os.fstat(fd).st_size
            tar.add_file(entry, fd)
        finally:
            os.close(fd)
    else:
        tar.add(entry)


def usage_of(root: Path) -> Usage:
    """Disk space and inodes below `root`, each inode once, what vanishes meanwhile left out."""
    seen: set[int] = set()
    used = 0
    pending = [str(root)]
    with suppress(FileNotFoundError):
        status = os.lstat(root)
        seen.add(status.st_ino)
        used = status.st_blocks * 512
    while pending:
        for _, path, status in listing(pending.pop()):
            if status.st_ino in seen:
                continue
            seen.add(status.st_ino)
            used += status.st_blocks * 512
            if stat.S_ISDIR(status.st_mode):
                pending.append(path)
    return Usage(used, len(seen))


def same_metadata(one: os.stat_result, two: os.stat_result) -> bool:
    if (one.st_mode, one.st_uid, one.st_gid) != (two.st_mode, two.st_uid, two.st_gid):
        return False
    if stat.S_ISDIR(one.st_mode):
        return one.st_mtime_ns == two.st_mtime_ns
    return (one.st_rdev, one.st_size, one.st_mtime_ns) == (
        two.st_rdev,
        two.st_size,
        two.st_mtime_ns,
    )


def _same_inode(one: os.stat_result, two: os.stat_result) -> bool:
    """Whether it is one file: a hard link, or a snapshot that neither side has touched since."""
    return (one.st_ino, one.st_ctime_ns, one.st_size, one.st_mode) == (
        two.st_ino, two.st_ctime_ns, two.st_size, two.st_mode,
    )  # fmt: skip


def listing(directory: str) -> list[tuple[str, str, os.stat_result]]:
    """(name, path, lstat) of a directory's entries, sorted by name."""
    found = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    found.append((entry.name, entry.path, entry.stat(follow_symlinks=False)))
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda item: item[0])


def _same_contents(one: str, two: str) -> bool:
    with open(one, "rb") as first, open(two, "rb") as second:
        while True:
            piece = first.read(1 << 18)
            if piece != second.read(1 << 18):
                return False
            if not piece:
                return True


def marker(parent: str, child: str) -> str:
    name = PREFIX + child
    return f"{parent}/{name}" if parent else name
