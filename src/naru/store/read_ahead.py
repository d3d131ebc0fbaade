"""The next pieces of a stream, read by a thread of their own while the last one is used."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable

from naru.store.raw_reader import RawReader

_PIECE = 1 << 20
_AHEAD = 16 << 20
"""Bytes that wait at most: with the smaller layers of an archive, what follows one can begin."""


class ReadAhead(RawReader):
    """For processes that end soon: a reader that is left early keeps its thread."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._source = read
        self._pieces: collections.deque[bytes] = collections.deque()
        self._waiting = 0  # bytes of them
        self._changed = threading.Condition()
        self._rest = b""
        self._ended = False
        self._error: BaseException | None = None
        threading.Thread(target=self._run, daemon=True, name="read ahead").start()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            while piece := self._source(_PIECE):
                with self._changed:
                    while self._waiting and self._waiting + len(piece) > _AHEAD:
                        self._changed.wait()
                    self._pieces.append(piece)
                    self._waiting += len(piece)
                    self._changed.notify()
        except BaseException as failed:
            error = failed
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify()

    def some(self, size: int) -> bytes:
        piece = self._rest or self._next()
        self._rest = piece[size:]
        return piece if not self._rest else piece[:size]

    def _next(self) -> bytes:
        with self._changed:
            while not self._pieces and not self._ended:
                self._changed.wait()
            if self._pieces:
                piece = self._pieces.popleft()
                self._waiting -= len(piece)
                self._changed.notify()
                return piece
            if self._error is not None:
                raise self._error
            return b""
