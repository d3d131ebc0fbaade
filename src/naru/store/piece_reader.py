"""Pieces as a file that is read: for whoever wants a stream where an iterator is at hand."""

from __future__ import annotations

import io
from collections.abc import Iterable


class PieceReader(io.RawIOBase):
    """`read` gives what is left of a piece, up to `size` bytes of it; never more than one."""

    def __init__(self, pieces: Iterable[bytes | memoryview]) -> None:
        self._pieces = iter(pieces)
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            pieces = []
            while piece := self.read(1 << 20):
                pieces.append(piece)
            return b"".join(pieces)
        while not self._piece:
            following = next(self._pieces, None)
            if following is None:
                return b""
            self._piece = memoryview(following)
        taken, self._piece = self._piece[:size], self._piece[size:]
        return bytes(taken)

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)
