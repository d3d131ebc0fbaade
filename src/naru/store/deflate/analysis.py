"""Take a gzip file apart: into the plain bytes, which are elsewhere, and notes of all the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from naru.store.deflate import codes, tokens
from naru.store.deflate.bits import copied, peek
from naru.store.deflate.notes import DYNAMIC, FIXED, RAW, STORED, TOKENS, Note, Source
from naru.store.deflate.window import ROOM, Window, is_flush

_INPUT = 1 << 20
_ENOUGH = 1 << 17
"""Bytes that hold a stored block, or the head of another one."""
_PADDING = 1024
"""Bytes behind the last that may be looked at, for a block's head that is not all there."""


class NotDeflate(ValueError):
    """This is no gzip file, or a damaged one."""


class Analysis:
    def __init__(self, source: Source, predictor: str, tell: Callable[[Note], object]) -> None:
        self._input = _Input(source)
        self._tell = tell
        self._window = Window(predictor)
        self._lengths = np.zeros(codes.LITERALS + codes.DISTANCES, np.int32)
        self._literals = np.zeros(1 << codes.LONGEST, np.int32)
        self._distances = np.zeros(1 << codes.LONGEST, np.int32)
        self._tokens = np.zeros(TOKENS, np.int32)
        self._waiting: deque[tuple[int, Note, np.typing.NDArray[np.int32]]] = deque()
        """Position, note and tokens of what cannot be predicted before more bytes are known."""

    @property
    def taken(self) -> int:
        """Bytes of the file that were read so far."""
        return self._input.position

    def run(self) -> None:
        """Tell of the whole file. `NotDeflate` at what is none."""
        source = self._input
        while source.fill(1):
            self._raw(0, self._gzip_head())
            self._window.begin(self._window.end)
            while not self._block():
                pass
            self._settle(last=True)
            pad = source.align()
            self._raw(pad, source.whole_bytes(min(8, source.fill(8))))

    def _raw(self, pad: int, data: bytes) -> None:
        self._tell(Note(kind=RAW, pad=pad, raw=data))

    def _gzip_head(self) -> bytes:
        """RFC 1952, 2.3."""
        source = self._input
        source.fill(_ENOUGH)
        head = source.whole_bytes(10)
        if len(head) < 10 or not head.startswith(b"\x1f\x8b\x08") or head[3] & ~0b11111:
            raise NotDeflate("not gzip")
        if head[3] & 4:
            size = source.whole_bytes(2)
            head += size + source.whole_bytes(int.from_bytes(size, "little"))
        for flag in (8, 16):
            if head[3] & flag:
                head += source.line()
        if head[3] & 2:
            head += source.whole_bytes(2)
        return head

    def _block(self) -> bool:
        """Read a block -> whether it was the last."""
        source = self._input
        source.fill(_ENOUGH)
        head = source.take(3)
        kind, final = head >> 1, bool(head & 1)
        if kind == STORED:
            self._stored(final)
            return final
        if kind == FIXED:
            self._lengths[:] = codes.fixed()
            raw, bits = b"", 0
        elif kind == DYNAMIC:
            start = source.at
            source.at = codes.read_lengths(source.words, start, self._lengths, self._literals)
            if source.at < 0:
                raise NotDeflate("no code")
            bits = source.at - start
            out = np.zeros((bits >> 3) + 2, np.uint8)
            raw = out[: copied(source.words, start, bits, out)].tobytes()
        else:
            raise NotDeflate("unknown kind of block")
        literal_bits = codes.read_table(self._lengths[: codes.LITERALS], self._literals)
        distance_bits = codes.read_table(self._lengths[codes.LITERALS :], self._distances)
        if literal_bits < 0 or distance_bits < 0:
            raise NotDeflate("no code")
        begins = True
        while True:
            ends, count, position = self._some(literal_bits, distance_bits)
            note = Note(
                kind=kind, raw=raw, head_bits=bits, final=final, begins=begins, ends=ends,
                length=self._window.end - position, count=count,
            )  # fmt: skip
            self._waiting.append((position, note, self._tokens[:count].copy()))
            self._settle()
            if ends:
                return final
            raw, bits, begins = b"", 0, False

    def _some(self, literal_bits: int, distance_bits: int) -> tuple[bool, int, int]:
        """Read tokens of a block -> whether it is over, how many, the position of the first."""
        source, window = self._input, self._window
        window.make_room(ROOM + tokens.LONGEST_MATCH, self._kept())
        position = window.end
        count = 0
        while True:
            why, source.at, more, end = tokens.read(
                source.words, source.at, source.soft_limit, self._literals, literal_bits,
                self._distances, distance_bits, self._tokens[count:], window.data,
                window.first - window.base, window.end - window.base,
                position + ROOM - window.base,
            )  # fmt: skip
            count += more
            window.end = end + window.base
            if why == tokens.BAD or source.at > source.limit:
                raise NotDeflate("no token")
            if why != tokens.HUNGRY:
                return why == tokens.ENDED, count, position
            if not source.fill(_ENOUGH):
                raise NotDeflate("the end is missing")

    def _stored(self, final: bool) -> None:
        source, window = self._input, self._window
        pad = source.align()
        length = source.take(16)
        if length ^ source.take(16) != 0xFFFF:
            raise NotDeflate("no length")
        window.make_room(length, self._kept())
        position = window.end
        window.append(source.whole_bytes(length))
        if window.end != position + length:
            raise NotDeflate("the end is missing")
        note = Note(kind=STORED, pad=pad, final=final, length=length)
        self._waiting.append((position, note, self._tokens[:0]))
        self._settle(last=is_flush(note) and window.flushes)

    def _kept(self) -> int:
        return self._waiting[0][0] if self._waiting else self._window.end

    def _settle(self, *, last: bool = False) -> None:
        """Tell of what can be predicted by now: all, if no more comes."""
        window = self._window
        while self._waiting:
            position, note, found = self._waiting[0]
            ahead = min(window.end - position - note.length, window.ahead)
            if ahead < window.ahead and not last:
                return
            self._waiting.popleft()
            note = replace(note, ahead=ahead)
            if note.kind == STORED:
                window.pass_over(position, note)
            else:
                note = replace(note, corrections=window.correct(position, note, found))
            self._tell(note)


class _Input:
    """The bits of a file, some of them at hand."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._data = np.zeros(_INPUT + _PADDING, np.uint8)
        self.words = self._data.view(np.uint32)
        self.at = 0
        self._size = 0
        self._over = False
        self._passed = 0

    @property
    def position(self) -> int:
        return self._passed + (self.at >> 3)

    @property
    def limit(self) -> int:
        return 8 * self._size

    @property
    def soft_limit(self) -> int:
        """Where one had better have more at hand, if there is more."""
        return self.limit if self._over else self.limit - 256

    def fill(self, size: int) -> int:
        """Have `size` bytes at hand, if there are so many -> how many there are."""
        left = self._size - (self.at >> 3)
        if left >= size or self._over:
            return left
        start = self.at >> 5 << 2
        self._data[: self._size - start] = self._data[start : self._size].copy()
        self._size -= start
        self._passed += start
        self.at &= 31
        while self._size < _INPUT:
            piece = self._source.read(_INPUT - self._size)
            if not piece:
                self._over = True
                self._data[self._size :] = 0
                break
            self._data[self._size : self._size + len(piece)] = np.frombuffer(piece, np.uint8)
            self._size += len(piece)
        return self._size - (self.at >> 3)

    def take(self, count: int) -> int:
        value = int(peek(self.words, self.at)) & ((1 << count) - 1)
        self.at += count
        if self.at > self.limit:
            raise NotDeflate("the end is missing")
        return value

    def align(self) -> int:
        """Go to the next whole byte -> the bits passed over."""
        return self.take(-self.at & 7)

    def whole_bytes(self, size: int) -> bytes:
        at = self.at >> 3
        data = self._data[at : min(at + size, self._size)].tobytes()
        self.at += 8 * len(data)
        return data

    def line(self) -> bytes:
        """Up to a zero byte."""
        at = self.at >> 3
        rest = self._data[at : self._size].tobytes()
        size = rest.find(b"\0") + 1
        if not size:
            raise NotDeflate("the end is missing")
        return self.whole_bytes(size)
