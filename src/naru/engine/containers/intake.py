"""How output is taken from a process: with or without a log. Runs in the pump's thread."""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple, Protocol

CHUNK: Final = 64 * 1024
"""A pipe's usual capacity: one read empties it."""


class Position(NamedTuple):
    """A place in the log of a process that runs."""

    generation: int
    size: int


class Mark(NamedTuple):
    """How far the log goes at a moment between two reads."""

    position: Position
    unfinished: dict[str, bytes]
    """By stream: bytes that were read and will be logged when their line is whole."""


class Intake(Protocol):
    def read(self, stream: str, fd: int) -> bytes:
        """The next bytes, safe in the log; b"" at the end. `BlockingIOError`: nothing there."""

    def end(self, stream: str) -> None:
        """No more will come: log what is left of an unfinished line."""

    def mark(self) -> Mark | None:
        """None when nothing is logged."""

    def close(self, *, over: bool) -> None:
        """`over`: all output has ended; else a later daemon will go on reading it."""


class PlainIntake:
    """Output that goes to attached clients only."""

    def read(self, stream: str, fd: int) -> bytes:
        return read_output(fd)

    def end(self, stream: str) -> None:
        pass

    def mark(self) -> Mark | None:
        return None

    def close(self, *, over: bool) -> None:
        pass


def read_output(fd: int) -> bytes:
    try:
        return os.read(fd, CHUNK)
    except OSError as error:
        # A terminal's master says EIO, not end-of-file, once nobody holds the other side.
        if error.errno == errno.EIO:
            return b""
        raise
