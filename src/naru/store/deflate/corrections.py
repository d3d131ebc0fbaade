"""Where a prediction was wrong: how many were right since the last wrong one, and the real token.

Numbers are written seven bits at a time, the lowest first, the eighth bit says that more follow. A
token is 0 for a literal, else its length and then its distance.
"""

from __future__ import annotations

import numpy as np

from naru.store.deflate.bits import Bytes, Int, Ints, Ints64
from naru.store.deflate.chains import WINDOW, insert
from naru.store.deflate.compiled import compiled, inlined
from naru.store.deflate.predict import LAZY, search
from naru.store.deflate.tokens import LONG_WAY, covers

LARGEST = 8
"""Most bytes of one: three for the tokens that went right, two for the length, three for the
distance."""
PADDING = 16


@inlined
def _put(out: Bytes, at: Int, number: Int) -> Int:
    while number >= 128:
        out[at] = number & 127 | 128
        number >>= 7
        at += 1
    out[at] = number
    return at + 1


@inlined
def _put_real(out: Bytes, at: Int, right: Int, token: Int) -> Int:
    """What `_real` reads, behind how many were right before it."""
    at = _put(out, at, right)
    at = _put(out, at, token >> 16)
    if token:
        at = _put(out, at, token & 0xFFFF)
    return at


@inlined
def _get(data: Bytes, at: Int) -> tuple[Int, Int]:
    number = np.int64(0)
    shift = 0
    while data[at] >= 128:
        number |= (np.int64(data[at]) & 127) << shift
        shift += 7
        at += 1
    return number | np.int64(data[at]) << shift, at + 1


@compiled
def _real(data: Bytes, at: Int, size: Int, count: Int) -> tuple[Int, Int, Int]:
    """-> (the real token, or -1 for none; how many are right behind it; the next byte)"""
    token, at = _get(data, at)
    if token:
        distance, at = _get(data, at)
        if not 3 <= token <= LONG_WAY or not 1 <= distance <= WINDOW:
            return -1, 0, at
        token = token << 16 | distance
    if at > size:
        return -1, 0, at
    right = count
    if at < size:
        right, at = _get(data, at)
    return token, right, at


@compiled
def correct(
    rules: Ints64, plain: Bytes, head: Ints, before: Ints, ahead: Ints64, p: Int, first: Int,
    end: Int, tokens: Ints, count: Int, out: Bytes,
) -> Int:  # fmt: skip
    """Compare the tokens from `p` on with what is predicted -> the bytes written to `out`."""
    at = 0
    right = 0
    known, following = ahead[0], ahead[1]
    for i in range(count):
        token = np.int64(tokens[i])
        here = following if known else search(rules, plain, head, before, p, first, end)
        known = np.int64(0 < here < rules[LAZY] << 16)
        if known:
            following = search(rules, plain, head, before, p + 1, first, end)
            if following >> 16 > here >> 16:
                here = 0
        if here == token:
            right += 1
        else:
            at = _put_real(out, at, right, token)
            right = 0
        if token:
            stop = p + covers(token)
            insert(plain, head, before, p + 1 + known, min(stop, end - 3))
            p = stop
            known = 0
        else:
            p += 1
    ahead[0], ahead[1] = known, following
    return at


@compiled
def corrected(
    rules: Ints64, plain: Bytes, head: Ints, before: Ints, ahead: Ints64, p: Int, first: Int,
    end: Int, tokens: Ints, count: Int, data: Bytes,
) -> Int:  # fmt: skip
    """Predict `count` tokens from `p` on, and put them right -> the next position, or -1 where
    the data does not fit. It has PADDING zeros more than was written."""
    size = data.size - PADDING
    at = 0
    right = count
    if size:
        right, at = _get(data, at)
    known, following = ahead[0], ahead[1]
    for i in range(count):
        here = following if known else search(rules, plain, head, before, p, first, end)
        known = np.int64(0 < here < rules[LAZY] << 16)
        if known:
            following = search(rules, plain, head, before, p + 1, first, end)
            if following >> 16 > here >> 16:
                here = 0
        if right > 0:
            right -= 1
        else:
            here, right, at = _real(data, at, size, count)
            if here < 0:
                return -1
        tokens[i] = here
        if here:
            stop = p + covers(here)
            if stop > end:
                return -1
            insert(plain, head, before, p + 1 + known, min(stop, end - 3))
            p = stop
            known = 0
        else:
            p += 1
    ahead[0], ahead[1] = known, following
    return p


@compiled
def correct_guessed(guesses: Ints, p: Int, tokens: Ints, count: Int, out: Bytes) -> Int:
    """The same where there is a guess for each position."""
    at = 0
    right = 0
    for i in range(count):
        token = np.int64(tokens[i])
        if guesses[p] == token:
            right += 1
        else:
            at = _put_real(out, at, right, token)
            right = 0
        p += covers(token)
    return at


@compiled
def corrected_guessed(
    guesses: Ints, p: Int, stop: Int, tokens: Ints, count: Int, data: Bytes
) -> Int:
    size = data.size - PADDING
    at = 0
    right = count
    if size:
        right, at = _get(data, at)
    for i in range(count):
        if p >= stop:
            return -1
        here = np.int64(guesses[p])
        if right > 0:
            right -= 1
        else:
            here, right, at = _real(data, at, size, count)
            if here < 0:
                return -1
        tokens[i] = here
        p += covers(here)
    return p
