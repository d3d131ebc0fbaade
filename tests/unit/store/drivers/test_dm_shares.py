"""A thin pool's metadata, read from a file made here, and what each layer has of the data."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from naru.store.drivers.dm_metadata import BLOCK, PoolMetadata
from naru.store.drivers.dm_pool import ThinPool
from naru.store.drivers.dm_records import DeviceRecord
from naru.store.drivers.dm_shares import shares

POOL_BLOCK = 64 << 10
SUPERBLOCK, DEVICES = 9, 1
BASE, LOWER, UPPER, OTHER = 1, 2, 3, 4
ROOM = 252
A, B, C = "a" * 64, "b" * 64, "c" * 64


def superblock(devices: int, magic: int = 27022010) -> bytes:
    head = bytearray(BLOCK)
    struct.pack_into("<Q", head, 32, magic)
    struct.pack_into("<Q", head, 320, devices)
    return bytes(head)


def node(number: int, entries: Mapping[int, int], *, leaf: bool = True) -> bytes:
    count = len(entries)
    head = struct.pack("<IIQIIII", 0, 2 if leaf else 1, number, count, ROOM, 8, 0)
    keys = struct.pack(f"<{count}Q", *entries).ljust(8 * ROOM, b"\0")
    values = struct.pack(f"<{count}Q", *entries.values())
    return (head + keys + values).ljust(BLOCK, b"\0")


def mapped(*blocks: int) -> dict[int, int]:
    """Blocks of a device in order, made at some time."""
    return {at: block << 24 | 5 for at, block in enumerate(blocks)}


def make_metadata(path: Path) -> None:
    """The upper device shares a whole node and, in a node of its own, a block with the lower."""
    blocks = {
        DEVICES: node(DEVICES, {BASE: 2, LOWER: 3, UPPER: 4, OTHER: 7}),
        2: node(2, mapped(0)),
        3: node(3, {0: 5, 100: 6}, leaf=False),
        4: node(4, {0: 5, 100: 8}, leaf=False),
        5: node(5, mapped(0, 1, 2)),
        6: node(6, mapped(3)),
        7: node(7, {}),
        8: node(8, mapped(3, 4)),
        SUPERBLOCK: superblock(DEVICES),
    }
    path.write_bytes(b"".join(blocks.get(number, bytes(BLOCK)) for number in range(10)))


@pytest.fixture
def pool(tmp_path: Path) -> ThinPool:
    """A pool of eight blocks, of which five are mapped and block 6 is nobody's."""
    make_metadata(tmp_path / "metadata")
    with (tmp_path / "data").open("wb") as data:
        data.truncate(8 * POOL_BLOCK)
        for block, size in {0: POOL_BLOCK, 1: POOL_BLOCK, 3: 8192, 4: 4096, 6: POOL_BLOCK}.items():
            data.seek(block * POOL_BLOCK)
            data.write(b"x" * size)

    @contextlib.contextmanager
    def frozen_metadata() -> Iterator[int]:
        yield SUPERBLOCK

    made = SimpleNamespace(
        loop_root=tmp_path,
        block_size=POOL_BLOCK,
        status=lambda: SimpleNamespace(total_data=8),
        frozen_metadata=frozen_metadata,
    )
    return cast("ThinPool", made)


def test_a_layer_has_what_none_below_it_has_and_is_on_the_disk(pool: ThinPool) -> None:
    layers = {  # children before their parents
        C: DeviceRecord(OTHER, 1 << 20, True, A),
        B: DeviceRecord(UPPER, 1 << 20, True, A),
        A: DeviceRecord(LOWER, 1 << 20),
        "gone": DeviceRecord(77, 1 << 20, True, A),
    }
    # Block 0 is the base's; 2 is mapped, and a hole.
    assert shares(pool, BASE, layers) == {A: POOL_BLOCK + 8192, B: 4096, C: 0, "gone": 0}


def test_a_pool_on_devices_has_nothing_on_our_disk(pool: ThinPool) -> None:
    pool.loop_root = None
    assert shares(pool, BASE, {A: DeviceRecord(LOWER, 1 << 20)}) == {}


def test_metadata_that_are_damaged_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "metadata"
    for content in (
        superblock(1, magic=1),
        superblock(1),  # and no more
        superblock(1) + node(7, {}),
        superblock(1) + bytes(BLOCK),
    ):
        path.write_bytes(content)
        with path.open("rb") as file, pytest.raises(OSError, match="thin pool"):
            PoolMetadata(file.fileno(), 0).devices()
