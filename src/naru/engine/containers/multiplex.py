"""The framing of stdout and stderr on one connection (Engine API, "Stream format" of attach).

A frame is eight bytes of header, `[stream, 0, 0, 0, size as big-endian u32]`, and the payload.
Pure: bytes in, bytes out.
"""

from __future__ import annotations

import struct
from typing import Final

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2

NUMBERS: Final = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR}

_HEADER = struct.Struct(">BxxxI")


def frame(stream: int, payload: bytes) -> bytes:
    return _HEADER.pack(stream, len(payload)) + payload


class Deframer:
    """Cuts a byte stream, fed in any pieces, back into (stream, payload)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        buffer = self._rest + data
        frames = []
        at = 0
        while len(buffer) - at >= _HEADER.size:
            stream, size = _HEADER.unpack_from(buffer, at)
            end = at + _HEADER.size + size
            if end > len(buffer):
                break
            frames.append((stream, buffer[at + _HEADER.size : end]))
            at = end
        self._rest = buffer[at:]
        return frames
