"""aufs for kernels that have none: its mount options are read as it reads them, the union is an
overlay of translated branches, and what is written to it is translated back when it ends.

It refuses what aufs refuses (more than a page of options, more than 127 branches, branches inside
each other, an xino file that is there or lies on a branch), so a driver's mounts are tried for
what they say. What only a real aufs does, such as its inode numbers and its locks, it cannot show.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import NamedTuple

from naru.kernel import mounts
from naru.kernel.mount_options import MS_RDONLY, MS_REMOUNT, parse_options
from naru.kernel.mounts import Mount
from naru.store.drivers.probe import filesystem_type
from naru.store.removal import remove
from naru.store.treecopy import copy_attributes

_OPAQUE, _PREFIX, _BOOKKEEPING = ".wh..wh..opq", ".wh.", ".wh..wh."
_OPAQUE_XATTR = "trusted.overlay.opaque"
_KNOWN = ("dio", "noplink", "dirperm1")
_MOST = 127


class Branch(NamedTuple):
    path: str
    mode: str


class Union(NamedTuple):
    branches: list[Branch]
    flags: int
    place: str  # of its translated branches


class FakeAufs:
    """`mount` and `unmount` in the place of those of kernel/mounts; the others' pass through."""

    def __init__(self, scratch: Path) -> None:
        """`scratch` is on the file system of the branches."""
        self._scratch = scratch
        self._unions: dict[str, Union] = {}
        self.pages: list[str] = []
        """Every option page, as the kernel would get it."""

    def mount(self, m: Mount) -> None:
        if m.type != "aufs":
            mounts.mount(m)
            return
        parsed = parse_options(m.options)
        page = ",".join(parsed.data)
        self.pages.append(page)
        _unless(len(os.fsencode(page)) < os.sysconf("SC_PAGE_SIZE"), "cut off")
        if parsed.flags & MS_REMOUNT:
            old = self._unions[str(m.target)]
            mounts.unmount(m.target, detach=False)
            branches = [*old.branches, *_appended(page.split(","))]
        else:
            branches = _branches(page.split(","))
        _unless(len(branches) <= _MOST, "number of branches exceeded", errno.ENOSPC)
        for one in branches:
            for other in branches:
                inside = (one.path + "/").startswith(other.path + "/")
                _unless(one is other or not inside, f"{one.path} is overlapped")
        self._show(m.target, branches, parsed.flags & MS_RDONLY)

    def unmount(self, target: Path, detach: bool = True) -> None:
        mounts.unmount(target, detach)
        union = self._unions.pop(str(target), None)
        if union is None:
            return
        if union.branches[0].mode == "rw":
            top = union.branches[0].path
            _empty(top)
            _from_overlay(f"{union.place}/0", top)
            for name in ("aufs", "plnk", "orph"):  # as aufs leaves them
                Path(top, _BOOKKEEPING + name).touch()
        _empty(union.place)
        os.rmdir(union.place)

    def _show(self, target: Path, branches: list[Branch], flags: int) -> None:
        place = tempfile.mkdtemp(dir=self._scratch)
        places = [f"{place}/{number}" for number in range(len(branches) + 1)]
        for (path, _), directory in zip(branches, places, strict=False):
            os.mkdir(directory)
            _to_overlay(path, directory)
        os.mkdir(places[-1])  # so that there is one below
        work = f"{place}/work"
        os.mkdir(work)
        own = [f"upperdir={places[0]}", f"workdir={work}", "index=off", "metacopy=off"]
        writable = branches[0].mode == "rw" and not flags
        lowers = places[1:] if writable else places
        options = [f"lowerdir+={directory}" for directory in lowers]
        options += own if writable else []
        mounts.mount(Mount("overlay", "overlay", target, options))
        self._unions[str(target)] = Union(branches, flags, place)


def _branches(data: list[str]) -> list[Branch]:
    first, *options = data
    _unless(first.startswith("br:"), f"no branches in {first}")
    for option in options:
        key, _, value = option.partition("=")
        _unless(key in _KNOWN or key == "xino", f"unknown option {option}")
        if key == "xino":
            _unless(
                filesystem_type(Path(value).parent) == "tmpfs", f"xino does not support {value}"
            )
            os.close(os.open(value, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            os.unlink(value)
    found = [_branch(text) for text in first.removeprefix("br:").split(":")]
    _unless(all(branch.mode == "ro+wh" for branch in found[1:]), "several writable branches")
    return found


def _appended(data: list[str]) -> list[Branch]:
    for option in data:
        _unless(option.startswith("append:"), f"unknown option {option}")
    return [_branch(option.removeprefix("append:")) for option in data]


def _branch(text: str) -> Branch:
    path, _, mode = text.partition("=")
    _unless(mode in ("rw", "ro+wh"), f"unknown branch mode {mode}")
    _unless(os.path.isdir(path), f"lookup failed {path}")
    return Branch(path, mode)


def _unless(true: bool, why: str, number: int = errno.EINVAL) -> None:
    if not true:
        raise OSError(number, f"aufs: {why}")


def _empty(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in os.listdir(fd):
            remove(fd, name)
    finally:
        os.close(fd)


def _to_overlay(source: str, target: str) -> None:
    for entry in os.scandir(source):
        place = f"{target}/{entry.name}"
        if entry.name == _OPAQUE:
            os.setxattr(target, _OPAQUE_XATTR, b"y")
        elif entry.name.startswith(_BOOKKEEPING):
            continue
        elif entry.name.startswith(_PREFIX):
            os.mknod(f"{target}/{entry.name.removeprefix(_PREFIX)}", stat.S_IFCHR, 0)
        elif entry.is_dir(follow_symlinks=False):
            os.mkdir(place)
            _to_overlay(entry.path, place)
        else:
            os.link(entry.path, place, follow_symlinks=False)
    copy_attributes(source, target, os.lstat(source))


def _from_overlay(source: str, target: str) -> None:
    for entry in os.scandir(source):
        place = f"{target}/{entry.name}"
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            Path(target, _PREFIX + entry.name).touch()
        elif entry.is_dir(follow_symlinks=False):
            os.mkdir(place)
            _from_overlay(entry.path, place)
        else:
            os.link(entry.path, place, follow_symlinks=False)
    if _OPAQUE_XATTR in os.listxattr(source):
        Path(target, _OPAQUE).touch()
        os.removexattr(source, _OPAQUE_XATTR)
    for name in os.listxattr(source):
        if name.startswith("trusted.overlay."):
            os.removexattr(source, name)
    copy_attributes(source, target, os.lstat(source))
