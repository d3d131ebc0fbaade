"""What a layer changes against the layers below it, as changes and as an OCI changeset tar.

Two ways to know: an overlay's upper directory says it itself (`UpperDiff`: whiteouts are character
devices 0/0, opaque directories carry an xattr), and two whole trees can be compared (`TreeDiff`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from naru.store.driver import Change, ChangeKind, Usage
from naru.store.tarstream import BLOCKDEV, CHARDEV, HARDLINK, REGULAR, SYMLINK, Entry, kind_of
from naru.store.tarwriter import TarWriter

WHITEOUT_PREFIX = ".wh."
OPAQUE_MARKER = ".wh..wh..opq"

_OPAQUE_XATTRS = ("trusted.overlay.opaque", "user.overlay.opaque")
_KEPT_XATTRS = ("user.", "trusted.", "security.capability", "security.ima", "system.posix_acl_")
_OVERLAY_XATTRS = ("trusted.overlay.", "user.overlay.")


class _Item(NamedTuple):
    """One thing that a layer says: a file of its own at `source`, or what it takes away."""

    name: str  # relative, without a leading slash
    source: str | None  # None: a whiteout (`name` is then the marker's)
    status: os.stat_result | None


class UpperDiff:
    """Reads `upper` as the topmost of overlay layers; `lowers` is topmost first."""

    def __init__(self, upper: Path, lowers: Sequence[Path]) -> None:
        self._upper = str(upper)
        self._lowers = [str(lower) for lower in lowers]

    def changes(self) -> Iterator[Change]:
        yield from _changes_in("", self._upper, self._lowers)

    def write(self, out: BinaryIO) -> None:
        write_items(self._items("", self._upper), out)

    def _items(self, name: str, directory: str) -> Iterator[_Item]:
        for child, path, status in _listing(directory):
            below = f"{name}/{child}" if name else child
            if is_whiteout(status):
                yield _Item(_marker(name, child), None, None)
                continue
            yield _Item(below, path, status)
            if stat.S_ISDIR(status.st_mode):
                if is_opaque(path):
                    yield _Item(f"{below}/{OPAQUE_MARKER}", None, None)
                yield from self._items(below, path)


class TreeDiff:
    """Compares the tree `new` with `old` (None: an empty one).

    A file is changed when its metadata is, or, where it was touched after `made` (ns, by the file
    system's clock), when its contents are: that finds writes which kept size and mtime.
    """

    def __init__(self, new: Path, old: Path | None, *, made: int | None = None) -> None:
        self._new = str(new)
        self._old = str(old) if old else None
        self._made = made

    def changes(self) -> Iterator[Change]:
        for name, kind, _, _ in self._walk("", self._new, self._old, parents=False):
            yield Change("/" + name, kind)

    def write(self, out: BinaryIO) -> None:
        write_items(self._items(), out)

    def _items(self) -> Iterator[_Item]:
        # With the directories above each change: unpacking one touches their times.
        for name, kind, path, status in self._walk("", self._new, self._old, parents=True):
            if kind == ChangeKind.DELETED:
                parent, _, last = name.rpartition("/")
                yield _Item(_marker(parent, last), None, None)
            else:
                yield _Item(name, path, status)

    def _walk(
        self, name: str, new: str, old: str | None, *, parents: bool
    ) -> Iterator[tuple[str, int, str, os.stat_result | None]]:
        before = {child: (path, status) for child, path, status in _listing(old)} if old else {}
        after = {child: (path, status) for child, path, status in _listing(new)}
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
                if self._differs(path, status, *was):
                    yield below, ChangeKind.MODIFIED, path, status
                continue
            inside = was[0] if stat.S_ISDIR(was[1].st_mode) else None
            children = list(self._walk(below, path, inside, parents=parents))
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
        if not same_metadata(status, old) or read_xattrs(path) != read_xattrs(old_path):
            return True
        if stat.S_ISLNK(status.st_mode):
            return os.readlink(path) != os.readlink(old_path)
        touched = self._made is None or status.st_ctime_ns >= self._made
        return stat.S_ISREG(status.st_mode) and touched and not _same_contents(path, old_path)


def write_items(items: Iterator[_Item], out: BinaryIO) -> None:
    """Write a changeset tar: names as given, hard links between its own members kept."""
    tar = TarWriter(out)
    first_names: dict[tuple[int, int], str] = {}
    for item in items:
        if item.source is None or item.status is None:
            tar.add(Entry(item.name, mode=0o600))
            continue
        _write_file(tar, item.name, item.source, item.status, first_names)
    tar.close()


def _write_file(
    tar: TarWriter,
    name: str,
    source: str,
    status: os.stat_result,
    first_names: dict[tuple[int, int], str],
) -> None:
    kind = kind_of(status.st_mode)
    if kind is None:
        return  # a socket means nothing without the process that listens on it
    entry = Entry(
        name,
        kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime=status.st_mtime_ns,
        xattrs=read_xattrs(source) or None,
    )
    if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
        inode = (status.st_dev, status.st_ino)
        if inode in first_names:
            entry.kind, entry.linkname, entry.xattrs = HARDLINK, first_names[inode], None
            tar.add(entry)
            return
        first_names[inode] = name
    if kind == SYMLINK:
        entry.linkname = os.readlink(source)
    elif kind in (CHARDEV, BLOCKDEV):
        entry.devmajor, entry.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    elif kind == REGULAR:
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            entry.size = os.fstat(fd).st_size
            tar.add_file(entry, fd)
        finally:
            os.close(fd)
        return
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
        for _, path, status in _listing(pending.pop()):
            if status.st_ino in seen:
                continue
            seen.add(status.st_ino)
            used += status.st_blocks * 512
            if stat.S_ISDIR(status.st_mode):
                pending.append(path)
    return Usage(used, len(seen))


def is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(directory: str) -> bool:
    return any(_xattr(directory, name) in (b"y", b"x") for name in _OPAQUE_XATTRS)


def read_xattrs(path: str) -> dict[str, bytes]:
    """The extended attributes that belong to a file's contents, not to overlay or to the host."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    kept = (n for n in names if n.startswith(_KEPT_XATTRS) and not n.startswith(_OVERLAY_XATTRS))
    return {n: value for n in kept if (value := _xattr(path, n)) is not None}


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


def _changes_in(name: str, upper: str, lowers: Sequence[str]) -> Iterator[Change]:
    for child, path, status in _listing(upper):
        below = f"{name}/{child}"
        old, stack = _look_up(child, lowers)
        if is_whiteout(status):
            if old is not None:
                yield Change(below, ChangeKind.DELETED)
            continue
        directory = stat.S_ISDIR(status.st_mode)
        if old is None:
            yield Change(below, ChangeKind.ADDED)
            if directory:
                yield from _changes_in(below, path, ())
            continue
        if not directory:
            yield Change(below, ChangeKind.MODIFIED)
            continue
        opaque = is_opaque(path)
        inside = list(_changes_in(below, path, () if opaque else stack))
        if opaque and stack:
            inside = _hidden(below, path, stack, inside)
        # A directory is in the upper layer as soon as something below it is: that alone is no
        # change, unless its own list of names changed.
        if not same_metadata(status, old) or any(
            change.kind != ChangeKind.MODIFIED for change in inside
        ):
            yield Change(below, ChangeKind.MODIFIED)
        yield from inside


def _hidden(name: str, upper: str, stack: Sequence[str], inside: Sequence[Change]) -> list[Change]:
    """Changes inside an opaque directory: what it hides is deleted, or replaced."""
    own = {child for child, _, _ in _listing(upper)}
    names: set[str] = set()
    for lower in stack:
        names.update(os.listdir(lower))
    visible = {child for child in names if _look_up(child, stack)[0] is not None}
    replaced = {f"{name}/{child}" for child in visible & own}
    found = [
        change._replace(kind=ChangeKind.MODIFIED) if change.path in replaced else change
        for change in inside
    ]
    found += [Change(f"{name}/{child}", ChangeKind.DELETED) for child in visible - own]
    return sorted(found, key=lambda change: change.path.split("/"))


def _look_up(child: str, lowers: Sequence[str]) -> tuple[os.stat_result | None, list[str]]:
    """What overlay shows of a name in merged directories -> (stat, directories that merge)."""
    found: os.stat_result | None = None
    stack: list[str] = []
    for lower in lowers:
        path = f"{lower}/{child}"
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if is_whiteout(status):
            break
        directory = stat.S_ISDIR(status.st_mode)
        if found is None:
            found = status
            if not directory:
                break
        elif not directory:
            break
        stack.append(path)
        if is_opaque(path):
            break
    return found, stack


def _listing(directory: str) -> list[tuple[str, str, os.stat_result]]:
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


def _xattr(path: str, name: str) -> bytes | None:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP, errno.EPERM):
            return None
        raise


def _same_contents(one: str, two: str) -> bool:
    with open(one, "rb") as first, open(two, "rb") as second:
        while True:
            piece = first.read(1 << 18)
            if piece != second.read(1 << 18):
                return False
            if not piece:
                return True


def _marker(parent: str, child: str) -> str:
    name = WHITEOUT_PREFIX + child
    return f"{parent}/{name}" if parent else name
