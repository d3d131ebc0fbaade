"""What klauspost/compress writes at its default level, told by compressing as it does.

That is what podman, skopeo and buildah use, by way of pgzip. It takes chunks of 65535 bytes, each
with what it remembers of those before. Candidates for a match are the last position with the same
four bytes (`short`) and the last two with the same seven (`newer`, `older`); it steps the faster
the longer it finds none, and remembers a third of the positions within a match.

The guess at a position is the token that begins there, 0 (a literal) also where none does.
"""

from __future__ import annotations

import numpy as np

from naru.store.deflate.bits import Bytes, Int, Ints
from naru.store.deflate.chains import WINDOW
from naru.store.deflate.compiled import compiled, inlined
from naru.store.deflate.tokens import LONGEST_MATCH

CHUNK = 65535
BITS = 15  # of a hash
NONE = -(1 << 24)
"""A position that is too far away for everybody."""
_MARGIN = 11  # bytes at the end of a chunk where nothing begins to be looked for

# Versions of the library differ in how they go on from a match that was found.
_PLAIN, _END, _SKIP = range(3)
KLAUSPOST = {"klauspost-5c": _SKIP, "klauspost-5b": _END, "klauspost-5a": _PLAIN}


@inlined
def four(plain: Bytes, p: Int) -> Int:
    return (
        np.int64(plain[p])
        | np.int64(plain[p + 1]) << 8
        | np.int64(plain[p + 2]) << 16
        | np.int64(plain[p + 3]) << 24
    )


@inlined
def _hash4(plain: Bytes, p: Int) -> Int:
    """The product's highest of 32 bits; the factors are parted, for numbers of 63 bits."""
    low = np.int64(plain[p]) | np.int64(plain[p + 1]) << 8
    high = np.int64(plain[p + 2]) | np.int64(plain[p + 3]) << 8
    product = low * 2654435761 + (((high * 2654435761) & 0xFFFF) << 16)
    return (product & 0xFFFFFFFF) >> (32 - BITS)


@inlined
def _hash7(plain: Bytes, p: Int) -> Int:
    """The same of seven bytes and 56 bits."""
    word = four(plain, p)
    low = word & 0xFFFFFFF
    high = (
        word >> 28
        | np.int64(plain[p + 4]) << 4
        | np.int64(plain[p + 5]) << 12
        | np.int64(plain[p + 6]) << 20
    )
    factor_low = 58295818150454627 & 0xFFFFFFF
    factor_high = 58295818150454627 >> 28
    middle = (low * factor_high + high * factor_low) & 0xFFFFFFF
    return ((low * factor_low + (middle << 28)) & 0xFFFFFFFFFFFFFF) >> (56 - BITS)


@inlined
def same(plain: Bytes, s: Int, t: Int, most: Int) -> Int:
    """How many bytes are the same, up to `most`."""
    length = 0
    while length < most and plain[s + length] == plain[t + length]:
        length += 1
    return length


@inlined
def _near(plain: Bytes, s: Int, t: Int) -> Int:
    return s - t < WINDOW and four(plain, s) == four(plain, t)


@inlined
def _remember(newer: Ints, older: Ints, h: Int, p: Int) -> None:
    older[h] = newer[h]
    newer[h] = p


@compiled
def guess(
    version: Int, plain: Bytes, short: Ints, newer: Ints, older: Ints, begin: Int, end: Int,
    lowest: Int, tokens: Ints,
) -> None:  # fmt: skip
    """Guess the tokens of a chunk, each at the index of its position. No match reaches back
    behind `lowest`."""
    tokens[begin:end] = 0
    limit = end - _MARGIN
    if end - begin < _MARGIN + 2:
        return
    emitted = begin
    s = begin
    while True:
        following = s
        length = 0
        t = s
        while True:
            s = following
            following = s + 1 + ((s - emitted) >> 6)
            if following > limit:
                return
            h4, h7 = _hash4(plain, s), _hash7(plain, s)
            candidate, first, second = short[h4], newer[h7], older[h7]
            short[h4] = s
            _remember(newer, older, h7, s)
            h4, h7 = _hash4(plain, following), _hash7(plain, following)
            next_first, next_second = newer[h7], older[h7]
            t = np.int64(first)
            if _near(plain, s, t):
                if _near(plain, s, second):
                    length = 4 + same(plain, s + 4, t + 4, min(LONGEST_MATCH - 4, end - s - 4))
                    other = 4 + same(plain, s + 4, second + 4, min(LONGEST_MATCH - 4, end - s - 4))
                    if other > length:
                        t, length = np.int64(second), other
            elif s - t < WINDOW and _near(plain, s, second):
                t = np.int64(second)
            elif _near(plain, s, candidate):
                t = np.int64(candidate)
                length = 4 + same(plain, s + 4, t + 4, min(LONGEST_MATCH - 4, end - s - 4))
                most = min(LONGEST_MATCH - 4, end - following - 4)
                at = s
                if _near(plain, following, next_first):
                    other = 4 + same(plain, following + 4, next_first + 4, most)
                    if other > length:
                        t, at, length = np.int64(next_first), following, other
                if (
                    at == s
                    and following - next_first < WINDOW
                    and _near(plain, following, next_second)
                ):
                    other = 4 + same(plain, following + 4, next_second + 4, most)
                    if other > length:
                        t, at, length = np.int64(next_second), following, other
                s = at
            else:
                continue
            short[h4] = following
            _remember(newer, older, h7, following)
            break

        if version == _PLAIN:
            if length == 0:
                length = 4 + same(plain, s + 4, t + 4, min(LONGEST_MATCH - 4, end - s - 4))
        elif length == 0:
            length = 4 + same(plain, s + 4, t + 4, end - s - 4)
        elif length == LONGEST_MATCH:
            length += same(plain, s + length, t + length, end - s - length)
        if version != _PLAIN and length < 30 and s + length < limit:
            # Perhaps what follows the match was seen behind a longer one.
            skip = 2 if version == _SKIP else 0
            other_t = np.int64(newer[_hash7(plain, s + length)]) - length + skip
            other_s = s + skip
            if other_t >= lowest and 0 < other_s - other_t < WINDOW:
                other = same(plain, other_s, other_t, end - other_s)
                if other > length:
                    s, t, length = other_s, other_t, other
        while (
            t > lowest
            and s > emitted
            and plain[t - 1] == plain[s - 1]
            and (version != _PLAIN or length < LONGEST_MATCH)
        ):
            s -= 1
            t -= 1
            length += 1

        rest = length
        p = s
        while rest > 0:
            part = rest
            if part > LONGEST_MATCH:
                part = LONGEST_MATCH if part > LONGEST_MATCH + 3 else LONGEST_MATCH - 3
            tokens[p] = part << 16 | (s - t)
            p += part
            rest -= part
        s += length
        emitted = s
        s = max(s, following + 1)
        if s >= limit:
            return
        i = s - length + 1
        if i < s - 1:
            short[_hash4(plain, i)] = i
            _remember(newer, older, _hash7(plain, i), i)
            _remember(newer, older, _hash7(plain, i + 1), i + 1)
            short[_hash4(plain, i + 2)] = i + 2
            i += 4
            while i < s - 1:
                _remember(newer, older, _hash7(plain, i), i)
                short[_hash4(plain, i + 1)] = i + 1
                i += 3
        short[_hash4(plain, s - 1)] = s - 1
        _remember(newer, older, _hash7(plain, s - 1), s - 1)
