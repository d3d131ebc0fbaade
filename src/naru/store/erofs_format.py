"""The bytes of EROFS structures, as in the kernel's `fs/erofs/erofs_fs.h`. Little-endian."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

SUPER_OFFSET: Final = 1024
SUPER_SIZE: Final = 128
DEVICE_SLOT_SIZE: Final = 128
INODE_SLOT: Final = 32
INODE_SIZE: Final = 64

FLAT_PLAIN, FLAT_INLINE, CHUNK_BASED = 0, 2, 4
CHUNK_INDEXES: Final = 0x20
MAX_CHUNK_BITS: Final = 31  # above the block's

CHUNK = struct.Struct("<HHI")
_MAGIC = 0xE0F5E1E2
_COMPAT_MTIME = 0x2  # no checksum of the superblock: fsck.erofs 1.8 fails on it at 512-byte blocks
_INCOMPAT_CHUNKED, _INCOMPAT_DEVICES = 0x4, 0x8
_SUPER = struct.Struct("<IIIBBHQQIIII16s16sIHHH38x")
_DEVICE = struct.Struct("<64sII56x")
_INODE = struct.Struct("<HHHHQIIIIQII16x")
_DIRENT = struct.Struct("<QHBB")
_XATTR_HEADER = struct.Struct("<IB7x")
_XATTR_ENTRY = struct.Struct("<BBH")
_XATTR_PREFIXES = (
    ("user.", 1),
    ("system.posix_acl_access", 2),
    ("system.posix_acl_default", 3),
    ("trusted.", 4),
    ("security.", 6),
)
_DIRENT_TYPES = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFLNK: 7,
}


class Unmappable(ValueError):
    """The layer is sound, but EROFS cannot show it from its tar: it must be extracted."""


class Device(NamedTuple):
    """A further device of an image: its file from `offset` on, in bytes."""

    offset: int
    blocks: int


def inode(
    layout: int, mode: int, size: int, detail: int, number: int, uid: int, gid: int, mtime: int,
    links: int, xattr_size: int,
) -> bytes:  # fmt: skip
    """`detail`: first block, chunk format or device number, by layout and mode. `mtime`: ns."""
    count = 1 + (xattr_size - _XATTR_HEADER.size) // 4 if xattr_size else 0
    seconds, nanoseconds = divmod(mtime, 1_000_000_000)
    return _INODE.pack(
        1 | layout << 1, count, mode, 0, size, detail, number, uid, gid,
        seconds & 0xFFFFFFFFFFFFFFFF, nanoseconds, links,
    )  # fmt: skip


def superblock(
    devices: Sequence[Device], *, block_bits: int, root: int, inodes: int, blocks: int, meta: int
) -> bytes:
    """Superblock and device slots, which lie at SUPER_OFFSET. `meta`: the inodes' first block."""
    features = _INCOMPAT_CHUNKED | (_INCOMPAT_DEVICES if devices else 0)
    slot = (SUPER_OFFSET + SUPER_SIZE) // DEVICE_SLOT_SIZE if devices else 0
    head = _SUPER.pack(
        _MAGIC, 0, _COMPAT_MTIME, block_bits, 0, root, inodes, 0, 0, blocks, meta, 0,
        b"", b"naru-layer", features, 0, len(devices), slot,
    )  # fmt: skip
    # The kernel has no use for a device's tag: whoever mounts the image finds the offset there.
    tags = (b"%d" % device.offset for device in devices)
    slots = (_DEVICE.pack(tag, d.blocks, 0) for tag, d in zip(tags, devices, strict=True))
    return head + b"".join(slots)


def read_offsets(head: bytes) -> list[int]:
    """Where the devices of an image begin in their file, by its first bytes (a page is enough)."""
    *_, count, slot = _SUPER.unpack_from(head, SUPER_OFFSET)
    found = []
    for number in range(count):
        tag = _DEVICE.unpack_from(head, (slot + number) * DEVICE_SLOT_SIZE)[0]
        found.append(int(tag.rstrip(b"\0") or b"0"))
    return found


def xattr_body(xattrs: dict[str, bytes]) -> bytes:
    if not xattrs:
        return b""
    body = bytearray(_XATTR_HEADER.pack(0, 0))
    for name, value in sorted(xattrs.items()):
        index, rest = _split_xattr(name)
        body += _XATTR_ENTRY.pack(len(rest), index, len(value)) + rest + value
        body += bytes(-len(body) % 4)
    return bytes(body)


def _split_xattr(name: str) -> tuple[int, bytes]:
    for prefix, index in _XATTR_PREFIXES:
        if name.startswith(prefix):
            return index, os.fsencode(name[len(prefix) :])
    raise Unmappable(f"xattr {name}: EROFS has no such namespace")


def directory_size(names: Iterable[bytes], block: int) -> int:
    groups = _grouped(sorted(names), block)
    return (len(groups) - 1) * block + sum(_DIRENT.size + len(name) for name in groups[-1])


def directory_blocks(entries: dict[bytes, tuple[int, int]], block: int) -> bytes:
    """`entries`, with `.` and `..`: the inode slot and the mode of each name."""
    blocks = bytearray()
    for names in _grouped(sorted(entries), block):
        blocks += bytes(-len(blocks) % block)
        name_offset = _DIRENT.size * len(names)
        for name in names:
            slot, mode = entries[name]
            blocks += _DIRENT.pack(slot, name_offset, _DIRENT_TYPES[stat.S_IFMT(mode)], 0)
            name_offset += len(name)
        blocks += b"".join(names)
    return bytes(blocks)


def _grouped(names: Iterable[bytes], block: int) -> list[list[bytes]]:
    """Names in the order given, cut into directory blocks."""
    groups: list[list[bytes]] = []
    room = 0
    for name in names:
        need = _DIRENT.size + len(name)
        if need > room:
            groups.append([])
            room = block
        groups[-1].append(name)
        room -= need
    return groups
