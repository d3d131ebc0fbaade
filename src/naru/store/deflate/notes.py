"""What the plain bytes do not tell of a gzip file: its heads, its blocks, and the corrections.

    notes     zstd of: MAGIC, the predictor's name and a newline, then notes up to the end
    note      a byte of kind and flags, then numbers (seven bits a byte, lowest first) and bytes

A note of kind RAW holds bytes of the file as they are: the head and tail of a gzip member, and what
may follow. Deflate begins anew behind it. All others are blocks, or parts of very long ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

MAGIC: Final = b"deflate notes 1\n"

STORED, FIXED, DYNAMIC, RAW = range(4)
"""The first three are deflate's own numbers (RFC 1951, 3.2.3)."""

TOKENS: Final = 1 << 16
"""Of a note, at most."""

_FINAL, _BEGINS, _ENDS = 4, 8, 16


class BadNotes(ValueError):
    """These are no notes, or not all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    kind: int
    pad: int = 0  # RAW, STORED: the bits up to the byte's end
    raw: bytes = b""  # RAW: the file's own; DYNAMIC that begins: its head
    head_bits: int = 0  # of `raw`
    final: bool = False  # the last block
    begins: bool = True  # False: a block goes on
    ends: bool = True
    length: int = 0  # bytes, plain
    count: int = 0  # tokens
    ahead: int = 0  # plain bytes behind these that a prediction may look at, at most AHEAD
    corrections: bytes = b""

    def packed(self) -> bytes:
        out = bytearray()
        out.append(self.kind | _FINAL * self.final | _BEGINS * self.begins | _ENDS * self.ends)
        if self.kind in (RAW, STORED):
            out.append(self.pad)
        if self.kind == RAW:
            _put(out, len(self.raw))
            return bytes(out + self.raw)
        _put(out, self.length)
        _put(out, self.ahead)
        if self.kind == STORED:
            return bytes(out)
        if self.kind == DYNAMIC and self.begins:
            _put(out, self.head_bits)
            out += self.raw
        _put(out, self.count)
        _put(out, len(self.corrections))
        return bytes(out + self.corrections)


class Source(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def begin(out: Sink, predictor: str) -> None:
    out.write(MAGIC + predictor.encode() + b"\n")


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


class Buffered(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...

    def readline(self, size: int = -1, /) -> bytes: ...


class Reader:
    """The notes of `source`, which is inflated already and best buffered."""

    def __init__(self, source: Buffered) -> None:
        self._source = source
        if source.read(len(MAGIC)) != MAGIC:
            raise BadNotes("unknown notes of a layer")
        self.predictor = source.readline(32).decode("ascii", "replace").rstrip("\n")

    def next(self) -> Note | None:
        if not (flags := self._source.read(1)):
            return None
        kind = flags[0] & 3
        pad = self._bytes(1)[0] if kind in (RAW, STORED) else 0
        if kind == RAW:
            return Note(kind=RAW, pad=pad, raw=self._bytes(self._number()))
        length, ahead = self._number(), self._number()
        raw, bits, count, corrections = b"", 0, 0, b""
        begins = bool(flags[0] & _BEGINS)
        if kind == DYNAMIC and begins:
            bits = self._number()
            raw = self._bytes((bits + 7) >> 3)
        if kind != STORED:
            count = self._number()
            corrections = self._bytes(self._number())
        return Note(
            kind=kind, pad=pad, raw=raw, head_bits=bits, final=bool(flags[0] & _FINAL),
            begins=begins, ends=bool(flags[0] & _ENDS), length=length, count=count, ahead=ahead,
            corrections=corrections,
        )  # fmt: skip

    def _bytes(self, size: int) -> bytes:
        data = self._source.read(size)
        if len(data) != size:
            raise BadNotes("the notes of a layer end in the middle")
        return data

    def _number(self) -> int:
        number = shift = 0
        while True:
            byte = self._bytes(1)[0]
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number
            if shift > 56:
                raise BadNotes("a number in the notes of a layer is too large")


def _put(out: bytearray, number: int) -> None:
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
