"""Bits as deflate orders them: the first one is the lowest of the first byte (RFC 1951, 3.1.1).

A reader is an array of 32 bit words and the number of the next bit; there must be eight bytes more
in the array than are read. A writer is an array of such words and three numbers: how many words are
complete, the bits that do not fill one yet, and how many these are.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from naru.store.deflate.compiled import compiled, inlined

Bytes: TypeAlias = npt.NDArray[np.uint8]
Words: TypeAlias = npt.NDArray[np.uint32]
Ints: TypeAlias = npt.NDArray[np.int32]
Int: TypeAlias = Any
"""Python's own or one of numpy's: which of them makes no difference here."""


@inlined
def peek(words: Words, at: Int) -> Int:
    """The bits from number `at` on, of which 32 at least are true ones."""
    word = at >> 5
    return (np.int64(words[word]) | (np.int64(words[word + 1]) << 32)) >> (at & 31)


@compiled
def copied(words: Words, at: Int, count: Int, out: Bytes) -> Int:
    """Copy bits to the front of `out`, padded with zeros -> the bytes they take there."""
    size = (count + 7) >> 3
    for i in range(size):
        here = min(8, count - 8 * i)
        out[i] = peek(words, at + 8 * i) & ((1 << here) - 1)
    return size


@inlined
def put(words: Words, state: Ints64, value: Int, count: Int) -> None:
    """Write the `count` lowest bits of `value`, at most 32; there are no others in it."""
    pending = state[1] | (np.int64(value) << state[2])
    filled = state[2] + count
    if filled >= 32:
        words[state[0]] = pending & 0xFFFFFFFF
        state[0] += 1
        pending >>= 32
        filled -= 32
    state[1] = pending
    state[2] = filled


@compiled
def put_copied(words: Words, state: Ints64, data: Bytes, count: Int) -> None:
    """Write the first `count` bits of `data`."""
    for i in range((count + 7) >> 3):
        here = min(8, count - 8 * i)
        put(words, state, np.int64(data[i]) & ((1 << here) - 1), here)


Ints64: TypeAlias = npt.NDArray[np.int64]
