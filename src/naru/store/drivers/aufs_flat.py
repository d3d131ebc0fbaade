"""The tree that a stack of aufs branches shows, as hard links: one branch in the place of many."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from naru.store.removal import remove
from naru.store.treecopy import copy_attributes
from naru.store.whiteouts import METADATA_PREFIX, OPAQUE, PREFIX
from naru.store.xattrs import read_xattrs

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def flatten(branches: Sequence[Path], target: Path) -> None:
    """Fill the empty directory `target` with what `branches`, topmost first, show together.

    It costs directories and names; the files are those of the branches, which nobody may change.
    """
    for branch in reversed(branches):
        _lay(str(branch), str(target))


def _lay(branch: str, target: str) -> None:
    """Put one more branch on top of what `target` shows."""
    with os.scandir(branch) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    with _opened(target) as directory:
        names = {entry.name for entry in entries}
        if OPAQUE in names:
            for name in os.listdir(directory):
                remove(directory, name)
        for name in names:
            if name.startswith(PREFIX) and not name.startswith(METADATA_PREFIX):
                remove(directory, name.removeprefix(PREFIX))
        for entry in entries:
            if entry.name.startswith(PREFIX):
                continue
            if entry.is_dir(follow_symlinks=False):
                _make_directory(directory, entry.name)
                _lay(entry.path, f"{target}/{entry.name}")
            else:
                remove(directory, entry.name)
                os.link(entry.path, entry.name, dst_dir_fd=directory, follow_symlinks=False)
    _drop_other_xattrs(branch, target)
    # Last: making the entries has changed its times.
    copy_attributes(branch, target, os.lstat(branch))


def _make_directory(directory: int, name: str) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=directory)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            remove(directory, name)
            os.mkdir(name, 0o700, dir_fd=directory)


def _drop_other_xattrs(branch: str, target: str) -> None:
    for name in read_xattrs(target).keys() - read_xattrs(branch).keys():
        os.removexattr(target, name, follow_symlinks=False)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, _DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)
