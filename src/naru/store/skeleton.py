"""What of a layer's tar is not in the unpacked layer, so that the very tar can be written again.

A layer that is unpacked holds the contents of its files; its skeleton holds the rest: headers,
padding, end marker, and for each file where its contents go. That is a hundredth of the tar, where
a compressed copy of the layer would be a third. Where the tar names a file twice, the first one's
contents are in no file in the end: of such a tar a deflated copy is kept.

    tar-skeleton = magic, size of the tar | deflated: (raw size, name size, file size, raw, name)*
    tar-whole    = magic, size of the tar | deflated tar

A name is the file's, relative to the layer's directory; without a name there is only `raw`.
"""

from __future__ import annotations

import io
import os
import stat
import struct
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from naru.spec.errors import InternalError
from naru.store.compression import GzipWriter, Inflated
from naru.store.directories import Directories

SKELETON: Final = "tar-skeleton"
WHOLE: Final = "tar-whole"
_MAGIC = b"narutar1"
_HEAD = struct.Struct("<8sQ")
_RECORD = struct.Struct("<IIQ")
_PIECE = 1 << 20


class TarKeeper:
    """Stands between a tar and the `Extractor` whose witness it is; left, `home` holds it all."""

    def __init__(self, source: BinaryIO, home: Path, tree: Path) -> None:
        """`tree` is where the tar is unpacked."""
        self._read = getattr(source, "read1", None) or source.read
        self._home = home
        self._tree = tree
        self._out = _Deflated(home / SKELETON)
        self._whole: _Deflated | None = None
        self._waiting: deque[bytes] = deque()  # what was read from `_waits_from` on
        self._waits_from = 0
        self._at = 0  # before it all is known to be contents or not
        self._end = 0  # of what was read
        self._skip_to = 0  # what lies before it are contents

    def __enter__(self) -> TarKeeper:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            while self.read():
                pass
            self._rest()
        self._out.close(self._end)
        if self._whole is not None:
            self._whole.close(self._end)
            (self._home / SKELETON).unlink()

    def read(self, size: int = -1) -> bytes:
        piece: bytes = self._read(size if size > 0 else _PIECE)
        self._end += len(piece)
        if self._whole is not None:
            self._whole.write(piece)
            return piece
        if piece:
            self._waiting.append(piece)
            if self._at < self._skip_to:
                self._move_to(min(self._skip_to, self._end))
        return piece

    def file(self, offset: int, size: int, name: str) -> None:
        if self._whole is not None:
            return
        first, end = self._waiting[0], offset - self._waits_from
        if end + size < len(first):  # all of it lies in one piece, as with most files
            raw = first[self._at - self._waits_from : end]
            self._at = self._skip_to = offset + size
        else:
            raw = self._take(offset)
            self._skip_to = offset + size
            self._move_to(min(self._skip_to, self._end))
        encoded = name.encode("utf-8", "surrogateescape")
        self._out.write(_RECORD.pack(len(raw), len(encoded), size) + raw + encoded)

    def replacing(self) -> None:
        """From here on the tar is kept whole: what is unpacked by now is still there to be read."""
        if self._whole is not None:
            return
        unread = self._take(self._end)
        self._out.close(self._end)
        whole = _Deflated(self._home / WHOLE)
        for piece in tar_pieces(self._home, self._tree):
            whole.write(piece)
        whole.write(unread)
        self._whole = whole

    def _rest(self) -> None:
        rest = self._take(self._end)
        if rest:
            self._out.write(_RECORD.pack(len(rest), 0, 0) + rest)

    def _take(self, until: int) -> bytes:
        """What was read from where we are until that offset."""
        start, end = self._at - self._waits_from, until - self._waits_from
        if self._waiting and end <= len(self._waiting[0]):
            taken = self._waiting[0][start:end]
        else:
            taken = b"".join(self._waiting)[start:end]
        self._move_to(until)
        return taken

    def _move_to(self, offset: int) -> None:
        self._at = offset
        while self._waiting and self._waits_from + len(self._waiting[0]) <= offset:
            self._waits_from += len(self._waiting.popleft())


class _Deflated:
    """A file of ours; small writes are gathered."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._file.write(_HEAD.pack(_MAGIC, 0))
        self._gzip = GzipWriter(self._file)
        self._gathered = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        self._gathered += data
        if len(self._gathered) >= _PIECE:
            self._flush()

    def _flush(self) -> None:
        self._gzip.write(bytes(self._gathered))
        self._gathered.clear()

    def close(self, size: int) -> None:
        """`size` is the tar's. Idempotent."""
        if self._file.closed:
            return
        self._flush()
        self._gzip.close()
        self._file.seek(0)
        self._file.write(_HEAD.pack(_MAGIC, size))
        self._file.close()


def tar_size(home: Path) -> int | None:
    """Bytes of the tar that a layer came by; None where it was not kept."""
    for name in (SKELETON, WHOLE):
        try:
            with (home / name).open("rb") as file:
                return _head(home, file)
        except FileNotFoundError:
            continue
    return None


def tar_pieces(home: Path, tree: Path) -> Iterator[bytes]:
    """The tar that the layer in `home`, with its files in `tree`, came by.

    The caller verifies its digest: who changed the tree meanwhile is not known here.
    """
    try:
        file = (home / SKELETON).open("rb")
    except FileNotFoundError:
        with (home / WHOLE).open("rb") as file:
            _head(home, file)
            plain = Inflated(file)
            while piece := plain.read(_PIECE):
                yield piece
        return
    directories = Directories(tree, made=_missing)
    try:
        _head(home, file)
        # Many small pieces are joined: each costs whoever takes it.
        gathered = bytearray()
        for piece in _pieces(io.BufferedReader(Inflated(file), _PIECE), directories):
            gathered += piece
            if len(gathered) >= _PIECE:
                yield bytes(gathered)
                gathered.clear()
        yield bytes(gathered)
    finally:
        file.close()
        directories.close()


def _head(home: Path, file: BinaryIO) -> int:
    head = file.read(_HEAD.size)
    magic, size = _HEAD.unpack(head) if len(head) == _HEAD.size else (b"", 0)
    if magic != _MAGIC:
        raise InternalError(f"what is kept of the tar of layer {home.name} is damaged")
    return int(size)


def _pieces(skeleton: BinaryIO, directories: Directories) -> Iterator[bytes]:
    while head := skeleton.read(_RECORD.size):
        raw_size, name_size, size = _RECORD.unpack(head)
        yield skeleton.read(raw_size)
        if name_size:
            name = os.fsdecode(skeleton.read(name_size))
            yield from _contents(directories, name, size)
            directories.close_stale()


def _contents(directories: Directories, name: str, size: int) -> Iterator[bytes]:
    parent, _, last = name.rpartition("/")
    try:
        directory, _ = directories.get(parent)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(last, flags, dir_fd=directory)
    except OSError as error:
        raise InternalError(f"a layer has lost its file {name!r}: {error.strerror}") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            raise InternalError(f"{name!r} of an unpacked layer is not what was unpacked")
        while size:
            piece = os.read(fd, min(size, _PIECE))
            if not piece:
                raise InternalError(f"{name!r} of an unpacked layer was cut")
            size -= len(piece)
            yield piece
    finally:
        os.close(fd)


def _missing(path: str) -> None:
    raise InternalError(f"a layer has lost its directory {path!r}")
