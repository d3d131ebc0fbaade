"""What the topmost layer of a union says that it changes: by marks on its own directory.

The marks differ: overlayfs hides a name by a character device 0/0 and a directory's past by an
xattr, aufs does both by files of special names, and fuse-overlayfs may do either.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from naru.store.diff import Item, listing, marker, same_metadata, write_items
from naru.store.driver import Change, ChangeKind
from naru.store.treecopy import copy_root_attributes
from naru.store.whiteouts import METADATA_PREFIX, OPAQUE, PREFIX
from naru.store.xattrs import OPAQUE_XATTR, USER_OPAQUE_XATTR, read_xattr

_OPAQUE_XATTRS = (OPAQUE_XATTR, USER_OPAQUE_XATTR)
_FUSE_OPAQUE_XATTR = "user.fuseoverlayfs.opaque"


class Marks(Protocol):
    """How a union file system writes down what a layer hides."""

    def hides(self, name: str, status: os.stat_result) -> str | None:
        """The name that this entry hides, if it is a whiteout."""

    def internal(self, name: str) -> bool:
        """Whether the entry is bookkeeping, no whiteout and no file of the layer."""

    def opaque(self, directory: str) -> bool:
        """Whether nothing of the directory in the layers below is seen."""

    def whiteout(self, name: str) -> str | None:
        """The entry of another layer that would hide `name`, where that is a name of its own."""


class OverlayMarks:
    def hides(self, name: str, status: os.stat_result) -> str | None:
        return name if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0 else None

    def internal(self, name: str) -> bool:
        return False

    def opaque(self, directory: str) -> bool:
        return any(read_xattr(directory, name) in (b"y", b"x") for name in _OPAQUE_XATTRS)

    def whiteout(self, name: str) -> str | None:
        return None


class AufsMarks:
    def hides(self, name: str, status: os.stat_result) -> str | None:
        return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None

    def internal(self, name: str) -> bool:
        return name.startswith(METADATA_PREFIX)

    def opaque(self, directory: str) -> bool:
        return os.path.lexists(f"{directory}/{OPAQUE}")

    def whiteout(self, name: str) -> str | None:
        return PREFIX + name


class FuseOverlayMarks(AufsMarks):
    def hides(self, name: str, status: os.stat_result) -> str | None:
        return OverlayMarks().hides(name, status) or super().hides(name, status)

    def opaque(self, directory: str) -> bool:
        return (
            super().opaque(directory)
            or OverlayMarks().opaque(directory)
            or read_xattr(directory, _FUSE_OPAQUE_XATTR) == b"y"
        )


class UpperDiff:
    """Reads `upper` as the topmost of union layers; `lowers` is topmost first."""

    def __init__(self, upper: Path, lowers: Sequence[Path], marks: Marks | None = None) -> None:
        self._upper = str(upper)
        self._lowers = [str(lower) for lower in lowers]
        self._marks = marks or OverlayMarks()

    def changes(self) -> Iterator[Change]:
        yield from self._changes("", self._upper, self._lowers)

    def write(self, out: BinaryIO) -> None:
        write_items(self._items("", self._upper), out)

    def adopt(self, directories: Iterable[str]) -> None:
        """Give directories of the upper layer the attributes that they have in those below.

        For an archive that holds files without their directories: it means to change the files.
        """
        for name in sorted(directories):
            if (lower := self.below(name)) is not None:
                copy_root_attributes(lower, Path(self._upper, name))

    def below(self, name: str) -> Path | None:
        """The directory that the layers below show at a path relative to the root, no link's."""
        stack: Sequence[str] = self._lowers
        for part in name.split("/"):
            status, stack = self._look_up(part, stack)
            if status is None or not stack:
                return None
        return Path(stack[0])

    def _items(self, name: str, directory: str) -> Iterator[Item]:
        for child, path, status in self._listing(directory):
            below = f"{name}/{child}" if name else child
            if (hidden := self._marks.hides(child, status)) is not None:
                yield Item(marker(name, hidden), None, None)
                continue
            yield Item(below, path, status)
            if stat.S_ISDIR(status.st_mode):
                if self._marks.opaque(path):
                    yield Item(f"{below}/{OPAQUE}", None, None)
                yield from self._items(below, path)

    def _changes(self, name: str, upper: str, lowers: Sequence[str]) -> Iterator[Change]:
        found: list[tuple[str, list[Change]]] = []
        for child, path, status in self._listing(upper):
            hidden = self._marks.hides(child, status)
            if hidden is None:
                found.append((child, list(self._changed(f"{name}/{child}", path, status, lowers))))
            elif self._look_up(hidden, lowers)[0] is not None:
                found.append((hidden, [Change(f"{name}/{hidden}", ChangeKind.DELETED)]))
        for _, changes in sorted(found, key=lambda pair: pair[0]):
            yield from changes

    def _changed(
        self, name: str, path: str, status: os.stat_result, lowers: Sequence[str]
    ) -> Iterator[Change]:
        """The change that an entry of the upper layer is, and those below it."""
        old, stack = self._look_up(name.rpartition("/")[2], lowers)
        directory = stat.S_ISDIR(status.st_mode)
        if old is None or not directory:
            yield Change(name, ChangeKind.ADDED if old is None else ChangeKind.MODIFIED)
            if directory:
                yield from self._changes(name, path, ())
            return
        opaque = self._marks.opaque(path)
        inside = list(self._changes(name, path, () if opaque else stack))
        if opaque and stack:
            inside = self._hidden(name, path, stack, inside)
        # A directory is in the upper layer as soon as something below it is: that alone is no
        # change, unless its own list of names changed.
        if not same_metadata(status, old) or any(
            change.kind != ChangeKind.MODIFIED for change in inside
        ):
            yield Change(name, ChangeKind.MODIFIED)
        yield from inside

    def _hidden(
        self, name: str, upper: str, stack: Sequence[str], inside: Sequence[Change]
    ) -> list[Change]:
        """Changes inside an opaque directory: what it hides is deleted, or replaced."""
        own = {child for child, _, _ in self._listing(upper)}
        names: set[str] = set()
        for lower in stack:
            names.update(child for child, _, _ in self._listing(lower))
        visible = {child for child in names if self._look_up(child, stack)[0] is not None}
        replaced = {f"{name}/{child}" for child in visible & own}
        found = [
            change._replace(kind=ChangeKind.MODIFIED) if change.path in replaced else change
            for change in inside
        ]
        found += [Change(f"{name}/{child}", ChangeKind.DELETED) for child in visible - own]
        return sorted(found, key=lambda change: change.path.split("/"))

    def _look_up(
        self, child: str, lowers: Sequence[str]
    ) -> tuple[os.stat_result | None, list[str]]:
        """What the union shows of a name -> (its stat, the directories that merge in it)."""
        found: os.stat_result | None = None
        stack: list[str] = []
        for lower in lowers:
            whiteout = self._marks.whiteout(child)
            if whiteout is not None and os.path.lexists(f"{lower}/{whiteout}"):
                break
            path = f"{lower}/{child}"
            try:
                status = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if self._marks.hides(child, status) is not None:
                break
            directory = stat.S_ISDIR(status.st_mode)
            if found is None:
                found = status
                if not directory:
                    break
            elif not directory:
                break
            stack.append(path)
            if self._marks.opaque(path):
                break
        return found, stack

    def _listing(self, directory: str) -> list[tuple[str, str, os.stat_result]]:
        return [item for item in listing(directory) if not self._marks.internal(item[0])]
