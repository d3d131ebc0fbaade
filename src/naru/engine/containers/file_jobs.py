"""What worker processes do for `docker cp` and `docker export`: trees into tars, tars into trees.

Their descriptors are those of the pipe and of what is read or written to; see `kernel.workers`.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, cast

from naru.engine.containers import tree_archive
from naru.spec.errors import InvalidParameter
from naru.store.compression import Inflated
from naru.store.diff import TreeDiff
from naru.store.extract import Extractor
from naru.store.kind_keeper import KindKeeper
from naru.store.tarentry import ExtractError, TarError

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
    into = KindKeeper if keep_kinds else Extractor
    belongs = None if owner is None else lambda uid, gid: owner
    with open(fds[0], "rb", buffering=0) as source, into(
        f"/proc/self/fd/{fds[1]}", owner=belongs
    ) as extractor:  # fmt: skip
        try:
            extractor.extract(cast(BinaryIO, Inflated(source)))
        except (ExtractError, TarError) as error:
            raise InvalidParameter(str(error)) from error
