"""Make a gzip file again: from its plain bytes, and notes of all the rest (see `analysis`)."""

from __future__ import annotations

import numpy as np

from naru.store.deflate import codes, tokens
from naru.store.deflate.bits import put, put_copied
from naru.store.deflate.notes import (
    FIXED,
    RAW,
    STORED,
    TOKENS,
    BadNotes,
    Note,
    Reader,
    Sink,
    Source,
)
from naru.store.deflate.window import ROOM, Window

_OUTPUT = 1 << 20


def rebuild(notes: Reader, plain: Source, out: Sink) -> None:
    """`BadNotes` where the notes and the plain bytes do not fit; the result is for others to
    verify."""
    try:
        window = Window(notes.predictor)
    except KeyError:
        raise BadNotes(f"unknown predictor: {notes.predictor!r}") from None
    made = _Rebuild(plain, window, out)
    while (note := notes.next()) is not None:
        made.add(note)
    made.flush()


class _Rebuild:
    def __init__(self, plain: Source, window: Window, out: Sink) -> None:
        self._plain = plain
        self._out = _Output(out)
        self._window = window
        self._position = 0
        self._lengths = np.zeros(codes.LITERALS + codes.DISTANCES, np.int32)
        self._literals = np.zeros(codes.LITERALS, np.int32)
        self._distances = np.zeros(codes.DISTANCES, np.int32)
        self._table = np.zeros(1 << codes.LONGEST, np.int32)
        self._tokens = np.zeros(TOKENS, np.int32)

    def add(self, note: Note) -> None:
        out = self._out
        if note.kind == RAW:
            out.align(note.pad)
            out.write(note.raw)
            self._window.begin(self._position)
            return
        window = self._window
        if (
            note.length > ROOM + tokens.LONGEST_MATCH
            or note.count > TOKENS
            or note.ahead > window.ahead
        ):
            raise BadNotes("a note says more than there may be")
        self._fetch(note.length + note.ahead)
        if note.kind == STORED:
            out.put(note.final, 3)
            out.align(note.pad)
            out.put(note.length | (note.length ^ 0xFFFF) << 16, 32)
            out.write(self._window.span(self._position, note.length).tobytes())
            self._window.pass_over(self._position, note)
        else:
            if note.begins:
                self._begin(note)
            if not self._window.corrected(self._position, note, self._tokens):
                raise BadNotes("the corrections do not fit")
            tokens.write(
                out.words, out.state, self._tokens, note.count, window.data,
                self._position - window.base, self._lengths, self._literals, self._distances,
                note.ends,
            )  # fmt: skip
            out.drain()
        self._position += note.length

    def flush(self) -> None:
        self._out.flush()

    def _fetch(self, size: int) -> None:
        """Have as many of the plain bytes behind the position."""
        window = self._window
        missing = self._position + size - window.end
        if missing > 0:
            window.make_room(missing, self._position)
        while missing > 0:
            piece = self._plain.read(missing)
            if not piece:
                raise BadNotes("there are notes of more bytes")
            window.append(piece)
            missing -= len(piece)

    def _begin(self, note: Note) -> None:
        self._out.put(note.final | note.kind << 1, 3)
        if note.kind == FIXED:
            self._lengths[:] = codes.fixed()
        else:
            data = np.zeros(len(note.raw) // 4 * 4 + 64, np.uint8)
            data[: len(note.raw)] = np.frombuffer(note.raw, np.uint8)
            end = codes.read_lengths(data.view(np.uint32), 0, self._lengths, self._table)
            if end != note.head_bits:
                raise BadNotes("a block's head is none")
            put_copied(self._out.words, self._out.state, data, note.head_bits)
        codes.write_table(self._lengths[: codes.LITERALS], self._literals)
        codes.write_table(self._lengths[codes.LITERALS :], self._distances)


class _Output:
    def __init__(self, out: Sink) -> None:
        self._out = out
        self.words = np.zeros(_OUTPUT // 4, np.uint32)
        self.state = np.zeros(3, np.int64)

    def put(self, value: int, count: int) -> None:
        put(self.words, self.state, value, count)

    def align(self, pad: int) -> None:
        count = -int(self.state[2]) & 7
        self.put(pad & ((1 << count) - 1), count)

    def write(self, data: bytes) -> None:
        """Whole bytes, at a whole byte."""
        self.flush()
        self._out.write(data)

    def drain(self) -> None:
        """Pass on what is complete."""
        if self.state[0]:
            self._out.write(self.words[: self.state[0]].tobytes())
            self.state[0] = 0

    def flush(self) -> None:
        """The same up to the last byte, of which all bits must be there."""
        self.drain()
        rest = int(self.state[1]).to_bytes(4, "little")[: (int(self.state[2]) + 7) >> 3]
        if rest:
            self._out.write(rest)
        self.state[:] = 0
