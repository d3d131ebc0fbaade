"""The plain bytes as far as they are needed, and what a predictor knows of them.

Positions are those in the whole of the plain bytes; the kernels get indices of `data` instead.
"""

from __future__ import annotations

import numpy as np

from naru.store.deflate.bits import Bytes
from naru.store.deflate.chains import HASHES, WINDOW, insert, slide
from naru.store.deflate.corrections import LARGEST, PADDING, correct, corrected
from naru.store.deflate.notes import Note
from naru.store.deflate.predict import PREDICTORS
from naru.store.deflate.tokens import LONGEST_MATCH

ROOM = 1 << 20
"""Plain bytes of a note, at most, but for the last match."""
_SIZE = 4 * ROOM


class Window:
    def __init__(self, predictor: str) -> None:
        self.rules = PREDICTORS[predictor]
        self.data: Bytes = np.zeros(_SIZE, np.uint8)
        self.base = 0  # the position of data[0]
        self.end = 0  # the position behind the last byte that is here
        self.first = 0  # where the compressor began
        self._head = np.full(HASHES, -1, np.int32)
        self._before = np.full(WINDOW, -1, np.int32)
        self._ahead = np.zeros(2, np.int64)
        """Whether a search was made for the position behind the last token, and what it found."""

    def begin(self, position: int) -> None:
        """A compressor that knows nothing begins there."""
        self.first = position
        self._head[:] = -1
        self._ahead[:] = 0

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
        slide(self._head, self._before, by)

    def append(self, data: bytes | memoryview) -> None:
        at = self.end - self.base
        self.data[at : at + len(data)] = np.frombuffer(data, np.uint8)
        self.end += len(data)

    def span(self, position: int, size: int) -> Bytes:
        at = position - self.base
        return self.data[at : at + size]

    def pass_over(self, position: int, note: Note) -> None:
        """What was stored without a search can be found by later ones."""
        at, end = position - self.base, position + note.length + note.ahead - self.base
        begin = at + int(self._ahead[0])
        insert(self.data, self._head, self._before, begin, min(at + note.length, end - 3))
        self._ahead[:] = 0

    def correct(self, position: int, note: Note, tokens: np.typing.NDArray[np.int32]) -> bytes:
        out = np.zeros(LARGEST * note.count, np.uint8)
        size = correct(
            self.rules, self.data, self._head, self._before, self._ahead, position - self.base,
            self.first - self.base, position + note.length + note.ahead - self.base, tokens,
            note.count, out,
        )  # fmt: skip
        return out[:size].tobytes()

    def corrected(self, position: int, note: Note, tokens: np.typing.NDArray[np.int32]) -> bool:
        """Fill in the tokens -> whether they stand for the bytes that they should."""
        data = np.frombuffer(note.corrections + bytes(PADDING), np.uint8)
        end = corrected(
            self.rules, self.data, self._head, self._before, self._ahead, position - self.base,
            self.first - self.base, position + note.length + note.ahead - self.base, tokens,
            note.count, data,
        )  # fmt: skip
        return bool(end == position + note.length - self.base)


assert 2 * WINDOW + 2 * (ROOM + LONGEST_MATCH) < _SIZE
