"""EROFS images that hold a layer's metadata only: the file data stays in the layer's tar.

A layer tar is read once; each member becomes an inode, and a regular file's inode points at its
data in the tar, which the kernel reads as the image's second device. Nothing is extracted. The
format is that of the kernel's `fs/erofs/erofs_fs.h`: extended inodes, chunk-based files with a
device table, 512-byte blocks (a tar's own), directories in flat blocks.

    image = 1024 unused bytes, superblock, device slot | inodes with xattrs | directories, ...
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable
from typing import BinaryIO

from naru.store.erofs_tree import HOLE, SPARSE_CHUNK_BITS, LayerTree, Node
from naru.store.tarentry import BLOCK

_MAGIC = 0xE0F5E1E2
_SUPER_OFFSET = 1024
_SUPER_SIZE = 128
_DEVICE_SLOT_SIZE = 128
_BLOCK_BITS = 9
_INODE_SLOT = 32
_INODE_SIZE = 64

_COMPAT_MTIME = 0x2  # no checksum of the superblock: fsck.erofs 1.8 fails on it at this block size
_INCOMPAT_CHUNKED, _INCOMPAT_DEVICES = 0x4, 0x8

_FLAT_PLAIN, _FLAT_INLINE, _CHUNK_BASED = 0, 2, 4
_CHUNK_INDEXES = 0x20
_MAX_CHUNK_BITS = 31  # above the block's: a chunk of 1 TiB

_INODE = struct.Struct("<HHHHQIIIIQII16x")
_DIRENT = struct.Struct("<QHBB")
_CHUNK = struct.Struct("<HHI")
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


def write_image(tree: LayerTree, out: BinaryIO) -> int:
    """Write the image -> its size in bytes. `out` must be seekable and empty.

    `Unmappable` where EROFS cannot hold what the tree has.
    """
    nodes, parents = _in_order(tree.root)
    metadata_start = _blocks(_SUPER_OFFSET + _SUPER_SIZE + _DEVICE_SLOT_SIZE) * BLOCK
    for node in nodes:
        if node.children is not None:
            node.links = 2 + sum(
                1 for child in node.children.values() if child.children is not None
            )
            node.size = _directory_size(node.children)
    end = _place_inodes(nodes, metadata_start)
    for node in nodes:
        if node.children is not None:
            node.tail = _directory_blocks(node, parents[id(node)])
    end = _place_blocks(nodes, _blocks(end))
    out.write(bytes(metadata_start))
    _write_inodes(out, nodes, metadata_start)
    _write_blocks(out, nodes)
    out.truncate(end * BLOCK)
    _write_superblock(out, tree, metadata_start // BLOCK, len(nodes), end)
    return end * BLOCK


def _in_order(root: Node) -> tuple[list[Node], dict[int, Node]]:
    """Every inode once, the root first (its number has 16 bits), names sorted; and the parents.

    Parents are by `id()` of the inode; the root is its own.
    """
    parents: dict[int, Node] = {id(root): root}
    nodes = [root]
    for node in nodes:  # grows as directories are met
        if node.children is None:
            continue
        node.children = dict(sorted(node.children.items()))
        for child in node.children.values():
            if id(child) not in parents:
                parents[id(child)] = node
                nodes.append(child)
    return nodes, parents


def _place_inodes(nodes: list[Node], start: int) -> int:
    position = start
    for node in nodes:
        position += -position % _INODE_SLOT
        head = _INODE_SIZE + _xattr_size(node.xattrs)
        if node.children is None and node.tail:
            # An inline tail may not cross a block: start the inode at the next one then.
            tail_at = position + head
            if tail_at // BLOCK != (tail_at + len(node.tail) - 1) // BLOCK:
                position += -position % BLOCK
                tail_at = position + head
            node.inline = tail_at // BLOCK == (tail_at + len(node.tail) - 1) // BLOCK
        node.nid = (position - start) // _INODE_SLOT
        position += head + (len(node.tail) if node.inline else 0)
        if node.chunks:
            position += -position % _CHUNK.size + _CHUNK.size * len(node.chunks)
    return position


def _place_blocks(nodes: list[Node], next_block: int) -> int:
    for node in nodes:
        if node.tail and not node.inline:
            node.blocks = next_block
            next_block += _blocks(len(node.tail))
    return next_block


def _write_superblock(
    out: BinaryIO, tree: LayerTree, meta_block: int, inodes: int, blocks: int
) -> None:
    device_slot = (_SUPER_OFFSET + _SUPER_SIZE) // _DEVICE_SLOT_SIZE
    block = bytearray(BLOCK)
    struct.pack_into(
        "<IIIBBHQQIIII16s16sIHHHBBIQ",
        block,
        0,
        _MAGIC,
        0,
        _COMPAT_MTIME,
        _BLOCK_BITS,
        0,
        tree.root.nid,
        inodes,
        0,
        0,
        blocks,
        meta_block,
        0,
        bytes(16),
        b"naru-layer",
        _INCOMPAT_CHUNKED | _INCOMPAT_DEVICES,
        0,
        1,
        device_slot,
        0,
        0,
        0,
        0,
    )
    struct.pack_into("<64sII", block, _SUPER_SIZE, b"", tree.tar_blocks, 0)
    out.seek(_SUPER_OFFSET)
    out.write(block)


def _blocks(size: int) -> int:
    return -(-size // BLOCK)


def _split_xattr(name: str) -> tuple[int, bytes]:
    for prefix, index in _XATTR_PREFIXES:
        if name.startswith(prefix):
            return index, os.fsencode(name[len(prefix) :])
    raise Unmappable(f"xattr {name}: EROFS has no such namespace")


def _xattr_size(xattrs: dict[str, bytes]) -> int:
    return len(_xattr_body(xattrs)) if xattrs else 0


def _xattr_body(xattrs: dict[str, bytes]) -> bytes:
    if not xattrs:
        return b""
    body = bytearray(_XATTR_HEADER.pack(0, 0))
    for name, value in sorted(xattrs.items()):
        index, rest = _split_xattr(name)
        body += _XATTR_ENTRY.pack(len(rest), index, len(value)) + rest + value
        body += bytes(-len(body) % 4)
    return bytes(body)


def _grouped(names: Iterable[bytes]) -> list[list[bytes]]:
    """Names in the order given, cut into directory blocks."""
    groups: list[list[bytes]] = []
    room = 0
    for name in names:
        need = _DIRENT.size + len(name)
        if need > room:
            groups.append([])
            room = BLOCK
        groups[-1].append(name)
        room -= need
    return groups


def _dirent_names(children: dict[bytes, Node]) -> list[bytes]:
    return sorted([b".", b"..", *children])


def _directory_size(children: dict[bytes, Node]) -> int:
    groups = _grouped(_dirent_names(children))
    return (len(groups) - 1) * BLOCK + sum(_DIRENT.size + len(name) for name in groups[-1])


def _directory_blocks(node: Node, parent: Node) -> bytes:
    assert node.children is not None
    named = {b".": node, b"..": parent, **node.children}
    blocks = bytearray()
    for names in _grouped(_dirent_names(node.children)):
        blocks += bytes(-len(blocks) % BLOCK)
        name_offset = _DIRENT.size * len(names)
        for name in names:
            target = named[name]
            kind = _DIRENT_TYPES[stat.S_IFMT(target.mode)]
            blocks += _DIRENT.pack(target.nid, name_offset, kind, 0)
            name_offset += len(name)
        blocks += b"".join(names)
    return bytes(blocks)


def _write_inodes(out: BinaryIO, nodes: list[Node], start: int) -> None:
    position = start
    for number, node in enumerate(nodes, 1):
        offset = start + node.nid * _INODE_SLOT
        record = bytearray(offset - position)
        xattrs = _xattr_body(node.xattrs)
        record += _inode(node, number, len(xattrs)) + xattrs
        if node.inline:
            record += node.tail
        if node.chunks:
            record += bytes(-(position + len(record)) % _CHUNK.size)
            for place in node.chunks:
                device = 0 if place == HOLE else 1
                record += _CHUNK.pack(0, device, place)
        out.write(record)
        position += len(record)


def _inode(node: Node, number: int, xattr_size: int) -> bytes:
    detail = node.blocks
    layout = _FLAT_PLAIN
    if node.inline:
        layout = _FLAT_INLINE
    elif node.chunks:
        layout = _CHUNK_BASED
        bits = _MAX_CHUNK_BITS if len(node.chunks) == 1 else SPARSE_CHUNK_BITS
        detail = _CHUNK_INDEXES | bits
    elif stat.S_ISCHR(node.mode) or stat.S_ISBLK(node.mode):
        detail = node.rdev
    xattr_count = 1 + (xattr_size - _XATTR_HEADER.size) // 4 if xattr_size else 0
    seconds, nanoseconds = divmod(node.mtime, 1_000_000_000)
    return _INODE.pack(
        1 | layout << 1, xattr_count, node.mode, 0, node.size, detail, number,
        node.uid, node.gid, seconds & 0xFFFFFFFFFFFFFFFF, nanoseconds, node.links,
    )  # fmt: skip


def _write_blocks(out: BinaryIO, nodes: list[Node]) -> None:
    for node in nodes:
        if node.tail and not node.inline:
            out.seek(node.blocks * BLOCK)
            out.write(node.tail)
