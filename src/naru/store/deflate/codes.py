"""Huffman codes: read from the head of a dynamic block, made into tables to read and write by.

A code is told by the lengths of its words in bits, in the order of the symbols (RFC 1951, 3.2.2);
a block has one for literals and lengths of matches (288 symbols) and one for distances (32).
"""

from __future__ import annotations

import numpy as np

from naru.store.deflate.bits import Int, Ints, Words, peek
from naru.store.deflate.compiled import compiled

LITERALS = 288
DISTANCES = 32
LONGEST = 15  # bits of a word
END = 256  # the symbol at the end of a block
HEAD_BITS = 14 + 19 * 3 + 320 * 14
"""Most bits of a block's head, behind the three that name its kind."""

_ORDER = np.array([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15], np.int32)

LENGTH_EXTRA = np.array([*[0] * 8, *[n for n in range(1, 6) for _ in range(4)], 0, 0, 0], np.int64)
LENGTH_BASE = np.array(
    [*range(3, 11), 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
     227, 258, 0, 0], np.int64,
)  # fmt: skip
DISTANCE_EXTRA = np.array([0, 0, *[n for n in range(14) for _ in range(2)], 0, 0], np.int64)
DISTANCE_BASE = np.array(
    [1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
     2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577, 0, 0], np.int64,
)  # fmt: skip


def fixed() -> Ints:
    """The lengths in a block without a head of its own (3.2.6)."""
    lengths = np.zeros(LITERALS + DISTANCES, np.int32)
    lengths[:144] = 8
    lengths[144:256] = 9
    lengths[256:280] = 7
    lengths[280:288] = 8
    lengths[LITERALS:] = 5
    return lengths


@compiled
def read_lengths(words: Words, at: Int, lengths: Ints, table: Ints) -> Int:
    """Read a head (3.2.7) -> the number of the bit behind it, or -1 if it is none.

    `lengths` has room for both codes, `table` for one.
    """
    head = peek(words, at)
    literals = (head & 31) + 257
    distances = ((head >> 5) & 31) + 1
    count = ((head >> 10) & 15) + 4
    at += 14
    if literals > LITERALS:
        return -1
    lengths[:] = 0
    own = np.zeros(19, np.int32)  # the lengths are themselves written in a code
    for i in range(count):
        own[_ORDER[i]] = peek(words, at) & 7
        at += 3
    bits = read_table(own, table)
    if bits < 0:
        return -1
    symbol = 0
    last: Int = 0
    while symbol < literals + distances:
        seen = peek(words, at)
        entry = np.int64(table[seen & ((1 << bits) - 1)])
        if entry < 0:
            return -1
        value: Int = entry >> 4
        seen >>= entry & 15
        at += entry & 15
        repeats = 1
        if value == 16:
            if symbol == 0:
                return -1
            value = last
            repeats = 3 + (seen & 3)
            at += 2
        elif value == 17:
            value = 0
            repeats = 3 + (seen & 7)
            at += 3
        elif value == 18:
            value = 0
            repeats = 11 + (seen & 127)
            at += 7
        if symbol + repeats > literals + distances:
            return -1
        for _ in range(repeats):
            place = symbol if symbol < literals else LITERALS + symbol - literals
            lengths[place] = value
            symbol += 1
        last = value
    return at


@compiled
def read_table(lengths: Ints, table: Ints) -> Int:
    """Fill a table -> by how many of the next bits it is looked up, or -1 for what is no code.

    An entry is symbol << 4 | bits of the word, or -1 where no word of the code begins so.
    """
    words = np.zeros(lengths.size, np.int32)
    bits = write_table(lengths, words)
    if bits < 0:
        return -1
    size = 1 << bits
    table[:size] = -1
    for symbol in range(lengths.size):
        length = np.int64(lengths[symbol])
        if length:
            for i in range(words[symbol], size, 1 << length):
                table[i] = symbol << 4 | length
    return bits


@compiled
def write_table(lengths: Ints, words: Ints) -> Int:
    """Fill in each symbol's word, as it is written -> bits of the longest, or -1 if there are
    more words than can be told apart."""
    counts = np.zeros(LONGEST + 1, np.int32)
    for symbol in range(lengths.size):
        counts[lengths[symbol]] += 1
    counts[0] = 0
    following = np.zeros(LONGEST + 2, np.int32)
    longest = 1
    word = 0
    for length in range(1, LONGEST + 1):
        word = (word + counts[length - 1]) << 1
        following[length] = word
        if word + counts[length] > 1 << length:
            return -1
        if counts[length]:
            longest = length
    for symbol in range(lengths.size):
        bits = np.int64(lengths[symbol])
        if bits:
            forward = np.int64(following[bits])
            following[bits] += 1
            backward: Int = 0  # words are written highest bit first
            for _ in range(bits):
                backward = backward << 1 | forward & 1
                forward >>= 1
            words[symbol] = backward
    return longest
