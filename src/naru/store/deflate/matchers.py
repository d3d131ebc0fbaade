"""The compressors whose choice of tokens can be predicted, and what they know of the plain bytes.

A matcher is told of all positions in their order, as indices of the plain bytes; `end` is where
these end, or as far behind the last token of a note as its `ahead` says. What it predicts depends
on the plain bytes alone, and never on what was found to be wrong.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from naru.store.deflate import chunks, fastest
from naru.store.deflate.bits import Bytes, Ints
from naru.store.deflate.chains import HASHES, WINDOW, insert, slide
from naru.store.deflate.corrections import (
    LARGEST,
    PADDING,
    correct,
    correct_guessed,
    corrected,
    corrected_guessed,
)
from naru.store.deflate.predict import AHEAD, GO
from naru.store.deflate.tokens import LONGEST_MATCH

_DICTIONARY = 16384
"""Bytes that a chunk after a flush of pgzip knows of those before."""


class Matcher(Protocol):
    ahead: int
    """Bytes behind a note that it looks at."""
    flushes: bool
    """Whether it knows beforehand of a flush, and begins anew behind it."""

    def begin(self, at: int) -> None:
        """A compressor that knows nothing begins there."""

    def flush(self, plain: Bytes, at: int) -> None: ...

    def slide(self, by: int) -> None:
        """The plain bytes have moved down."""

    def pass_over(self, plain: Bytes, at: int, stop: int, end: int) -> None:
        """What is stored from `at` to `stop` can be found by later searches."""

    def correct(self, plain: Bytes, at: int, stop: int, end: int, tokens: Ints) -> bytes:
        """Corrections for these tokens, which go from `at` to `stop`."""

    def corrected(
        self, plain: Bytes, at: int, stop: int, end: int, tokens: Ints, corrections: bytes
    ) -> int:
        """Fill in the tokens by their corrections -> where they stop, or -1."""


def matcher(predictor: str, size: int) -> Matcher:
    """By its name, for `size` plain bytes at once; `KeyError` for an unknown one."""
    if predictor in chunks.KLAUSPOST:
        return Pgzip(chunks.KLAUSPOST[predictor], size)
    if predictor == "go-1":
        return BestSpeed(size)
    return Lazy(GO[predictor])


PREDICTORS: Final = ("go-6", "klauspost-5c", "go-1", *(name for name in GO if name != "go-6"),
                     "klauspost-5b", "klauspost-5a")  # fmt: skip
"""All of them, the most frequent ones first."""


class Lazy:
    """Go's compress/flate, levels 4 to 9."""

    ahead = AHEAD
    flushes = False

    def __init__(self, rules: np.typing.NDArray[np.int64]) -> None:
        self._rules = rules
        self._first = 0
        self._head = np.full(HASHES, -1, np.int32)
        self._before = np.full(WINDOW, -1, np.int32)
        self._next = np.zeros(2, np.int64)
        """Whether a search was made for the position behind the last token, and what it found."""

    def begin(self, at: int) -> None:
        self._first = at
        self._head[:] = -1
        self._next[:] = 0

    def flush(self, plain: Bytes, at: int) -> None:
        """It goes on with what it knows."""

    def slide(self, by: int) -> None:
        self._first -= by
        slide(self._head, by)
        slide(self._before, by)

    def pass_over(self, plain: Bytes, at: int, stop: int, end: int) -> None:
        begin = at + int(self._next[0])
        insert(plain, self._head, self._before, begin, min(stop, end - 3))
        if stop > at:
            self._next[:] = 0

    def correct(self, plain: Bytes, at: int, stop: int, end: int, tokens: Ints) -> bytes:
        out = np.zeros(LARGEST * tokens.size, np.uint8)
        size = correct(
            self._rules, plain, self._head, self._before, self._next, at, self._first, end, tokens,
            tokens.size, out,
        )  # fmt: skip
        return out[:size].tobytes()

    def corrected(
        self, plain: Bytes, at: int, stop: int, end: int, tokens: Ints, corrections: bytes
    ) -> int:
        data = np.frombuffer(corrections + bytes(PADDING), np.uint8)
        return int(
            corrected(
                self._rules, plain, self._head, self._before, self._next, at, self._first, end,
                tokens, tokens.size, data,
            )
        )  # fmt: skip


class _Chunked:
    """One that takes chunks, and may guess all tokens of one before they are compared."""

    ahead = chunks.CHUNK
    flushes = True

    def __init__(self, tables: int, bits: int, size: int) -> None:
        self._lowest = 0
        self._chunk = 0  # where the next one begins
        self._tables = [np.full(1 << bits, chunks.NONE, np.int32) for _ in range(tables)]
        self._guesses = np.zeros(size, np.int32)

    def _guess(self, plain: Bytes, begin: int, end: int) -> None:
        raise NotImplementedError

    def begin(self, at: int) -> None:
        for table in self._tables:
            table[:] = chunks.NONE
        self._lowest = self._chunk = at

    def slide(self, by: int) -> None:
        self._lowest -= by
        self._chunk -= by
        for table in self._tables:
            slide(table, by)
        self._guesses[:-by] = self._guesses[by:].copy()

    def pass_over(self, plain: Bytes, at: int, stop: int, end: int) -> None:
        while self._chunk < stop:
            begin, self._chunk = self._chunk, min(self._chunk + chunks.CHUNK, end)
            self._guess(plain, begin, self._chunk)

    def correct(self, plain: Bytes, at: int, stop: int, end: int, tokens: Ints) -> bytes:
        self.pass_over(plain, at, stop, end)
        out = np.zeros(LARGEST * tokens.size, np.uint8)
        return out[: correct_guessed(self._guesses, at, tokens, tokens.size, out)].tobytes()

    def corrected(
        self, plain: Bytes, at: int, stop: int, end: int, tokens: Ints, corrections: bytes
    ) -> int:
        self.pass_over(plain, at, stop, end)
        data = np.frombuffer(corrections + bytes(PADDING), np.uint8)
        return int(corrected_guessed(self._guesses, at, stop, tokens, tokens.size, data))


class Pgzip(_Chunked):
    """klauspost/compress, level 5; behind a flush as pgzip has it."""

    def __init__(self, version: int, size: int) -> None:
        super().__init__(3, chunks.BITS, size)
        self._version = version

    def flush(self, plain: Bytes, at: int) -> None:
        dictionary = max(at - _DICTIONARY, self._lowest)
        self.begin(dictionary)
        self._guess(plain, dictionary, at)
        self._chunk = at

    def _guess(self, plain: Bytes, begin: int, end: int) -> None:
        short, newer, older = self._tables
        chunks.guess(
            self._version, plain, short, newer, older, begin, end, self._lowest, self._guesses
        )


class BestSpeed(_Chunked):
    """Go's compress/flate, level 1."""

    def __init__(self, size: int) -> None:
        super().__init__(1, fastest.BITS, size)

    def flush(self, plain: Bytes, at: int) -> None:
        """It goes on with what it knows."""

    def _guess(self, plain: Bytes, begin: int, end: int) -> None:
        fastest.guess(plain, self._tables[0], begin, end, self._guesses)


LAG: Final = max(Lazy.ahead, _Chunked.ahead) + LONGEST_MATCH
"""Most plain bytes behind a note that are wanted with it."""
