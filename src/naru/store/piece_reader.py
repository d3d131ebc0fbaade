"""Pieces as a file that is read: for whoever wants a stream where an iterator is at hand."""

from __future__ import annotations

from collections.abc import Iterable

from naru.store.raw_reader import RawReader


class PieceReader(RawReader):
    """`read` gives what is left of a piece, up to `size` bytes of it; never more than one."""

    def __init__(self, pieces: Iterable[bytes | memoryview]) -> None:
        self._pieces = iter(pieces)
        self._piece = memoryview(b"")

    def some(self, size: int) -> bytes:
        while not self._piece:
            following = next(self._pieces, None)
            if following is None:
                return b""
            self._piece = memoryview(following)
        taken, self._piece = self._piece[:size], self._piece[size:]
        return bytes(taken)
