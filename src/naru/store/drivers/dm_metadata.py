"""Which data blocks each thin device has, read from the metadata of a thin pool.

The format is the kernel's (drivers/md/dm-thin-metadata.c, persistent-data/dm-btree-internal.h):
blocks of 4096 bytes, little-endian. A superblock names a B-tree of devices, whose values are the
roots of their B-trees, from block of the device to block of the pool. Snapshots share nodes.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator

BLOCK = 4096
_MAGIC = 27022010
_MAGIC_AT, _DEVICES_AT = 32, 320
# checksum, flags, own number, entries, room for entries, size of a value, padding
_NODE = struct.Struct("<IIQIIII")
_LEAF = 2
_TIME_BITS = 24
"""A mapping is a data block, and below it the time at which it was made."""


class PoolMetadata:
    """The metadata as of one superblock, which must stay as it is: a metadata snapshot's."""

    def __init__(self, fd: int, superblock: int) -> None:
        """`fd` is open on the file or device; `superblock` is the number of a block in it."""
        self._fd = fd
        head = self._block(superblock)
        if struct.unpack_from("<Q", head, _MAGIC_AT)[0] != _MAGIC:
            raise OSError(errno.EINVAL, f"no superblock of a thin pool at block {superblock}")
        self._devices: int = struct.unpack_from("<Q", head, _DEVICES_AT)[0]
        self._walked: set[int] = set()

    def devices(self) -> dict[int, int]:
        """The root of each device's mappings, by its number."""
        return {
            number: root
            for keys, values in self._leaves(self._devices)
            for number, root in zip(keys, values, strict=True)
        }

    def data_blocks(self, root: int) -> Iterator[int]:
        """The data blocks of a device, but for those in nodes which another has had already."""
        for _, values in self._leaves(root, known=self._walked):
            for value in values:
                yield value >> _TIME_BITS

    def _leaves(
        self, root: int, known: set[int] | None = None
    ) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Keys and values of each leaf below `root`, without the nodes in `known`, which grows."""
        known = set() if known is None else known
        pending = [root]
        while pending:
            number = pending.pop()
            if number in known:
                continue
            known.add(number)
            node = self._block(number)
            _, flags, own, count, room, width, _ = _NODE.unpack_from(node)
            if own != number or width != 8 or count > room or room > BLOCK // 16:
                raise OSError(errno.EINVAL, f"no B-tree node at block {number} of a thin pool")
            keys = struct.unpack_from(f"<{count}Q", node, _NODE.size)
            values = struct.unpack_from(f"<{count}Q", node, _NODE.size + 8 * room)
            if flags & _LEAF:
                yield keys, values
            else:
                pending += values

    def _block(self, number: int) -> bytes:
        block = os.pread(self._fd, BLOCK, number * BLOCK)
        if len(block) < BLOCK:
            raise OSError(errno.EINVAL, f"the thin pool's metadata end before block {number}")
        return block
