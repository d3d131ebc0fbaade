"""What token a compressor would write next, told from the plain bytes around it.

The compressor is a row of numbers (`GO`). Since all positions before the next token are in
the chains, however they came to be covered, the answer depends on the position alone. That holds
for Go's compress/flate, levels 4 to 9, which is what docker, containerd and BuildKit use.

Go looks for a match, and if it finds a short one for a longer one a byte further; then the first
byte is a literal. A search is thus often made one position ahead.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from naru.store.deflate.bits import Bytes, Int, Ints, Ints64
from naru.store.deflate.chains import LEAST, WINDOW, hashed, longest
from naru.store.deflate.compiled import inlined
from naru.store.deflate.tokens import LONGEST_MATCH

AHEAD = LONGEST_MATCH + 4
"""Bytes behind the next token that it can depend on."""

# Length from which no longer match is looked for one byte on; length that ends a search; tries.
LAZY, _NICE, _TRIES = range(3)
GO: Final = {
    "go-6": np.array([16, 128, 128]),
    "go-9": np.array([258, 258, 4096]),
    "go-5": np.array([16, 32, 32]),
    "go-7": np.array([32, 128, 256]),
    "go-8": np.array([128, 258, 1024]),
    "go-4": np.array([4, 16, 16]),
}

_TURN = 2 * WINDOW - AHEAD
"""Go keeps 64 Ki of the bytes, and forgets half of them with the step behind this position."""


@inlined
def search(
    rules: Ints64, plain: Bytes, head: Ints, before: Ints, p: Int, first: Int, end: Int
) -> Int:
    """The match at `p`, which goes into its chain."""
    if end - p < LEAST:
        return 0
    lowest = first
    passed = p - first - _TURN
    if passed > 0:
        lowest += (passed + WINDOW - 1) & -WINDOW
    room = min(end - p, LONGEST_MATCH)
    h = hashed(plain, p)
    newest = head[h]
    before[p & (WINDOW - 1)] = newest
    head[h] = p
    return longest(plain, before, p, newest, lowest, room, rules[_NICE], rules[_TRIES])
