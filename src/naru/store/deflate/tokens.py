"""The tokens of a block: a literal, or a match with what came before (RFC 1951, 3.2.5).

A token is 0 for a literal, whose byte stands in the plain bytes, or length << 16 | distance.
A length of 258 can be written in two ways; the one that nobody chooses is LONG_WAY here.
"""

from __future__ import annotations

import numpy as np

from naru.store.deflate.bits import Bytes, Int, Ints, Ints64, Words, peek, put
from naru.store.deflate.codes import (
    DISTANCE_BASE,
    DISTANCE_EXTRA,
    END,
    LENGTH_BASE,
    LENGTH_EXTRA,
    LITERALS,
)
from naru.store.deflate.compiled import compiled, inlined

LONG_WAY = 259
LONGEST_MATCH = 258

# Why reading stopped.
ENDED = 0  # the block is over
FULL = 1  # no room for more tokens or bytes
HUNGRY = 2  # more input is wanted
BAD = 3  # this is not deflate

_LENGTH_SYMBOLS = np.zeros(260, np.int64)
for _symbol in range(29):
    for _more in range(1 << LENGTH_EXTRA[_symbol]):
        _LENGTH_SYMBOLS[LENGTH_BASE[_symbol] + _more] = _symbol
_LENGTH_SYMBOLS[LONG_WAY] = 27
_DISTANCE_SYMBOLS = np.zeros(32769, np.int64)
for _symbol in range(30):
    _first = int(DISTANCE_BASE[_symbol])
    _DISTANCE_SYMBOLS[_first : _first + (1 << int(DISTANCE_EXTRA[_symbol]))] = _symbol


@inlined
def covers(token: Int) -> Int:
    """How many plain bytes it stands for."""
    if token == 0:
        return 1
    return min(token >> 16, LONGEST_MATCH)


@compiled
def read(
    words: Words, at: Int, limit: Int, literals: Ints, literal_bits: Int, distances: Ints,
    distance_bits: Int, tokens: Ints, plain: Bytes, first: Int, p: Int, room: Int,
) -> tuple[Int, Int, Int, Int]:  # fmt: skip
    """Read tokens from bit `at`, and the bytes they stand for into `plain` from `p` on.

    Stops at bit `limit` and at byte `room`, or a token behind them. A match reaches back to byte
    `first` at most. -> (why it stopped, next bit, tokens read, next byte)
    """
    literal_mask = (1 << literal_bits) - 1
    distance_mask = (1 << distance_bits) - 1
    count = 0
    while True:
        if at >= limit:
            return HUNGRY, at, count, p
        if count == tokens.size or p >= room:
            return FULL, at, count, p
        seen = peek(words, at)
        entry = np.int64(literals[seen & literal_mask])
        if entry < 0:
            return BAD, at, count, p
        used = entry & 15
        symbol = entry >> 4
        if symbol < END:
            at += used
            plain[p] = symbol
            p += 1
            tokens[count] = 0
            count += 1
            continue
        if symbol == END:
            return ENDED, at + used, count, p
        symbol -= END + 1
        if symbol > 28:
            return BAD, at, count, p
        extra = LENGTH_EXTRA[symbol]
        length = LENGTH_BASE[symbol] + ((seen >> used) & ((1 << extra) - 1))
        written = length
        if symbol == 27 and length == LONGEST_MATCH:
            written = LONG_WAY
        at += used + extra
        seen = peek(words, at)
        entry = np.int64(distances[seen & distance_mask])
        if entry < 0:
            return BAD, at, count, p
        used = entry & 15
        symbol = entry >> 4
        if symbol > 29:
            return BAD, at, count, p
        extra = DISTANCE_EXTRA[symbol]
        distance = DISTANCE_BASE[symbol] + ((seen >> used) & ((1 << extra) - 1))
        at += used + extra
        if p - distance < first:
            return BAD, at, count, p
        tokens[count] = written << 16 | distance
        count += 1
        for i in range(p, p + length):
            plain[i] = plain[i - distance]
        p += length


@compiled
def write(
    words: Words, state: Ints64, tokens: Ints, count: Int, plain: Bytes, p: Int,
    lengths: Ints, literals: Ints, distances: Ints, end: Int,
) -> None:  # fmt: skip
    """Write tokens, whose bytes stand from `p` on, in a code; with the symbol of the `end`, if so.

    `lengths` are those of both codes, `literals` and `distances` their words.
    """
    for i in range(count):
        token = np.int64(tokens[i])
        if token == 0:
            symbol: Int = plain[p]
            put(words, state, literals[symbol], lengths[symbol])
            p += 1
            continue
        length: Int = token >> 16
        distance = token & 0xFFFF
        symbol = _LENGTH_SYMBOLS[length]
        place = symbol + END + 1
        put(words, state, literals[place], lengths[place])
        if length == LONG_WAY:
            length = LONGEST_MATCH
        put(words, state, length - LENGTH_BASE[symbol], LENGTH_EXTRA[symbol])
        symbol = _DISTANCE_SYMBOLS[distance]
        put(words, state, distances[symbol], lengths[LITERALS + symbol])
        put(words, state, distance - DISTANCE_BASE[symbol], DISTANCE_EXTRA[symbol])
        p += length
    if end:
        put(words, state, literals[END], lengths[END])
