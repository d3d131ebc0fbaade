"""Bytes from one worker thread to another: a pipe without the kernel, and errors go with them."""

from __future__ import annotations

import collections
import io
import threading

from naru.store.raw_reader import RawReader

_PIECES = 8
_PIECE = 1 << 18


class Handover:
    """`writer` and `reader` are files; at most a few pieces of a quarter MiB are in between."""

    def __init__(self) -> None:
        self.writer = _Writer(self)
        self.reader = _Reader(self)
        self._pieces: collections.deque[bytes] = collections.deque()
        self._changed = threading.Condition()
        self._ended = False
        self._left = False
        self._error: BaseException | None = None

    def finish(self) -> None:
        """The writer is done."""
        if rest := self.writer.rest():
            self.put(rest)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """The writer cannot go on: the reader gets this error as an `OSError`."""
        with self._changed:
            self._error = error
            self._ended = True
            self._changed.notify_all()

    def leave(self) -> None:
        """The reader wants no more: a writer that goes on gets `BrokenPipeError`."""
        with self._changed:
            self._left = True
            self._pieces.clear()
            self._changed.notify_all()

    def put(self, piece: bytes) -> None:
        with self._changed:
            while len(self._pieces) >= _PIECES and not self._left:
                self._changed.wait()
            if self._left:
                raise BrokenPipeError("nobody reads any more")
            self._pieces.append(piece)
            self._changed.notify_all()

    def get(self) -> bytes:
        with self._changed:
            while not self._pieces and not self._ended:
                self._changed.wait()
            if self._pieces:
                piece = self._pieces.popleft()
                self._changed.notify_all()
                return piece
            if self._error is not None:
                raise OSError(str(self._error)) from self._error
            return b""


class _Writer(io.RawIOBase):
    def __init__(self, handover: Handover) -> None:
        self._handover = handover
        self._gathered = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        self._gathered += view
        if len(self._gathered) >= _PIECE:
            self._handover.put(self.rest())
        return len(view)

    def rest(self) -> bytes:
        rest, self._gathered = bytes(self._gathered), bytearray()
        return rest


class _Reader(RawReader):
    def __init__(self, handover: Handover) -> None:
        self._handover = handover
        self._piece = b""

    def some(self, size: int) -> bytes:
        piece = self._piece or self._handover.get()
        if size < len(piece):
            piece, self._piece = piece[:size], piece[size:]
        else:
            self._piece = b""
        return piece
