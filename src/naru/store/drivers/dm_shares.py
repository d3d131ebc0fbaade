"""What each layer has of the pool's loop file on the disk: blocks that none below it has."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path

from naru.store.drivers.dm_metadata import PoolMetadata
from naru.store.drivers.dm_pool import ThinPool
from naru.store.drivers.dm_records import DeviceRecord


def shares(pool: ThinPool, base: int, layers: Mapping[str, DeviceRecord]) -> dict[str, int]:
    """Bytes by layer. `base` is the base device's number, whose blocks are no layer's.

    Nothing for a pool on devices, which is not on our disk. `OSError`: the pool cannot tell.
    """
    if pool.loop_root is None:
        return {}
    order = sorted(layers, key=lambda layer: _depth(layer, layers))
    owners = _owners(pool, pool.loop_root, [base, *(layers[layer].number for layer in order)])
    sizes = [0] * (len(order) + 1)
    for block, size in _on_disk(pool.loop_root / "data", pool.block_size):
        if block < len(owners) and owners[block] >= 0:
            sizes[owners[block]] += size
    return dict(zip(order, sizes[1:], strict=True))


def _owners(pool: ThinPool, root: Path, numbers: list[int]) -> array[int]:
    """For each data block the position in `numbers` of the first device that has it, or -1."""
    owners = array("i", [-1]) * pool.status().total_data
    # The loop device writes through this file's page cache, so that there is no older state in it.
    fd = os.open(root / "metadata", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with pool.frozen_metadata() as superblock:
            metadata = PoolMetadata(fd, superblock)
            roots = metadata.devices()
            for position, number in enumerate(numbers):
                if number in roots:
                    for block in metadata.data_blocks(roots[number]):
                        if block < len(owners) and owners[block] < 0:
                            owners[block] = position
    finally:
        os.close(fd)
    return owners


def _on_disk(path: Path, block_size: int) -> Iterator[tuple[int, int]]:
    """(block, bytes of it that are no hole) of a sparse file; a block may come several times."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        at = 0
        while True:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but a hole from here on
                return
            end = os.lseek(fd, at, os.SEEK_HOLE)
            while at < end:
                block = at // block_size
                until = min(end, (block + 1) * block_size)
                yield block, until - at
                at = until
    finally:
        os.close(fd)


def _depth(layer: str, layers: Mapping[str, DeviceRecord]) -> int:
    depth = 0
    parent = layers[layer].parent
    while parent is not None and parent in layers:
        depth += 1
        parent = layers[parent].parent
    return depth
