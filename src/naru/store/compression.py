"""Compressed streams of layers: told by their first bytes, inflated and deflated piece by piece.

What is read at once is bounded, so that a bomb fills a disk at most (which extraction notices), and
never the daemon's memory.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

from naru.spec.errors import InvalidParameter
from naru.store.raw_reader import RawReader

_BUFFER = 1 << 18
_MAGICS = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Inflated(RawReader):
    """The plain bytes of `source`, whatever it is compressed with; `format` is "" for nothing."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._opened: tuple[str, Callable[[int], bytes], tuple[type[Exception], ...]] | None = None

    def _open(self) -> tuple[str, Callable[[int], bytes], tuple[type[Exception], ...]]:
        """Look at the first bytes, with the first read and not before: it may have to wait."""
        if self._opened is None:
            head = b""
            while len(head) < 6 and (piece := self._source.read(6 - len(head))):
                head += piece
            name = next((name for magic, name in _MAGICS if head.startswith(magic)), "")
            self._opened = (name, *_reader(name, _Prefixed(head, self._source)))
        return self._opened

    @property
    def format(self) -> str:
        return self._open()[0]

    def some(self, size: int) -> bytes:
        name, read, errors = self._open()
        try:
            return read(size)
        except EOFError as error:
            raise InvalidParameter("unexpected EOF") from error
        except errors as error:
            raise InvalidParameter(f"{name}: {error}") from error


class _Prefixed(RawReader):
    """`head`, then the rest of `source`."""

    def __init__(self, head: bytes, source: Readable) -> None:
        self._head = head
        self._source = source

    def some(self, size: int) -> bytes:
        if self._head:
            piece, self._head = self._head[:size], self._head[size:]
            return piece
        return self._source.read(size)


def _reader(
    name: str, source: _Prefixed
) -> tuple[Callable[[int], bytes], tuple[type[Exception], ...]]:
    match name:
        case "gzip":
            from isal import igzip, isal_zlib

            raw: Any = io.BufferedReader(source, _BUFFER)
            file = cast("Any", igzip).IGzipFile(fileobj=raw, mode="rb")
            return file.read1, (igzip.BadGzipFile, cast("type[Exception]", isal_zlib.error))
        case "zstd":
            import zstandard

            # 128 MiB of window is what every decoder of the format is to support at most.
            decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27)
            stream = decoder.stream_reader(
                cast("BinaryIO", source), read_size=_BUFFER, read_across_frames=True
            )
            return stream.read, (zstandard.ZstdError,)
        case "bzip2":
            import bz2

            return bz2.BZ2File(cast("BinaryIO", source)).read1, (OSError,)
        case "xz":
            import lzma

            return lzma.LZMAFile(cast("BinaryIO", source)).read1, (lzma.LZMAError,)
    return source.read, ()


class GzipWriter:
    """Deflate into `out`: fast rather than small, and the same bytes for the same input."""

    def __init__(self, out: Writable, *, level: int = 1) -> None:
        from isal import isal_zlib

        self._out = out
        self._deflate: Any = cast("Any", isal_zlib).compressobj(level=level, wbits=31)

    def write(self, data: bytes | memoryview) -> int:
        if compressed := self._deflate.compress(data):
            self._out.write(compressed)
        return len(data)

    def close(self) -> None:
        """Write what is pending; `out` stays open."""
        self._out.write(self._deflate.flush())


class Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...
