"""EROFS images that hold a layer's metadata only: the file data stays in the layer's tar.

A layer tar is read once; each member becomes an inode, and a regular file's inode points at its
data in the tar, which the kernel reads as the image's second device. Nothing is extracted. The
format is that of the kernel's `fs/erofs/erofs_fs.h`: extended inodes, chunk-based files with a
device table, 512-byte blocks (a tar's own), directories in flat blocks.

    image = 1024 unused bytes, superblock, device slot | inodes with xattrs | directories, ...

Whiteouts come out as overlayfs expects them in a lower layer: 0/0 character devices, and the
opaque xattr on directories.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from naru.store import tarentry
from naru.store.tarentry import BLOCK, Entry, TarError
from naru.store.tarstream import TarReader
from naru.store.whiteouts import METADATA_PREFIX, OPAQUE, PREFIX

_MAGIC = 0xE0F5E1E2
_SUPER_OFFSET = 1024
_SUPER_SIZE = 128
_DEVICE_SLOT_SIZE = 128
_BLOCK_BITS = 9
_INODE_SLOT = 32
_INODE_SIZE = 64

_COMPAT_CHECKSUM, _COMPAT_MTIME = 0x1, 0x2
_INCOMPAT_CHUNKED, _INCOMPAT_DEVICES = 0x4, 0x8

_FLAT_PLAIN, _FLAT_INLINE, _CHUNK_BASED = 0, 2, 4
_CHUNK_INDEXES = 0x20
_MAX_CHUNK_BITS = 31  # above the block's: a chunk of 1 TiB
_SPARSE_CHUNK_BITS = 3  # sparse files are mapped in chunks of 4 KiB
_HOLE = 0xFFFFFFFF
_MAX_LINKS = 40  # as the kernel's path walk
_SKIPPED_XATTRS = ("trusted.overlay.", "user.overlay.")

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
_FORMATS = {
    tarentry.REGULAR: stat.S_IFREG,
    tarentry.SYMLINK: stat.S_IFLNK,
    tarentry.CHARDEV: stat.S_IFCHR,
    tarentry.BLOCKDEV: stat.S_IFBLK,
    tarentry.DIRECTORY: stat.S_IFDIR,
    tarentry.FIFO: stat.S_IFIFO,
}
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


class _Node:
    """An inode to be: what its tar member said, and where it will lie in the image."""

    __slots__ = (
        "blocks",
        "children",
        "chunks",
        "gid",
        "implied",
        "inline",
        "links",
        "mode",
        "mtime",
        "nid",
        "rdev",
        "size",
        "tail",
        "uid",
        "xattrs",
    )  # fmt: skip

    def __init__(self, mode: int, *, uid: int = 0, gid: int = 0, mtime: int = 0) -> None:
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime = mtime
        self.links = 1
        self.size = 0
        self.rdev = 0
        self.implied = False  # a directory that no member speaks of, only of its content
        self.xattrs: dict[str, bytes] = {}
        self.children: dict[bytes, _Node] | None = {} if stat.S_ISDIR(mode) else None
        self.tail = b""  # a link's target or a directory's blocks
        self.inline = False  # `tail` follows the inode instead of having blocks of its own
        self.blocks = 0  # the first of those blocks
        self.chunks: list[int] = []  # a regular file's places in the tar, in blocks
        self.nid = -1


class LayerImage:
    """Collects the members of one layer tar, then writes the image.

    `read(tar)` raises `TarError` for an archive that extraction would refuse as well.
    """

    def __init__(self, *, opaque_xattr: str = "trusted.overlay.opaque") -> None:
        self._root = _Node(stat.S_IFDIR | 0o755)
        self._opaque_xattr = opaque_xattr
        self.tar_blocks = 0
        self.content = 0  # bytes of all files together
        self.has_implied = False  # whether there are directories that no member speaks of

    def read(self, tar: BinaryIO) -> None:
        """Take in every member of an uncompressed layer tar, read to its end."""
        reader = TarReader(tar)
        for entry in reader:
            self._add(entry, reader.offset)
        self.tar_blocks = -(-reader.offset // BLOCK)

    def adopt(self, below: Callable[[str], Path | None]) -> None:
        """Give directories that no member speaks of the attributes of those `below`."""
        pending = [("", self._root)]
        while pending:
            above, node = pending.pop()
            for name, child in (node.children or {}).items():
                if child.children is None:
                    continue
                path = above + os.fsdecode(name)
                pending.append((path + "/", child))
                if child.implied and (found := below(path)) is not None:
                    status = os.stat(found)
                    child.mode, child.mtime = status.st_mode, status.st_mtime_ns
                    child.uid, child.gid = status.st_uid, status.st_gid

    # -- the tree -------------------------------------------------------------------------------

    def _add(self, entry: Entry, data_offset: int) -> None:
        parts = _components(entry.name)
        if not parts:
            if entry.is_dir:
                _describe(self._root, entry)
            return
        parent = self._directory(parts[:-1])
        name = parts[-1]
        assert parent.children is not None
        if name.startswith(os.fsencode(PREFIX)):
            self._whiteout(parent, os.fsdecode(name))
        elif entry.kind == tarentry.HARDLINK:
            target = self._lookup(_components(entry.linkname))
            if target is None or target.children is not None:
                raise TarError(
                    f"{entry.name}: hard link to {entry.linkname}, which is not in the layer"
                )
            if parent.children.get(name) is not target:
                self._replace(parent, name, target)
                target.links += 1
        else:
            self._replace(parent, name, self._node(entry, data_offset, parent.children.get(name)))

    def _node(self, entry: Entry, data_offset: int, before: _Node | None) -> _Node:
        if entry.is_dir and before is not None and before.children is not None:
            _describe(before, entry)  # a directory named twice keeps what is in it
            return before
        node = _Node(_FORMATS[entry.kind])
        _describe(node, entry)
        if entry.kind == tarentry.SYMLINK:
            node.tail = os.fsencode(entry.linkname)
            node.size = len(node.tail)
        elif entry.kind in (tarentry.CHARDEV, tarentry.BLOCKDEV):
            node.rdev = _device_number(entry.devmajor, entry.devminor)
        elif entry.is_file:
            node.size = entry.size
            node.chunks = _chunks(entry, data_offset)
            self.content += entry.stored
        return node

    def _replace(self, parent: _Node, name: bytes, node: _Node) -> None:
        assert parent.children is not None
        before = parent.children.get(name)
        if before is not None and before is not node:
            before.links -= 1
        parent.children[name] = node

    def _whiteout(self, parent: _Node, name: str) -> None:
        if name == OPAQUE:
            parent.xattrs[self._opaque_xattr] = b"y"
        elif not name.startswith(METADATA_PREFIX):
            hidden = os.fsencode(name.removeprefix(PREFIX))
            if not hidden or hidden in (b".", b".."):
                raise TarError(f"{name!r} is no whiteout")
            self._replace(parent, hidden, _Node(stat.S_IFCHR))

    def _directory(self, parts: list[bytes]) -> _Node:
        """The directory at `parts`, by way of the layer's own links as extraction goes.

        Directories that the tar does not name are made.
        """
        path: list[_Node] = [self._root]
        pending = parts[::-1]
        links = 0
        while pending:
            part = pending.pop()
            if part == b"..":  # of a link's target; the root is its own parent
                del path[max(1, len(path) - 1) :]
                continue
            children = path[-1].children
            assert children is not None
            child = children.get(part)
            if child is None:
                child = _Node(stat.S_IFDIR | 0o755)
                child.implied = self.has_implied = True
                self._replace(path[-1], part, child)
            if stat.S_ISLNK(child.mode):
                links += 1
                if links > _MAX_LINKS:
                    raise TarError(f"{os.fsdecode(part)}: too many levels of symbolic links")
                if child.tail.startswith(b"/"):
                    del path[1:]
                pending += [p for p in child.tail.split(b"/")[::-1] if p not in (b"", b".")]
            elif child.children is None:
                raise TarError(f"{os.fsdecode(part)}: not a directory")
            else:
                path.append(child)
        return path[-1]

    def _lookup(self, parts: list[bytes]) -> _Node | None:
        node: _Node | None = self._root
        for part in parts:
            if node is None or node.children is None:
                return None
            node = node.children.get(part)
        return node

    # -- the image ------------------------------------------------------------------------------

    def write(self, out: BinaryIO) -> int:
        """Write the image -> its size in bytes. `out` must be seekable and empty."""
        nodes = self._in_order()
        metadata_start = _blocks(_SUPER_OFFSET + _SUPER_SIZE + _DEVICE_SLOT_SIZE) * BLOCK
        for node in nodes:
            if node.children is not None:
                node.links = 2 + sum(
                    1 for child in node.children.values() if child.children is not None
                )
                node.size = _directory_size(node.children)
        end = self._place_inodes(nodes, metadata_start)
        for node in nodes:
            if node.children is not None:
                node.tail = _directory_blocks(node, self._parents[id(node)])
        end = self._place_blocks(nodes, _blocks(end))
        out.write(bytes(metadata_start))
        _write_inodes(out, nodes, metadata_start)
        _write_blocks(out, nodes)
        out.truncate(end * BLOCK)
        self._write_superblock(out, metadata_start // BLOCK, len(nodes), end)
        return end * BLOCK

    def _in_order(self) -> list[_Node]:
        """Every inode once, the root first (its number has 16 bits), names sorted."""
        self._parents: dict[int, _Node] = {id(self._root): self._root}
        seen: set[int] = {id(self._root)}
        nodes = [self._root]
        for node in nodes:  # grows as directories are met
            if node.children is None:
                continue
            node.children = dict(sorted(node.children.items()))
            for child in node.children.values():
                if id(child) not in seen:
                    seen.add(id(child))
                    self._parents[id(child)] = node
                    nodes.append(child)
        return nodes

    def _place_inodes(self, nodes: list[_Node], start: int) -> int:
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

    def _place_blocks(self, nodes: list[_Node], next_block: int) -> int:
        for node in nodes:
            if node.tail and not node.inline:
                node.blocks = next_block
                next_block += _blocks(len(node.tail))
        return next_block

    def _write_superblock(self, out: BinaryIO, meta_block: int, inodes: int, blocks: int) -> None:
        device_slot = (_SUPER_OFFSET + _SUPER_SIZE) // _DEVICE_SLOT_SIZE
        block = bytearray(BLOCK)  # from the superblock to the end of its block: what is summed
        struct.pack_into(
            "<IIIBBHQQIIII16s16sIHHHBBIQ",
            block,
            0,
            _MAGIC,
            0,
            _COMPAT_CHECKSUM | _COMPAT_MTIME,
            _BLOCK_BITS,
            0,
            self._root.nid,
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
        struct.pack_into("<64sII", block, _SUPER_SIZE, b"", self.tar_blocks, 0)
        struct.pack_into("<I", block, 4, _crc32c(block))
        out.seek(_SUPER_OFFSET)
        out.write(block)


def _components(name: str) -> list[bytes]:
    parts = [part for part in os.fsencode(name).split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise TarError(f"{name!r} leaves the root of the layer")
    if any(len(part) > 255 for part in parts):
        raise TarError(f"{name!r} has a component of more than 255 bytes")
    return parts


def _describe(node: _Node, entry: Entry) -> None:
    node.implied = False
    node.mode = stat.S_IFMT(node.mode) | (entry.mode & 0o7777)
    node.uid, node.gid, node.mtime = entry.uid, entry.gid, entry.mtime
    opaque = {k: v for k, v in node.xattrs.items() if k.endswith(".overlay.opaque")}
    own = {k: v for k, v in (entry.xattrs or {}).items() if not k.startswith(_SKIPPED_XATTRS)}
    node.xattrs = {**opaque, **own}


def _chunks(entry: Entry, data_offset: int) -> list[int]:
    """Where the file's chunks lie in the tar, in blocks."""
    if not entry.size:
        return []
    if entry.sparse is None:
        return [data_offset // BLOCK]
    chunk = BLOCK << _SPARSE_CHUNK_BITS
    places = [_HOLE] * -(-entry.size // chunk)
    at = data_offset
    for offset, length in entry.sparse:
        if length:
            if offset % chunk or at % BLOCK or (length % chunk and offset + length != entry.size):
                raise TarError(
                    f"{entry.name}: sparse regions that are not aligned cannot be mapped"
                )
            for number in range(-(-length // chunk)):
                places[offset // chunk + number] = at // BLOCK + (number << _SPARSE_CHUNK_BITS)
        at += length
    return places


def _device_number(major: int, minor: int) -> int:
    """The kernel's `new_encode_dev`."""
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


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


def _dirent_names(children: dict[bytes, _Node]) -> list[bytes]:
    return sorted([b".", b"..", *children])


def _directory_size(children: dict[bytes, _Node]) -> int:
    groups = _grouped(_dirent_names(children))
    return (len(groups) - 1) * BLOCK + sum(_DIRENT.size + len(name) for name in groups[-1])


def _directory_blocks(node: _Node, parent: _Node) -> bytes:
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


def _write_inodes(out: BinaryIO, nodes: list[_Node], start: int) -> None:
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
                device = 0 if place == _HOLE else 1
                record += _CHUNK.pack(0, device, place)
        out.write(record)
        position += len(record)


def _inode(node: _Node, number: int, xattr_size: int) -> bytes:
    detail = node.blocks
    layout = _FLAT_PLAIN
    if node.inline:
        layout = _FLAT_INLINE
    elif node.chunks:
        layout = _CHUNK_BASED
        bits = _MAX_CHUNK_BITS if len(node.chunks) == 1 else _SPARSE_CHUNK_BITS
        detail = _CHUNK_INDEXES | bits
    elif stat.S_ISCHR(node.mode) or stat.S_ISBLK(node.mode):
        detail = node.rdev
    xattr_count = 1 + (xattr_size - _XATTR_HEADER.size) // 4 if xattr_size else 0
    seconds, nanoseconds = divmod(node.mtime, 1_000_000_000)
    return _INODE.pack(
        1 | layout << 1, xattr_count, node.mode, 0, node.size, detail, number,
        node.uid, node.gid, seconds & 0xFFFFFFFFFFFFFFFF, nanoseconds, node.links,
    )  # fmt: skip


def _write_blocks(out: BinaryIO, nodes: list[_Node]) -> None:
    for node in nodes:
        if node.tail and not node.inline:
            out.seek(node.blocks * BLOCK)
            out.write(node.tail)


def _crc32c(data: bytes | bytearray) -> int:
    """The Castagnoli checksum without its final inversion, as EROFS stores it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc
