"""Trees in and out of tar streams for `cp`, by what the daemon does it with."""

from __future__ import annotations

import os
from typing import cast

from naru.cli.failures import CliError
from naru.engine.containers.tree_archive import write_tree
from naru.spec.errors import InvalidParameter
from naru.store.kind_keeper import KindKeeper
from naru.store.piece_reader import PieceReader
from naru.store.tarentry import HARDLINK, Entry, ExtractError, TarError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_PIECE = 1 << 18


class StreamFile(PieceReader):
    """An iterator of bytes as a file; counts what passed."""

    count = 0

    def some(self, size: int) -> bytes:
        data = super().some(size)
        self.count += len(data)
        return data


class _Counted:
    def __init__(self, out: BinaryIO) -> None:
        self._write = out.write
        self.count = 0

    def write(self, data: bytes) -> int:
        self.count += len(data)
        return self._write(data)


def pack(source: str, name: str, out: BinaryIO, *, owners: bool) -> int:
    """Write a tar of `source` (a file or a whole tree) whose root is called `name` -> its bytes.

    `owners`: each file's own; else all of it is root's.
    """
    counted = _Counted(out)
    fd = os.open(source, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        write_tree(fd, name, cast("BinaryIO", counted), owner=None if owners else (0, 0))
    except (BrokenPipeError, ConnectionResetError):
        raise  # the daemon's answer says why
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else source
        raise CliError(f"open {where}: {(error.strerror or str(error)).lower()}") from None
    finally:
        os.close(fd)
    return counted.count


def unpack(stream: StreamFile, target: str, *, rename: tuple[str, str], owners: bool) -> None:
    """Write a tar below `target`, its root `rename[0]` called `rename[1]` (empty: contents only).

    Nothing leaves `target`, whatever names and links the stream has: it comes from a container.
    `owners`: those that the tar names; else whoever runs this.
    """

    def adapt(entry: Entry) -> None:
        entry.name = _renamed(entry.name, *rename)
        if entry.kind == HARDLINK:
            entry.linkname = _renamed(entry.linkname, *rename)

    try:
        with KindKeeper(target, adapt=adapt, owner=None if owners else _as_made) as extractor:
            extractor.extract(stream)  # type: ignore[arg-type]
    except (TarError, ExtractError, InvalidParameter) as error:
        raise CliError(str(error)) from None
    except OSError as error:
        raise CliError(f"{target}: {(error.strerror or str(error)).lower()}") from None
    while stream.read(_PIECE):
        pass  # the padding


def _as_made(uid: int, gid: int) -> tuple[int, int]:
    """What chown(2) takes for no change."""
    return -1, -1


def _renamed(name: str, old: str, new: str) -> str:
    first, slash, rest = name.strip("/").partition("/")
    if first == old or old in ("", ".", "/"):
        first = new if old not in ("", ".", "/") or first in (".", "") else f"{new}/{first}"
    return f"{first}{slash}{rest}".strip("/")
