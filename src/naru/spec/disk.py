"""Pure data about disk space: how much of a file system is left to others."""

from __future__ import annotations

import msgspec


class FreeSpace(msgspec.Struct, frozen=True):
    """Of a share of the file system and a size, the lesser; what is None says nothing."""

    percent: float | None = None
    size: int | None = None  # bytes

    def of(self, total: int) -> int:
        """Bytes to keep free of a file system of `total` bytes."""
        bounds = []
        if self.percent is not None:
            bounds.append(int(total * self.percent / 100))
        if self.size is not None:
            bounds.append(self.size)
        return min(bounds, default=0)


DEFAULT_FREE_SPACE = FreeSpace(percent=1, size=256 << 20)
