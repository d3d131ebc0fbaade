"""What worker processes do for `docker cp` and `docker export`: trees into tars, tars into trees.

Their descriptors are those of the pipe and of what is read or written to; see `kernel.workers`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, cast

from naru.engine.containers import tree_archive
from naru.spec.errors import InvalidParameter
from naru.store.compression import Inflated
from naru.store.diff import TreeDiff
from naru.store.extract import Extractor
from naru.store.tarentry import DIRECTORY, Entry, ExtractError, TarError

_BUFFER = 1 << 18


def pack(fds: list[int], name: str, still: bool) -> None:
    """Write what the second descriptor (O_PATH) is to the first, as the tar of `name`."""
    with open(fds[0], "wb", buffering=_BUFFER) as out:
        tree_archive.write_tree(fds[1], name, out, still=still)


def pack_root(fds: list[int], root: Path) -> None:
    """Write all that is below `root`."""
    with open(fds[0], "wb", buffering=_BUFFER) as out:
        TreeDiff(root, None).write(out)


def unpack(fds: list[int], keep_kinds: bool, owner: tuple[int, int] | None) -> None:
    """Unpack the tar, compressed or not, that comes from the first into the second."""
    with open(fds[0], "rb", buffering=0) as source, _KindKeeper(
        f"/proc/self/fd/{fds[1]}", keep=keep_kinds, owner=owner
    ) as extractor:  # fmt: skip
        try:
            extractor.extract(cast(BinaryIO, Inflated(source)))
        except (ExtractError, TarError) as error:
            raise InvalidParameter(str(error)) from error


class _KindKeeper(Extractor):
    """Refuses to put a file where a directory is, or a directory where a file is."""

    def __init__(self, root: str, *, keep: bool, owner: tuple[int, int] | None) -> None:
        super().__init__(root, owner=None if owner is None else lambda uid, gid: owner)
        self._keep = keep

    def _replace(self, directory: int, name: str, entry: Entry) -> None:
        """Called when something is in a member's place, unless both are directories."""
        if self._keep:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            is_directory = stat.S_ISDIR(status.st_mode)
            shown = entry.name.rstrip("/")
            if is_directory and entry.kind != DIRECTORY:
                raise InvalidParameter(f'cannot overwrite directory "{shown}" with non-directory')
            if not is_directory and entry.kind == DIRECTORY:
                raise InvalidParameter(f'cannot overwrite non-directory "{shown}" with directory')
        super()._replace(directory, name, entry)
