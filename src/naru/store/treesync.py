"""Make one tree what another is, through the file system's own calls; and say where two differ.

Between two storage drivers the trees are what counts, not how a driver writes them down: files,
modes, owners, xattrs, times in nanoseconds, and which names are one file. Applied to the mounted
layer of any driver, the kernel itself makes the whiteouts, copies and links that this driver needs.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator

from naru.store.diff import same_metadata
from naru.store.removal import remove
from naru.store.room import unmetered
from naru.store.treecopy import TreeCopy, copy_attributes
from naru.store.xattrs import read_xattrs

Tree = dict[str, os.stat_result]
"""What is at each path relative to a root, parents before children; "" is the root."""


def scan(root: str) -> Tree:
    found: Tree = {"": os.lstat(root)}
    pending = [""]
    while pending:
        name = pending.pop()
        with os.scandir(f"{root}/{name}" if name else root) as entries:
            children = sorted(entries, key=lambda entry: entry.name)
        for entry in children:
            path = f"{name}/{entry.name}" if name else entry.name
            found[path] = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(found[path].st_mode):
                pending.append(path)
    return found


class TreeSync:
    """Makes `target` equal to `source`.

    `touched` are relative paths whose contents may differ though nothing else does; that of all
    others is taken as equal where size and time are. `stop` raises to end the work in the middle,
    as `meter` may, which hears of the space that a piece takes before it is written.
    """

    def __init__(
        self,
        source: str,
        target: str,
        touched: Collection[str],
        *,
        stop: Callable[[], None] = lambda: None,
        copied: Callable[[int], None] = lambda size: None,
        meter: Callable[[int], None] = unmetered,
    ) -> None:
        self._source = source
        self._target = target
        self._touched = frozenset(touched)
        self._stop = stop
        self._copied = copied
        self._meter = meter
        self._copy = TreeCopy(meter=meter)

    def __call__(self) -> None:
        source, target = scan(self._source), scan(self._target)
        self._remove(source, target)
        for name, status in source.items():
            self._stop()
            self._entry(name, status, target.get(name))
        self._links(source)
        # Last, and children first: all that was made in a directory has changed its times.
        for name in reversed(source):
            if stat.S_ISDIR(source[name].st_mode):
                self._directory(name, source[name])

    def _remove(self, source: Tree, target: Tree) -> None:
        gone: set[str] = set()
        for name, status in list(target.items()):
            parent = name.rpartition("/")[0]
            if parent in gone:
                gone.add(name)
            elif name not in source or _kind(source[name]) != _kind(status):
                self._stop()
                self._unlink(name)
                gone.add(name)
        for name in gone:
            del target[name]

    def _entry(self, name: str, status: os.stat_result, old: os.stat_result | None) -> None:
        if stat.S_ISDIR(status.st_mode):
            if old is None:
                os.mkdir(self._to(name), 0o700)
        elif old is None or self._differs(name, status, old):
            self._replace(name, status, exists=old is not None)

    def _replace(self, name: str, status: os.stat_result, *, exists: bool) -> None:
        """A new file, never a write into the old one: that may have other names."""
        if exists:
            self._unlink(name)
        source, target = self._from(name), self._to(name)
        if stat.S_ISSOCK(status.st_mode):
            os.mknod(target, stat.S_IFSOCK | 0o600)
            copy_attributes(source, target, status)
            return
        self._copy.entry(source, target, status)
        self._copied(status.st_size)

    def _links(self, source: Tree) -> None:
        """Where the names of one file are several files, or the other way round: make it so."""
        wanted, found = _names(source), _names(scan(self._target))
        right = {frozenset(names) for names in wanted.values()}
        wrong = {
            name for names in found.values() if frozenset(names) not in right for name in names
        }
        for names in wanted.values():
            if not wrong.isdisjoint(names):
                self._stop()
                self._unlink(names[0])
                self._single(names[0], source[names[0]])
                for name in names[1:]:
                    self._unlink(name)
                    os.link(self._to(names[0]), self._to(name), follow_symlinks=False)

    def _single(self, name: str, status: os.stat_result) -> None:
        self._copy = TreeCopy(meter=self._meter)  # it must not link to what was made before
        self._replace(name, status, exists=False)

    def _directory(self, name: str, status: os.stat_result) -> None:
        source, target = self._from(name), self._to(name)
        if same_metadata(status, os.lstat(target)):
            old = read_xattrs(target)
            if read_xattrs(source) == old:
                return
        else:
            old = read_xattrs(target)
        for extra in old.keys() - read_xattrs(source).keys():
            os.removexattr(target, extra)
        copy_attributes(source, target, status)

    def _differs(self, name: str, status: os.stat_result, old: os.stat_result) -> bool:
        return bool(_difference(self._from(name), status, self._to(name), old)) or (
            name in self._touched
            and stat.S_ISREG(status.st_mode)
            and digest(self._from(name)) != digest(self._to(name))
        )

    def _unlink(self, name: str) -> None:
        parent, _, last = name.rpartition("/")
        directory = os.open(self._to(parent), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            remove(directory, last)
        finally:
            os.close(directory)

    def _from(self, name: str) -> str:
        return f"{self._source}/{name}" if name else self._source

    def _to(self, name: str) -> str:
        return f"{self._target}/{name}" if name else self._target


def differences(source: str, target: str, touched: Collection[str] | None = None) -> Iterator[str]:
    """Every way in which two trees are not the same, as text.

    Contents are compared by digest of the files in `touched`; None is all of them.
    """
    one, two = scan(source), scan(target)
    for name in one.keys() - two.keys():
        yield f"/{name}: missing"
    for name in two.keys() - one.keys():
        yield f"/{name}: should not be there"
    for name in one.keys() & two.keys():
        left, right = f"{source}/{name}", f"{target}/{name}"
        what = _difference(left, one[name], right, two[name])
        if what:
            yield f"/{name}: {what}"
        elif (
            stat.S_ISREG(one[name].st_mode)
            and (touched is None or name in touched)
            and digest(left) != digest(right)
        ):
            yield f"/{name}: contents"
    here = {frozenset(names) for names in _names(one).values() if len(names) > 1}
    there = {frozenset(names) for names in _names(two).values() if len(names) > 1}
    for names in here ^ there:
        yield f"{', '.join('/' + name for name in sorted(names))}: hard links"


def digest(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _difference(one: str, status: os.stat_result, two: str, other: os.stat_result) -> str:
    """What is not the same of two entries, their contents aside; "" for nothing."""
    if _kind(status) != _kind(other):
        return "kind"
    if not same_metadata(status, other):
        return "metadata: " + ", ".join(_unequal(status, other))
    if stat.S_ISLNK(status.st_mode) and os.readlink(one) != os.readlink(two):
        return "link"
    if read_xattrs(one) != read_xattrs(two):
        return "extended attributes"
    return ""


def _unequal(one: os.stat_result, two: os.stat_result) -> Iterator[str]:
    for field in ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_rdev"):
        if getattr(one, field) != getattr(two, field):
            yield f"{field[3:]} {getattr(one, field)} and {getattr(two, field)}"


def _kind(status: os.stat_result) -> int:
    return stat.S_IFMT(status.st_mode)


def _names(tree: Tree) -> dict[tuple[int, int], list[str]]:
    """The names of each file that is no directory."""
    found: dict[tuple[int, int], list[str]] = defaultdict(list)
    for name, status in tree.items():
        if not stat.S_ISDIR(status.st_mode):
            found[status.st_dev, status.st_ino].append(name)
    return found


def touched_paths(paths: Collection[str]) -> set[str]:
    """Relative paths of absolute ones, as a driver names changes."""
    return {path.removeprefix("/") for path in paths}
