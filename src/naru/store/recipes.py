"""How a compressed layer was made from its tar, so that the same bytes can be made again.

A recipe is found by trying: what compresses the tar to the blob's very bytes is one. It is only
one after a whole rebuild had the blob's digest. Layers by Go's compressors, which most registries
are full of, have none here.

    plain                     the tar itself
    isal:<level>              our own GzipWriter
    zlib:<level>:<head>       zlib's deflate behind the ten bytes `head` (hex) of a gzip file
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from naru.spec.errors import InternalError
from naru.store.compression import GzipWriter, Writable

PLAIN = "plain"
OURS = "isal:1"
_GZIP = b"\x1f\x8b\x08\x00"  # deflate, and no name or comment in the head
_HEAD = 10
_LOOKED_AT = 1 << 20
"""Bytes of a blob by which a recipe is ruled out before a whole rebuild is tried."""


class Compressor(Protocol):
    def write(self, data: bytes, /) -> int: ...

    def close(self) -> None: ...


def compressor(recipe: str, out: Writable) -> Compressor:
    """What writes to `out` by that recipe."""
    name, _, rest = recipe.partition(":")
    if name == PLAIN:
        return _Plain(out)
    if name == "isal":
        return GzipWriter(out, level=int(rest))
    if name == "zlib":
        level, _, head = rest.partition(":")
        return _Zlib(out, int(level), bytes.fromhex(head))
    raise InternalError(f"unknown recipe of a layer: {recipe!r}")


def find(blob: Path, digest: str, tar: Callable[[], Iterable[bytes]]) -> str | None:
    """A recipe that makes the blob from its tar; each candidate that looks right is tried whole."""
    with blob.open("rb") as file:
        head = file.read(_LOOKED_AT)
    for recipe in _candidates(head):
        if _begins(recipe, head, tar()) and rebuilt_digest(recipe, tar()) == digest:
            return recipe
    return None


def rebuilt_digest(recipe: str, pieces: Iterable[bytes]) -> str:
    out = _Hashed()
    made = compressor(recipe, out)
    for piece in pieces:
        made.write(piece)
    made.close()
    return "sha256:" + out.hash.hexdigest()


def _candidates(head: bytes) -> Iterator[str]:
    if head[257:262] == b"ustar" or not any(head[:512]):
        yield PLAIN
    if head.startswith(_GZIP):
        yield OURS
        for level in (6, 9, 1, 2, 3, 4, 5, 7, 8):
            yield f"zlib:{level}:{head[:_HEAD].hex()}"


def _begins(recipe: str, head: bytes, pieces: Iterable[bytes]) -> bool:
    """Whether the beginning of what the recipe makes is the blob's."""
    out = _Gathered()
    made = compressor(recipe, out)
    for piece in pieces:
        made.write(piece)
        if len(out.data) >= len(head):
            break
        if not head.startswith(bytes(out.data)):
            return False
    else:
        made.close()
    size = min(len(head), len(out.data))
    return head[:size] == out.data[:size]


class _Plain:
    def __init__(self, out: Writable) -> None:
        self._out = out

    def write(self, data: bytes, /) -> int:
        self._out.write(data)
        return len(data)

    def close(self) -> None:
        """There is nothing to end."""


class _Zlib:
    def __init__(self, out: Writable, level: int, head: bytes) -> None:
        self._out = out
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, -15)
        self._sum = 0
        self._size = 0
        out.write(head)

    def write(self, data: bytes, /) -> int:
        self._sum = zlib.crc32(data, self._sum)
        self._size += len(data)
        if compressed := self._deflate.compress(data):
            self._out.write(compressed)
        return len(data)

    def close(self) -> None:
        size = self._size & 0xFFFFFFFF
        tail = self._sum.to_bytes(4, "little") + size.to_bytes(4, "little")
        self._out.write(self._deflate.flush() + tail)


class _Hashed:
    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, data: bytes, /) -> int:
        self.hash.update(data)
        return len(data)


class _Gathered:
    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> int:
        self.data += data
        return len(data)
