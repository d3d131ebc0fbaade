"""Tar archives read as streams: nothing is held whole.

The formats are those of `tarheaders`, with GNU's long names and pax's global headers. A damaged or
hostile archive raises `TarError`; the memory used is bounded by the limits below, whatever its
headers claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

from naru.store.tarentry import (
    BLOCK,
    BLOCKDEV,
    CHARDEV,
    CHUNK,
    DIRECTORY,
    FIFO,
    HARDLINK,
    REGULAR,
    SYMLINK,
    Entry,
    TarError,
)
from naru.store.tarheaders import (
    GNU_SPARSE,
    LONG_LINK,
    LONG_NAME,
    MAX_SPARSE,
    PAX,
    PAX_GLOBAL,
    apply_pax,
    checked_map,
    decimal,
    number_field,
    old_regions,
    parse_header,
    pax_records,
    text_field,
)

MAX_EXTENSION = 4 << 20
"""Bytes of one pax header or long name that are accepted."""

_HEADER_ONLY = frozenset((HARDLINK, SYMLINK, CHARDEV, BLOCKDEV, DIRECTORY, FIFO))
_ZEROS = bytes(BLOCK)


class TarReader:
    """Iterate over the members; `data()` gives the current one's bytes, else they are skipped."""

    def __init__(self, source: BinaryIO) -> None:
        read1 = getattr(source, "read1", None)
        self._read: Callable[[int], bytes] = read1 or source.read
        self._chunk = b""  # what was read last
        self._buffer = memoryview(self._chunk)
        self._at = 0  # in it
        self._before = 0  # bytes of the archive before it
        self._data_left = 0
        self._padding = 0
        self._globals: dict[str, str] = {}

    @property
    def offset(self) -> int:
        """Of the byte that is read next."""
        return self._before + self._at

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self.next()) is not None:
            yield entry

    def next(self) -> Entry | None:
        """The next member, or None at the end of the archive, trailing bytes drained."""
        self._skip(self._data_left + self._padding)
        self._data_left = self._padding = 0
        pax: dict[str, str] = {}
        long_name: str | None = None
        long_link: str | None = None
        while True:
            header = self._take(BLOCK, may_end=True)
            if header is None or header == _ZEROS:
                self._drain()
                return None
            entry, kind = parse_header(header)
            if kind == PAX:
                pax.update(pax_records(self._extension(entry.stored)))
            elif kind == PAX_GLOBAL:
                self._globals.update(pax_records(self._extension(entry.stored)))
            elif kind == LONG_NAME:
                long_name = text_field(self._extension(entry.stored))
            elif kind == LONG_LINK:
                long_link = text_field(self._extension(entry.stored))
            else:
                break
        if long_name is not None:
            entry.name = long_name
        if long_link is not None:
            entry.linkname = long_link
        if kind == GNU_SPARSE:
            self._old_sparse(entry, header)
        if pax or self._globals:
            apply_pax(entry, {**self._globals, **pax} if self._globals else pax)
        if entry.kind == REGULAR and entry.name.endswith("/") and kind in ("0", "\0"):
            entry.kind = DIRECTORY  # v7 archives have no type for directories
        if entry.kind != REGULAR:
            if entry.kind not in _HEADER_ONLY:
                self._padding = entry.stored + -entry.stored % BLOCK
            entry.size = entry.stored = 0
            return entry
        self._data_left = entry.stored
        self._padding = -entry.stored % BLOCK
        if pax.get("GNU.sparse.major") == "1":
            self._sparse_map(entry)
        return entry

    def at_once(self) -> memoryview | None:
        """All of the current member's data where it is read already: most files are small."""
        size, at = self._data_left, self._at
        if at + size > len(self._buffer):
            return None
        self._data_left = 0
        self._at = at + size
        return self._buffer[at : self._at]

    def data(self) -> Iterator[memoryview]:
        """The current member's stored bytes (a sparse file's regions back to back)."""
        while self._data_left:
            piece = self._piece(self._data_left)
            self._data_left -= len(piece)
            yield piece

    # -- reading --------------------------------------------------------------------------------

    def _more(self) -> bool:
        """Read on where all is used -> whether there is more."""
        self._before += len(self._chunk)
        self._chunk = self._read(CHUNK)
        self._buffer, self._at = memoryview(self._chunk), 0
        return bool(self._chunk)

    def _piece(self, most: int) -> memoryview:
        """Between 1 and `most` bytes, without copying."""
        if self._at == len(self._chunk) and not self._more():
            raise TarError("unexpected EOF")
        piece = self._buffer[self._at : self._at + most]
        self._at += len(piece)
        return piece

    def _take(self, size: int, *, may_end: bool = False) -> bytes | None:
        """Exactly `size` bytes; None at a clean end where that is allowed."""
        at = self._at
        if at + size <= len(self._chunk):
            self._at = at + size
            return self._chunk[at : at + size]
        pieces = []
        left = size
        while left:
            if may_end and left == size and self._at == len(self._chunk) and not self._more():
                return None
            piece = self._piece(left)
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _skip(self, size: int) -> None:
        if self._at + size <= len(self._chunk):
            self._at += size
            return
        while size:
            size -= len(self._piece(size))

    def _drain(self) -> None:
        """Read past the end marker, so that whoever hashes the stream sees all of it."""
        while self._more():
            pass

    def _extension(self, size: int) -> bytes:
        if size > MAX_EXTENSION:
            raise TarError(f"header extension of {size} bytes")
        data = self._take(size) or b""
        self._skip(-size % BLOCK)
        return data

    # -- sparse files ---------------------------------------------------------------------------

    def _old_sparse(self, entry: Entry, header: bytes) -> None:
        regions = old_regions(header, 386, 4)
        more = header[482]
        while more:
            block = self._take(BLOCK) or b""
            regions += old_regions(block, 0, 21)
            more = block[504]
            if len(regions) > MAX_SPARSE:
                raise TarError("too many regions in a sparse file")
        entry.size = number_field(header[483:495])
        entry.kind = REGULAR
        entry.sparse = checked_map(regions, entry)

    def _sparse_map(self, entry: Entry) -> None:
        """GNU sparse 1.0: the map is decimal lines in front of the data."""
        numbers: list[int] = []
        pending = b""
        wanted: int | None = None
        while wanted is None or len(numbers) < wanted:
            if self._data_left < BLOCK:
                raise TarError("damaged sparse map")
            pending += self._take(BLOCK) or b""
            self._data_left -= BLOCK
            entry.stored -= BLOCK
            *lines, pending = pending.split(b"\n")
            numbers += [decimal(line) for line in lines[: 2 * MAX_SPARSE + 1 - len(numbers)]]
            if wanted is None and numbers:
                wanted = 1 + 2 * numbers[0]
                if numbers[0] > MAX_SPARSE:
                    raise TarError("too many regions in a sparse file")
        pairs = numbers[1:wanted]
        entry.sparse = checked_map(list(zip(pairs[::2], pairs[1::2], strict=True)), entry)
