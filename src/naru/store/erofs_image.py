"""EROFS images that hold a layer's metadata only: the file data stays in the layer's tar.

A layer tar is read once; each member becomes an inode, and a regular file's inode points at its
data in the tar, which the kernel reads as the image's second device. Nothing is extracted.

    image = 1024 unused bytes, superblock, device slots | inodes with xattrs | directories, ...

A tar's data lies at multiples of 512 bytes, and Linux 6.4 mounts images of such blocks. For older
kernels an image has blocks of 4096 bytes: the tar is up to eight devices then, each beginning 512
bytes after the one before, so that every file begins at a block of one of them. What a file has
beyond its last whole block is in the image itself, for there the tar goes on with something else.
"""

from __future__ import annotations

import os
import stat
from typing import BinaryIO, Final

from naru.store.erofs_format import (
    CHUNK,
    CHUNK_BASED,
    CHUNK_INDEXES,
    DEVICE_SLOT_SIZE,
    FLAT_INLINE,
    FLAT_PLAIN,
    INODE_SIZE,
    INODE_SLOT,
    MAX_CHUNK_BITS,
    SUPER_OFFSET,
    SUPER_SIZE,
    Device,
    directory_blocks,
    directory_size,
    inode,
    superblock,
    xattr_body,
)
from naru.store.erofs_tree import HOLE, SPARSE_CHUNK, LayerTree, Node
from naru.store.tarentry import BLOCK

_PIECE: Final = 1 << 20
TAIL: Final = -1
"""The place of a chunk that is in the image: the file's tail."""


def write_image(tree: LayerTree, out: BinaryIO, *, block: int = BLOCK, tar: BinaryIO) -> int:
    """Write the image, with blocks of that many bytes -> its size. `out` must be empty.

    Both files are seekable. `Unmappable` where EROFS cannot hold what the tree has.
    """
    return _Image(tree, block, tar).write(out)


class _Image:
    def __init__(self, tree: LayerTree, block: int, tar: BinaryIO) -> None:
        self._tree = tree
        self._block = block
        self._wide = block // BLOCK  # tar blocks in one of ours
        self._tar = tar.fileno() if block != BLOCK else -1
        self._nodes, self._parents = _in_order(tree.root)
        self._phases: list[int] = []  # of the devices, in tar blocks

    def write(self, out: BinaryIO) -> int:
        for node in self._nodes:
            if node.chunks:
                self._cut(node)
        self._phases = [0]
        if self._wide > 1:
            places = (place for node in self._nodes for place in node.chunks)
            self._phases = sorted({place % self._wide for place in places if place >= 0})
        for node in self._nodes:
            if node.children is not None:
                node.links = 2 + sum(
                    1 for child in node.children.values() if child.children is not None
                )
                node.size = directory_size((b".", b"..", *node.children), self._block)
        start = self._blocks(SUPER_OFFSET + SUPER_SIZE + DEVICE_SLOT_SIZE * len(self._phases))
        start *= self._block
        end = self._place_inodes(start)
        for node in self._nodes:
            if node.children is not None:
                node.tail = self._directory(node)
        blocks = self._place_blocks(self._blocks(end))
        out.write(bytes(start))
        self._write_inodes(out, start)
        for node in self._nodes:
            if node.tail_size and not node.inline:
                out.seek(node.blocks * self._block)
                out.write(self._tail(node))
        out.truncate(blocks * self._block)
        out.seek(SUPER_OFFSET)
        out.write(self._superblock(start, blocks))
        return blocks * self._block

    # -- what lies where ------------------------------------------------------------------------

    def _cut(self, node: Node) -> None:
        """For wide blocks: say which part of a file is in the tar, and which in the image."""
        if self._wide == 1:
            node.chunk_bits = (SPARSE_CHUNK // BLOCK).bit_length() - 1
            return
        whole, over = divmod(node.size, self._block)
        first, last = node.chunks[0], node.chunks[-1]
        if len(node.chunks) > 1:  # sparse: each chunk is one of our blocks
            assert self._block == SPARSE_CHUNK
            if over and last != HOLE:
                node.tail_place = (last * BLOCK, over)
                node.chunks[-1] = TAIL
        elif first != HOLE and over:
            node.tail_place = ((first + whole * self._wide) * BLOCK, over)
            if not whole:
                node.chunks = []
                return
            # The largest chunks that end where the tail begins.
            node.chunk_bits = (whole & -whole).bit_length() - 1
            step = self._wide << node.chunk_bits
            node.chunks = [first + step * number for number in range(whole >> node.chunk_bits)]
            node.chunks.append(TAIL)

    def _place_inodes(self, start: int) -> int:
        position = start
        for node in self._nodes:
            position += -position % INODE_SLOT
            head = INODE_SIZE + (len(xattr_body(node.xattrs)) if node.xattrs else 0)
            if not node.chunks and node.children is None and (size := node.tail_size):
                # An inline tail may not cross a block: start the inode at the next one then.
                if not self._in_one_block(position + head, size):
                    position += -position % self._block
                node.inline = self._in_one_block(position + head, size)
                head += size if node.inline else 0
            node.nid = (position - start) // INODE_SLOT
            position += head
            if node.chunks:
                position += -position % CHUNK.size + CHUNK.size * len(node.chunks)
        return position

    def _in_one_block(self, position: int, size: int) -> bool:
        return position // self._block == (position + size - 1) // self._block

    def _place_blocks(self, next_block: int) -> int:
        for node in self._nodes:
            if node.tail_size and not node.inline:
                node.blocks = next_block
                next_block += self._blocks(node.tail_size)
        return next_block

    def _blocks(self, size: int) -> int:
        return -(-size // self._block)

    # -- bytes ----------------------------------------------------------------------------------

    def _superblock(self, start: int, blocks: int) -> bytes:
        size = self._tree.tar_blocks
        devices = [Device(p * BLOCK, -(-(size - p) // self._wide)) for p in self._phases]
        return superblock(
            devices,
            block_bits=self._block.bit_length() - 1,
            root=self._tree.root.nid,
            inodes=len(self._nodes),
            blocks=blocks,
            meta=start // self._block,
        )

    def _write_inodes(self, out: BinaryIO, start: int) -> None:
        written, gathered = start, bytearray()
        for number, node in enumerate(self._nodes, 1):
            gathered += bytes(start + node.nid * INODE_SLOT - written - len(gathered))
            xattrs = xattr_body(node.xattrs) if node.xattrs else b""
            gathered += _inode(node, number, len(xattrs))
            gathered += xattrs
            if node.inline:
                gathered += self._tail(node)
            if node.chunks:
                gathered += bytes(-(written + len(gathered)) % CHUNK.size)
                for place in node.chunks:
                    gathered += self._chunk(node, place)
            if len(gathered) >= _PIECE:
                written += out.write(gathered)
                gathered = bytearray()
        out.write(gathered)

    def _chunk(self, node: Node, place: int) -> bytes:
        if place == HOLE:
            return CHUNK.pack(0, 0, HOLE)
        if place == TAIL:
            return CHUNK.pack(0, 0, node.blocks)
        device = 1 + self._phases.index(place % self._wide)
        return CHUNK.pack(0, device, place // self._wide)

    def _directory(self, node: Node) -> bytes:
        assert node.children is not None
        named = {b".": node, b"..": self._parents[id(node)], **node.children}
        entries = {name: (child.nid, child.mode) for name, child in named.items()}
        return directory_blocks(entries, self._block)

    def _tail(self, node: Node) -> bytes:
        offset, size = node.tail_place
        if not size:
            return node.tail
        # Small, and of this moment's page cache: the tar has just been written.
        return os.pread(self._tar, size, offset)


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


def _inode(node: Node, number: int, xattr_size: int) -> bytes:
    layout, detail = FLAT_PLAIN, node.blocks
    if node.inline:
        layout = FLAT_INLINE
    elif node.chunks:
        layout = CHUNK_BASED
        bits = MAX_CHUNK_BITS if len(node.chunks) == 1 else node.chunk_bits
        detail = CHUNK_INDEXES | bits
    elif stat.S_ISCHR(node.mode) or stat.S_ISBLK(node.mode):
        detail = node.rdev
    return inode(
        layout, node.mode, node.size, detail, number, node.uid, node.gid, node.mtime, node.links,
        xattr_size,
    )  # fmt: skip
