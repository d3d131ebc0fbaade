"""Deleting trees that somebody else made: of any depth, and never through a link."""

from __future__ import annotations

import contextlib
import os
import shutil

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(directory: int, name: str) -> None:
    """Delete an entry of an open directory with all below it; one that is not there is no error."""
    with contextlib.suppress(FileNotFoundError):
        try:
            os.unlink(name, dir_fd=directory)
        except IsADirectoryError:
            try:
                shutil.rmtree(name, dir_fd=directory)
            except RecursionError:
                _remove_deep(directory, name)


def remove_tree(path: str | os.PathLike[str]) -> None:
    """Like `shutil.rmtree`, also of trees that are deeper than Python's stack."""
    parent = os.open(os.path.dirname(os.path.abspath(path)), _FLAGS)
    try:
        remove(parent, os.path.basename(os.path.abspath(path)))
    finally:
        os.close(parent)


def _remove_deep(directory: int, name: str) -> None:
    """Move every directory up below the top before it is emptied: no depth, no stack."""
    top = os.open(name, _FLAGS, dir_fd=directory)
    moved = 0
    try:
        while names := os.listdir(top):
            for entry in names:
                try:
                    os.unlink(entry, dir_fd=top)
                    continue
                except IsADirectoryError:
                    inner = os.open(entry, _FLAGS, dir_fd=top)
                try:
                    for child in os.listdir(inner):
                        try:
                            os.unlink(child, dir_fd=inner)
                        except IsADirectoryError:
                            moved = _move(child, inner, top, moved)
                finally:
                    os.close(inner)
                os.rmdir(entry, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=directory)


def _move(child: str, inner: int, top: int, moved: int) -> int:
    while True:
        moved += 1
        name = f".removed-{moved}"
        try:
            os.stat(name, dir_fd=top, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(child, name, src_dir_fd=inner, dst_dir_fd=top)
            return moved
