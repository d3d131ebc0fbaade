"""The next pieces of a stream, read by a thread of their own while the last one is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from naru.store.raw_reader import RawReader

_PIECE = 1 << 20
_AHEAD = 6


class ReadAhead(RawReader):
    """For processes that end soon: a reader that is left early keeps its thread."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._source = read
        self._pieces: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._rest = b""
        self._ended = False
        threading.Thread(target=self._run, daemon=True, name="read ahead").start()

    def _run(self) -> None:
        try:
            while piece := self._source(_PIECE):
                self._pieces.put(piece)
            self._pieces.put(b"")
        except BaseException as error:
            self._pieces.put(error)

    def some(self, size: int) -> bytes:
        if self._ended:
            return b""
        piece = self._rest or self._pieces.get()
        if isinstance(piece, BaseException):
            raise piece
        self._ended = not piece
        self._rest = piece[size:]
        return piece if not self._rest else piece[:size]
