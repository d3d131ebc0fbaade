"""Where the four bytes at a position stood before: chains of positions with the same hash.

Positions are indices of the plain bytes; `head` has the newest position of each hash, `before` the
one before each of the last 32 Ki positions; -1, or anything below the window, is the end of one.
"""

from __future__ import annotations

import numpy as np

from naru.store.deflate.bits import Bytes, Int, Ints
from naru.store.deflate.compiled import compiled, inlined

WINDOW = 1 << 15
HASHES = 1 << 17
LEAST = 4  # bytes of a match


@inlined
def hashed(plain: Bytes, p: Int) -> Int:
    """The hash of the four bytes at `p`, as Go's compress/flate has it."""
    word = (
        np.int64(plain[p]) << 24
        | np.int64(plain[p + 1]) << 16
        | np.int64(plain[p + 2]) << 8
        | np.int64(plain[p + 3])
    )
    return ((word * 0x1E35A7BD) & 0xFFFFFFFF) >> 15


@inlined
def insert(plain: Bytes, head: Ints, before: Ints, p: Int, stop: Int) -> None:
    """Put the positions from `p` up to `stop` into their chains."""
    for i in range(p, stop):
        h = hashed(plain, i)
        before[i & (WINDOW - 1)] = head[h]
        head[h] = i


@compiled
def slide(positions: Ints, by: Int) -> None:
    """The plain bytes have moved down, by a multiple of the window."""
    for i in range(positions.size):
        positions[i] = max(positions[i] - by, -1)


@inlined
def longest(
    plain: Bytes, before: Ints, p: Int, newest: Int, lowest: Int, room: Int, nice: Int, tries: Int
) -> Int:
    """The match that Go finds at `p` -> its token, or 0 for none.

    It follows `tries` candidates from the `newest` to the `lowest`, until one is `nice`: that long.
    Four bytes are not worth a distance of more than 4096. A match has `room` bytes at most.
    """
    nice = min(nice, room)
    best = LEAST - 1
    found = 0
    lowest = max(lowest, p - WINDOW)
    i = np.int64(newest)
    while tries > 0 and i >= lowest:
        tries -= 1
        if plain[i + best] == plain[p + best]:
            length = 0
            while length < room and plain[i + length] == plain[p + length]:
                length += 1
            if length > best and (length > LEAST or p - i <= 4096):
                best = length
                found = length << 16 | (p - i)
                if length >= nice:
                    break
        if i == p - WINDOW:
            break  # its place in the chain is taken by `p`
        i = np.int64(before[i & (WINDOW - 1)])
    return found
