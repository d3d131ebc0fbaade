"""What all streams of bytes that are read as a file have in common."""

from __future__ import annotations

import io
from abc import abstractmethod

_PIECE = 1 << 20


class RawReader(io.RawIOBase):
    """A file that is read; a subclass says by `some` where its bytes come from."""

    @abstractmethod
    def some(self, size: int) -> bytes:
        """What there is, at least a byte and up to `size`; b"" at the end. It may block."""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.some(_PIECE), b""))
        return self.some(size)

    def readinto(self, buffer: object, /) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self.some(len(view))
        view[: len(data)] = data
        return len(data)
