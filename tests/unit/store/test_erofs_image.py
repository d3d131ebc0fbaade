"""EROFS images of both block sizes: what a file's parts are read from."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import pytest

from naru.store.erofs_format import read_offsets
from naru.store.erofs_image import write_image
from naru.store.erofs_tree import LayerTree

PAGE = 4096
SIZES = (0, 1, 511, 512, 4095, 4096, 4097, 8192, 3 * 4096 + 100, 8 * 4096 + 1, 300_000)


def content(size: int) -> bytes:
    return bytes((size + at // 7) % 251 for at in range(size))


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    with tarfile.open(tmp_path / "layer.tar", "w") as tar:
        for size in SIZES:
            member = tarfile.TarInfo(f"{size:07}")
            member.size = size
            tar.addfile(member, io.BytesIO(content(size)))
    return tmp_path / "layer.tar"


def image_of(layer: Path, block: int) -> bytes:
    image = layer.with_name("layer.erofs")
    tree = LayerTree()
    with layer.open("rb") as tar, image.open("w+b") as out:
        tree.read(tar)
        size = write_image(tree, out, block=block, tar=tar)
    assert size == image.stat().st_size
    assert size % block == 0
    return image.read_bytes()


class Reader:
    """Just enough of EROFS to read regular files of the root directory."""

    def __init__(self, image: bytes, tar: bytes) -> None:
        bits, root = struct.unpack_from("<BxH", image, 1024 + 12)
        (meta,) = struct.unpack_from("<I", image, 1024 + 40)
        self.bits, self.block = bits, 1 << bits
        self.image, self.root, self.meta = image, root, meta << bits
        self.devices = [image, *(tar[offset:] for offset in read_offsets(image))]

    def inode(self, nid: int) -> tuple[int, int, int, int]:
        """-> layout, size, detail, where what follows it begins."""
        at = self.meta + nid * 32
        form, _, _, _, size, detail = struct.unpack_from("<HHHHQI", self.image, at)
        return form >> 1, size, detail, at + 64

    def names(self) -> dict[str, int]:
        _, size, detail, _ = self.inode(self.root)
        data = self.image[detail << self.bits :][:size]
        found = {}
        for start in range(0, size, self.block):
            block = data[start : start + self.block]
            count = struct.unpack_from("<QH", block)[1] // 12
            entries = [struct.unpack_from("<QHBB", block, 12 * n) for n in range(count)]
            ends = [entry[1] for entry in entries[1:]] + [len(block)]
            for (nid, begin, _, _), end in zip(entries, ends, strict=True):
                found[block[begin:end].rstrip(b"\0").decode()] = nid
        return found

    def read(self, nid: int) -> bytes:
        layout, size, detail, after = self.inode(nid)
        if layout == 2:
            return self.image[after : after + size]
        if layout == 0:
            return self.image[detail << self.bits :][:size]
        assert layout == 4
        after += -after % 8
        chunk = self.block << (detail & 31)
        data = b""
        for number in range(-(-size // chunk)):
            _, device, block = struct.unpack_from("<HHI", self.image, after + 8 * number)
            data += self.devices[device][block << self.bits :][: min(chunk, size - len(data))]
        return data


@pytest.mark.parametrize("block", [512, PAGE])
def test_every_byte_is_found(layer: Path, block: int) -> None:
    reader = Reader(image_of(layer, block), layer.read_bytes())
    names = reader.names()
    assert reader.block == block
    assert sorted(set(names) - {".", ".."}) == [f"{size:07}" for size in SIZES]
    for size in SIZES:
        assert reader.read(names[f"{size:07}"]) == content(size)


def test_small_blocks_need_one_device_and_copy_nothing(layer: Path) -> None:
    image = image_of(layer, 512)
    assert read_offsets(image) == [0]
    assert content(300_000)[-100:] not in image


def test_large_blocks_need_at_most_eight_devices(layer: Path) -> None:
    image = image_of(layer, PAGE)
    offsets = read_offsets(image)
    assert offsets == sorted(set(offsets))
    assert set(offsets) <= {512 * number for number in range(8)}
    # What is beyond a file's last whole page is here: the tar has something else there.
    assert content(300_000)[-(300_000 % PAGE) :] in image
    assert content(300_000)[:PAGE] not in image


def test_a_layer_of_small_files_needs_no_device(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "layer.tar", "w") as tar:
        member = tarfile.TarInfo("small")
        member.size = 100
        tar.addfile(member, io.BytesIO(content(100)))
    image = image_of(tmp_path / "layer.tar", PAGE)
    assert read_offsets(image) == []
    reader = Reader(image, b"")
    assert reader.read(reader.names()["small"]) == content(100)
