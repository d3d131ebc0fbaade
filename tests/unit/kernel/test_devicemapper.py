"""Tables as the kernel's dm-ioctl.h lays them out."""

from __future__ import annotations

import struct

from naru.kernel.devicemapper import Target, pack_table, unpack_table


def test_each_target_is_aligned_and_says_where_the_next_is() -> None:
    table = [Target(0, 100, "linear", "7:0 0"), Target(100, 50, "thin", "254:0 12345")]
    packed = pack_table(table)
    start, length, status, step = struct.unpack_from("=QQiI", packed)
    assert (start, length, status) == (0, 100, 0)
    assert step % 8 == 0
    assert packed[24:40].rstrip(b"\0") == b"linear"
    assert packed[40:].startswith(b"7:0 0\0")
    assert struct.unpack_from("=QQ", packed, step) == (100, 50)


def test_a_table_read_back_is_the_one_written() -> None:
    table = [Target(0, 8, "thin-pool", "1 2/3 4/5 - rw"), Target(8, 8, "error", "")]
    packed = pack_table(table)
    # Read back, `next` counts from the first target's start.
    second = struct.unpack_from("=I", packed, 20)[0]
    body = bytearray(packed)
    struct.pack_into("=I", body, second + 20, len(packed))
    assert unpack_table(bytes(body), 2) == table
