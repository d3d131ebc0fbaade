"""The plain bytes as far as they are needed, and what a predictor knows of them.

Positions are those in the whole of the plain bytes; a matcher gets indices of `data` instead.
"""

from __future__ import annotations

import numpy as np

from naru.store.deflate.bits import Bytes, Ints
from naru.store.deflate.chains import WINDOW
from naru.store.deflate.matchers import LAG, matcher
from naru.store.deflate.notes import STORED, Note
from naru.store.deflate.tokens import LONGEST_MATCH

ROOM = 1 << 20
"""Plain bytes of a note, at most, but for the last match."""
_SIZE = 4 * ROOM


class Window:
    def __init__(self, predictor: str) -> None:
        """`KeyError` for an unknown predictor."""
        self._matcher = matcher(predictor, _SIZE)
        self.ahead = self._matcher.ahead
        self.flushes = self._matcher.flushes
        self.data: Bytes = np.zeros(_SIZE, np.uint8)
        self.base = 0  # the position of data[0]
        self.end = 0  # the position behind the last byte that is here
        self.first = 0  # where the gzip member began

    def begin(self, position: int) -> None:
        """A compressor that knows nothing begins there."""
        self.first = position
        self._matcher.begin(position - self.base)

    def make_room(self, size: int, kept: int) -> None:
        """Have room for `size` bytes more; what is needed for `kept` and behind it stays."""
        if self.end + size <= self.base + _SIZE:
            return
        by = (kept - self.base) // WINDOW * WINDOW - 2 * WINDOW
        length = self.end - self.base - by
        assert by > 0
        assert length + size <= _SIZE
        self.data[:length] = self.data[by : by + length].copy()
        self.base += by
        self._matcher.slide(by)

    def append(self, data: bytes | memoryview) -> None:
        at = self.end - self.base
        self.data[at : at + len(data)] = np.frombuffer(data, np.uint8)
        self.end += len(data)

    def span(self, position: int, size: int) -> Bytes:
        at = position - self.base
        return self.data[at : at + size]

    def pass_over(self, position: int, note: Note) -> None:
        """What was stored, nobody needs to predict; nothing at all is a flush."""
        at, stop, end = self._indices(position, note)
        self._matcher.pass_over(self.data, at, stop, end)
        if is_flush(note):
            self._matcher.flush(self.data, at)

    def correct(self, position: int, note: Note, tokens: Ints) -> bytes:
        return self._matcher.correct(self.data, *self._indices(position, note), tokens)

    def corrected(self, position: int, note: Note, tokens: Ints) -> bool:
        """Fill in the tokens -> whether they stand for the bytes that they should."""
        at, stop, end = self._indices(position, note)
        tokens = tokens[: note.count]
        found = self._matcher.corrected(self.data, at, stop, end, tokens, note.corrections)
        return found == stop

    def _indices(self, position: int, note: Note) -> tuple[int, int, int]:
        at = position - self.base
        return at, at + note.length, at + note.length + note.ahead


def is_flush(note: Note) -> bool:
    return note.kind == STORED and not note.length and not note.final


assert 3 * WINDOW + 2 * (ROOM + LONGEST_MATCH) + LAG < _SIZE
