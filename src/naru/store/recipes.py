"""How a compressed layer was made from its tar, so that the same bytes can be made again.

A recipe is found by trying: what compresses the tar to the blob's very bytes is one. Where nothing
does, notes are made of all that the tar does not tell of the blob, and kept as a blob of their own
(`deflate/notes`); that is for the layers by Go's compressors, which most registries are full of.
Either is a recipe only after a whole rebuild had the blob's digest.

    plain                     the tar itself
    isal:<level>              our own GzipWriter
    zlib:<level>:<head>       zlib's deflate behind the ten bytes `head` (hex) of a gzip file
    deflate:<digest>          by the notes that are the blob of this digest
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from naru.kernel.workers import Workers
from naru.spec.errors import InternalError
from naru.store.apart import writing
from naru.store.blobs import BlobStore, Lease
from naru.store.compression import GzipWriter, Writable
from naru.store.deflate import work

PLAIN = "plain"
OURS = "isal:1"
_GZIP = b"\x1f\x8b\x08\x00"  # deflate, and no name or comment in the head
_HEAD = 10
_NOTED = "deflate"
_WORTH_NOTES = 1 << 16
"""Bytes of a blob: for less, a worker would be started twice to save next to nothing."""
_LOOKED_AT = 1 << 20
"""Bytes of a blob by which a recipe is ruled out before a whole rebuild is tried."""


class Compressor(Protocol):
    def write(self, data: bytes, /) -> int: ...

    def close(self) -> None: ...


class Unmakable(InternalError):
    """What a recipe needs besides the tar is missing."""


class Recipes:
    """Finds recipes for the blobs of a store, and makes blobs by them."""

    def __init__(self, blobs: BlobStore, workers: Workers | None) -> None:
        self._blobs = blobs
        self._workers = workers

    @property
    def takes_notes(self) -> bool:
        """Whether it can make notes, and blobs from them."""
        return self._workers is not None and work.available()

    def can(self, recipe: str) -> bool:
        """Whether all that it needs besides the tar is here. Cheap."""
        notes = notes_of(recipe)
        return not notes or (self.takes_notes and self._blobs.has(notes))

    def hold(self, recipe: str, lease: Lease) -> None:
        """Keep what it needs besides the tar."""
        if notes := notes_of(recipe):
            lease.add(notes)

    @contextmanager
    def compressor(self, recipe: str, out: Writable) -> Iterator[Compressor]:
        """What writes to `out` by that recipe; all of it, once it was closed."""
        notes = notes_of(recipe)
        if not notes:
            yield _compressor(recipe, out)
            return
        if self._workers is None or not self.takes_notes:
            raise Unmakable(
                "to compress a layer again as it was needs numba, which is not installed"
            )
        if not self._blobs.has(notes):
            raise Unmakable(f"the notes {notes} of how a layer was compressed are lost")
        with self._blobs.open(notes) as file, work.remade(self._workers, file, out) as made:
            yield made

    def rebuilt_digest(self, recipe: str, pieces: Iterable[bytes]) -> str:
        out = _Hashed()
        with self.compressor(recipe, out) as made:
            for piece in pieces:
                made.write(piece)
            made.close()
        return "sha256:" + out.hash.hexdigest()

    def find(self, digest: str, tar: Callable[[], Iterable[bytes]], lease: Lease) -> str | None:
        """A recipe that makes the blob from its tar; each candidate that looks right is tried
        whole. Notes are held by the lease."""
        with self._blobs.open(digest) as file:
            head = file.read(_LOOKED_AT)
        for recipe in _candidates(head):
            if _begins(recipe, head, tar()) and self.rebuilt_digest(recipe, tar()) == digest:
                return recipe
        if head.startswith(_GZIP[:3]) and self._blobs.size(digest) >= _WORTH_NOTES:
            notes = self._note(digest, lease)
            if notes and self.rebuilt_digest(recipe := f"{_NOTED}:{notes}", tar()) == digest:
                return recipe
        return None

    def _note(self, digest: str, lease: Lease) -> str | None:
        """Make notes of a blob -> their digest, or None where they would not be small."""
        if self._workers is None or not self.takes_notes:
            return None
        with (
            suppress(work.TooMuch),
            self._blobs.ingest() as notes,
            self._blobs.open(digest) as blob,
        ):
            with writing(self._workers, work.take_apart, fds=[blob.fileno()]) as made:
                while piece := made.read(_LOOKED_AT):
                    notes.write(piece)
            lease.add(notes.digest)
            return notes.commit()
        return None


def notes_of(recipe: str) -> str:
    """The digest of the blob that the recipe needs, or ""."""
    name, _, rest = recipe.partition(":")
    return rest if name == _NOTED else ""


def _compressor(recipe: str, out: Writable) -> Compressor:
    name, _, rest = recipe.partition(":")
    if name == PLAIN:
        return _Plain(out)
    if name == "isal":
        return GzipWriter(out, level=int(rest))
    if name == "zlib":
        level, _, head = rest.partition(":")
        return _Zlib(out, int(level), bytes.fromhex(head))
    raise InternalError(f"unknown recipe of a layer: {recipe!r}")


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
    made = _compressor(recipe, out)
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
