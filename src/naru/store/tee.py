"""A stream that is kept while somebody reads it."""

from __future__ import annotations

from typing import BinaryIO, Final

from naru.kernel.writeback import Writeback

_COPY: Final = 1 << 20


class Tee:
    """Reads `source`, and writes all that passes to `copy`."""

    def __init__(self, source: BinaryIO, copy: BinaryIO) -> None:
        self._read = getattr(source, "read1", None) or source.read
        self._copy = copy
        self._size = 0
        self._writeback = Writeback(copy.fileno())

    def read(self, size: int = _COPY) -> bytes:
        piece: bytes = self._read(size if size > 0 else _COPY)
        self._copy.write(piece)
        self._size += len(piece)
        self._writeback.wrote(self._size)
        return piece

    def drain(self) -> None:
        while self.read():
            pass
