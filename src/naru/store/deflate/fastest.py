"""What Go's compress/flate writes at level 1 (BestSpeed), told by compressing as it does.

That is what crane, ko and kaniko use. It takes chunks of 65535 bytes, knows the last position with
the same four bytes, and takes the match that it finds there; it steps the faster the longer it
finds none. The guesses are as in `chunks`.
"""

from __future__ import annotations

import numpy as np

from naru.store.deflate.bits import Bytes, Int, Ints
from naru.store.deflate.chains import WINDOW
from naru.store.deflate.chunks import four, same
from naru.store.deflate.compiled import compiled, inlined
from naru.store.deflate.tokens import LONGEST_MATCH

BITS = 14  # of a hash
_MARGIN = 15  # bytes at the end of a chunk where nothing begins to be looked for


@inlined
def _hash(plain: Bytes, p: Int) -> Int:
    return ((four(plain, p) * 0x1E35A7BD) & 0xFFFFFFFF) >> (32 - BITS)


@compiled
def guess(plain: Bytes, last: Ints, begin: Int, end: Int, tokens: Ints) -> None:
    """Guess the tokens of a chunk, each at the index of its position."""
    tokens[begin:end] = 0
    limit = end - _MARGIN
    if end - begin < _MARGIN + 2:
        return
    s = begin
    while True:
        steps = 32
        following = s
        while True:
            s = following
            following = s + (steps >> 5)
            steps += steps >> 5
            if following > limit:
                return
            h = _hash(plain, s)
            t = np.int64(last[h])
            last[h] = s
            if s - t <= WINDOW and four(plain, s) == four(plain, t):
                break
        while True:
            length = 4 + same(plain, s + 4, t + 4, min(LONGEST_MATCH - 4, end - s - 4))
            tokens[s] = length << 16 | (s - t)
            s += length
            if s >= limit:
                return
            last[_hash(plain, s - 1)] = s - 1
            h = _hash(plain, s)
            t = np.int64(last[h])
            last[h] = s
            if s - t > WINDOW or four(plain, s) != four(plain, t):
                s += 1
                break
