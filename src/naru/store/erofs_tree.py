"""The tree that a layer tar describes, as the inodes of an EROFS image: see `erofs_image`.

Whiteouts become what overlayfs expects in a lower layer: 0/0 character devices, and the opaque
xattr on directories.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from naru.store import tarentry
from naru.store.erofs_format import Unmappable
from naru.store.tarentry import BLOCK, Entry, TarError
from naru.store.tarstream import TarReader
from naru.store.whiteouts import METADATA_PREFIX, OPAQUE, PREFIX
from naru.store.xattrs import OF_OVERLAY, OPAQUE_XATTR

SPARSE_CHUNK = 4096
"""Sparse files are mapped in chunks of so many bytes."""
HOLE = 0xFFFFFFFF
"""The place of a chunk that is not in the tar."""

_MAX_LINKS = 40  # as the kernel's path walk
_MAX_NAME = 255
_WHITEOUT = PREFIX.encode()
_FORMATS = {
    tarentry.REGULAR: stat.S_IFREG,
    tarentry.SYMLINK: stat.S_IFLNK,
    tarentry.CHARDEV: stat.S_IFCHR,
    tarentry.BLOCKDEV: stat.S_IFBLK,
    tarentry.DIRECTORY: stat.S_IFDIR,
    tarentry.FIFO: stat.S_IFIFO,
}


class Node(msgspec.Struct, eq=False):
    """An inode to be: what its tar member said, and where it will lie in the image."""

    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0  # ns
    size: int = 0
    links: int = 1
    rdev: int = 0
    implied: bool = False  # a directory that no member speaks of, only of its content
    xattrs: dict[str, bytes] | None = None
    children: dict[bytes, Node] | None = None  # of a directory
    tail: bytes = b""  # a link's target or a directory's blocks
    inline: bool = False  # `tail` follows the inode instead of having blocks of its own
    blocks: int = 0  # the first of those blocks
    chunks: list[int] = []  # a regular file's places in the tar, in blocks
    chunk_bits: int = 0  # how much larger than a block each is, where they are several
    tail_place: tuple[int, int] = (0, 0)  # offset and size in the tar of what the image has
    nid: int = -1

    @property
    def tail_size(self) -> int:
        """Bytes that the image has of the inode's contents."""
        if self.children is not None:
            return self.size
        return len(self.tail) or self.tail_place[1]


class LayerTree:
    """Collects the members of one layer tar.

    `read(tar)` raises `TarError` for an archive that extraction would refuse as well.
    """

    def __init__(self) -> None:
        self.root = _directory_node()
        self.tar_blocks = 0
        self.content = 0  # bytes of all files and links together, as Docker counts
        self._has_implied = False  # there were directories that no member had spoken of
        self._last = (b"", self.root)  # the directory of the last member, and its path as given

    def read(self, tar: BinaryIO) -> None:
        """Take in every member of an uncompressed layer tar, read to its end."""
        reader = TarReader(tar)
        for entry in reader:
            self._add(entry, reader.offset)
        self.tar_blocks = -(-reader.offset // BLOCK)

    @property
    def implied(self) -> list[str]:
        """Directories that no member speaks of, only of their content."""
        return sorted(path for path, _ in self._implied())

    def adopt(self, below: Callable[[str], Path | None]) -> None:
        """Give directories that no member speaks of the attributes of those `below`."""
        for path, directory in self._implied():
            if (found := below(path)) is not None:
                status = os.stat(found)
                directory.mode, directory.mtime = status.st_mode, status.st_mtime_ns
                directory.uid, directory.gid = status.st_uid, status.st_gid

    def _implied(self) -> Iterator[tuple[str, Node]]:
        pending = [("", self.root)] if self._has_implied else []
        while pending:
            above, node = pending.pop()
            for name, child in (node.children or {}).items():
                if child.children is not None:
                    path = above + os.fsdecode(name)
                    pending.append((path + "/", child))
                    if child.implied:
                        yield path, child

    def _add(self, entry: Entry, data_offset: int) -> None:
        raw = entry.name.encode("utf-8", "surrogateescape").rstrip(b"/")
        above, _, name = raw.rpartition(b"/")
        last, parent = self._last
        if above != last or name in (b"", b".", b"..") or len(name) > _MAX_NAME:
            parts = _components(entry.name)
            if not parts:
                if entry.is_dir:
                    _describe(self.root, entry)
                return
            parent = self._directory(parts[:-1])
            if name == parts[-1]:
                self._last = (above, parent)
            name = parts[-1]
        assert parent.children is not None
        if name.startswith(_WHITEOUT):
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

    def _node(self, entry: Entry, data_offset: int, before: Node | None) -> Node:
        if entry.is_dir and before is not None and before.children is not None:
            _describe(before, entry)  # a directory named twice keeps what is in it
            return before
        kind = entry.kind
        if kind not in _FORMATS:
            raise TarError(f"{entry.name!r}: unhandled tar header type {ord(kind)}")
        node = Node(
            _FORMATS[kind] | entry.mode & 0o7777, entry.uid, entry.gid, entry.mtime, entry.size
        )
        if entry.xattrs:
            node.xattrs = _own_xattrs(entry.xattrs)
        if kind == tarentry.REGULAR:
            if entry.size:
                node.chunks = _chunks(entry, data_offset)
            self.content += entry.size
        elif kind == tarentry.DIRECTORY:
            node.children = {}
        elif kind == tarentry.SYMLINK:
            node.tail = os.fsencode(entry.linkname)
            node.size = len(node.tail)
            self.content += node.size
        elif kind in (tarentry.CHARDEV, tarentry.BLOCKDEV):
            node.rdev = _device_number(entry.devmajor, entry.devminor)
        return node

    def _replace(self, parent: Node, name: bytes, node: Node) -> None:
        assert parent.children is not None
        before = parent.children.get(name)
        if before is not None and before is not node:
            before.links -= 1
            self._last = (b"", self.root)  # it may have been on the way there
        parent.children[name] = node

    def _whiteout(self, parent: Node, name: str) -> None:
        if name == OPAQUE:
            parent.xattrs = {**(parent.xattrs or {}), OPAQUE_XATTR: b"y"}
        elif not name.startswith(METADATA_PREFIX):
            hidden = os.fsencode(name.removeprefix(PREFIX))
            if not hidden or hidden in (b".", b".."):
                raise TarError(f"{name!r} is no whiteout")
            self._replace(parent, hidden, Node(stat.S_IFCHR))

    def _directory(self, parts: list[bytes]) -> Node:
        """The directory at `parts`, by way of the layer's own links as extraction goes.

        Directories that the tar does not name are made.
        """
        path: list[Node] = [self.root]
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
                child = _directory_node()
                child.implied = self._has_implied = True
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

    def _lookup(self, parts: list[bytes]) -> Node | None:
        node: Node | None = self.root
        for part in parts:
            if node is None or node.children is None:
                return None
            node = node.children.get(part)
        return node


def _components(name: str) -> list[bytes]:
    parts = [part for part in os.fsencode(name).split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise TarError(f"{name!r} leaves the root of the layer")
    if any(len(part) > _MAX_NAME for part in parts):
        raise TarError(f"{name!r} has a component of more than 255 bytes")
    return parts


def _directory_node() -> Node:
    return Node(stat.S_IFDIR | 0o755, children={})


def _describe(node: Node, entry: Entry) -> None:
    """What is said of a directory that is there already."""
    node.implied = False
    node.mode = stat.S_IFMT(node.mode) | (entry.mode & 0o7777)
    node.uid, node.gid, node.mtime = entry.uid, entry.gid, entry.mtime
    opaque = {k: v for k, v in (node.xattrs or {}).items() if k == OPAQUE_XATTR}
    node.xattrs = {**opaque, **_own_xattrs(entry.xattrs or {})}


def _own_xattrs(xattrs: dict[str, bytes]) -> dict[str, bytes]:
    return {k: v for k, v in xattrs.items() if not k.startswith(OF_OVERLAY)}


def _chunks(entry: Entry, data_offset: int) -> list[int]:
    """Where the file's chunks lie in the tar, in blocks."""
    if entry.sparse is None:
        return [data_offset // BLOCK]
    chunk, step = SPARSE_CHUNK, SPARSE_CHUNK // BLOCK
    places = [HOLE] * -(-entry.size // chunk)
    at = data_offset
    for offset, length in entry.sparse:
        if length:
            if offset % chunk or at % BLOCK or (length % chunk and offset + length != entry.size):
                raise Unmappable(f"{entry.name}: sparse regions that are not aligned")
            for number in range(-(-length // chunk)):
                places[offset // chunk + number] = at // BLOCK + number * step
        at += length
    return places


def _device_number(major: int, minor: int) -> int:
    """The kernel's `new_encode_dev`."""
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
