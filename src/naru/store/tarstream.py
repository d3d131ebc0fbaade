"""Tar archives read as streams: every format in use, and nothing is held whole.

That is v7, ustar, GNU (long names, base-256 numbers, old sparse) and pax (also global headers,
sub-second times, `SCHILY.xattr.`, GNU sparse 0.0, 0.1 and 1.0). A damaged or hostile archive raises
`TarError`; the memory used is bounded by the limits below, whatever its headers claim.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from typing import BinaryIO

BLOCK = 512
CHUNK = 1 << 20
MAX_EXTENSION = 4 << 20
"""Bytes of one pax header or long name that are accepted."""
MAX_SPARSE = 1 << 18
"""Data regions of one sparse file that are accepted."""

REGULAR, HARDLINK, SYMLINK, CHARDEV, BLOCKDEV, DIRECTORY, FIFO = "0123456"
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK, _GNU_SPARSE, _CONTIGUOUS = "xgLKS7"
_HEADER_ONLY = frozenset((HARDLINK, SYMLINK, CHARDEV, BLOCKDEV, DIRECTORY, FIFO))
_KINDS = {
    stat.S_IFREG: REGULAR,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARDEV,
    stat.S_IFBLK: BLOCKDEV,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFIFO: FIFO,
}
_XATTR = "SCHILY.xattr."
_ZEROS = bytes(BLOCK)


class TarError(ValueError):
    """The bytes are no tar archive, or one that this reader refuses."""


class Entry:
    """One member. Names are as `os.fsdecode` gives them; `size` is that of the whole file."""

    __slots__ = (
        "devmajor", "devminor", "gid", "gname", "kind", "linkname", "mode", "mtime", "name",
        "pax", "size", "sparse", "stored", "uid", "uname", "xattrs",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        kind: str = REGULAR,
        *,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        size: int = 0,
        mtime: int = 0,
        linkname: str = "",
        uname: str = "",
        gname: str = "",
        devmajor: int = 0,
        devminor: int = 0,
        xattrs: dict[str, bytes] | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.mode = mode  # permission bits with setuid, setgid and sticky
        self.uid = uid
        self.gid = gid
        self.size = size
        self.mtime = mtime  # ns since the epoch
        self.linkname = linkname
        self.uname = uname
        self.gname = gname
        self.devmajor = devmajor
        self.devminor = devminor
        self.xattrs = xattrs
        self.pax: dict[str, str] | None = None  # every pax record, as it came
        self.sparse: list[tuple[int, int]] | None = None  # (offset, length) of the data regions
        self.stored = size if kind == REGULAR else 0  # bytes of data in the archive

    @property
    def is_dir(self) -> bool:
        return self.kind == DIRECTORY

    @property
    def is_file(self) -> bool:
        return self.kind == REGULAR

    def __repr__(self) -> str:
        return f"<Entry {self.kind} {self.name!r} {self.size}>"


def kind_of(mode: int) -> str | None:
    """The tar type for an `st_mode`; None for what tar cannot hold (sockets)."""
    return _KINDS.get(stat.S_IFMT(mode))


class TarReader:
    """Iterate over the members; `data()` gives the current one's bytes, else they are skipped."""

    def __init__(self, source: BinaryIO) -> None:
        read1 = getattr(source, "read1", None)
        self._read: Callable[[int], bytes] = read1 or source.read
        self._buffer = memoryview(b"")
        self._at = 0
        self._data_left = 0
        self._padding = 0
        self._globals: dict[str, str] = {}
        self.offset = 0  # of the byte that is read next

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
            entry, kind = _parse_header(header)
            if kind == _PAX:
                pax.update(_pax_records(self._extension(entry.stored)))
            elif kind == _PAX_GLOBAL:
                self._globals.update(_pax_records(self._extension(entry.stored)))
            elif kind == _LONG_NAME:
                long_name = _text(self._extension(entry.stored))
            elif kind == _LONG_LINK:
                long_link = _text(self._extension(entry.stored))
            else:
                break
        if long_name is not None:
            entry.name = long_name
        if long_link is not None:
            entry.linkname = long_link
        if kind == _GNU_SPARSE:
            self._old_sparse(entry, header)
        if pax or self._globals:
            _apply_pax(entry, {**self._globals, **pax} if self._globals else pax)
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

    def data(self) -> Iterator[memoryview]:
        """The current member's stored bytes (a sparse file's regions back to back)."""
        while self._data_left:
            piece = self._piece(self._data_left)
            self._data_left -= len(piece)
            yield piece

    # -- reading --------------------------------------------------------------------------------

    def _piece(self, most: int) -> memoryview:
        """Between 1 and `most` bytes, without copying."""
        if self._at == len(self._buffer):
            chunk = self._read(CHUNK)
            if not chunk:
                raise TarError("unexpected EOF")
            self._buffer = memoryview(chunk)
            self._at = 0
        piece = self._buffer[self._at : self._at + most]
        self._at += len(piece)
        self.offset += len(piece)
        return piece

    def _take(self, size: int, *, may_end: bool = False) -> bytes | None:
        """Exactly `size` bytes; None at a clean end where that is allowed."""
        at = self._at
        if at + size <= len(self._buffer):
            self._at = at + size
            self.offset += size
            return bytes(self._buffer[at : at + size])
        pieces = []
        left = size
        while left:
            if self._at == len(self._buffer):
                chunk = self._read(CHUNK)
                if not chunk:
                    if may_end and left == size:
                        return None
                    raise TarError("unexpected EOF")
                self._buffer, self._at = memoryview(chunk), 0
            piece = self._piece(left)
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._piece(size))

    def _drain(self) -> None:
        """Read past the end marker, so that whoever hashes the stream sees all of it."""
        self.offset += len(self._buffer) - self._at
        self._buffer, self._at = memoryview(b""), 0
        while chunk := self._read(CHUNK):
            self.offset += len(chunk)

    def _extension(self, size: int) -> bytes:
        if size > MAX_EXTENSION:
            raise TarError(f"header extension of {size} bytes")
        data = self._take(size) or b""
        self._skip(-size % BLOCK)
        return data

    # -- sparse files ---------------------------------------------------------------------------

    def _old_sparse(self, entry: Entry, header: bytes) -> None:
        regions = _old_regions(header, 386, 4)
        more = header[482]
        while more:
            block = self._take(BLOCK) or b""
            regions += _old_regions(block, 0, 21)
            more = block[504]
            if len(regions) > MAX_SPARSE:
                raise TarError("too many regions in a sparse file")
        entry.size = _number(header[483:495])
        entry.kind = REGULAR
        entry.sparse = _checked_map(regions, entry)

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
            numbers += [_decimal(line) for line in lines[: 2 * MAX_SPARSE + 1 - len(numbers)]]
            if wanted is None and numbers:
                wanted = 1 + 2 * numbers[0]
                if numbers[0] > MAX_SPARSE:
                    raise TarError("too many regions in a sparse file")
        pairs = numbers[1:wanted]
        entry.sparse = _checked_map(list(zip(pairs[::2], pairs[1::2], strict=True)), entry)


def _parse_header(header: bytes) -> tuple[Entry, str]:
    recorded = _number(header[148:156])
    total = sum(header) - sum(header[148:156]) + 256
    if recorded != total:
        signed = sum(b - 256 if b > 127 else b for b in header[:148] + header[156:]) + 256
        if recorded != signed:
            raise TarError("invalid tar header")
    kind = chr(header[156])
    name = _text(header[:100])
    magic = header[257:263]
    if magic == b"ustar\0" and header[345]:
        name = f"{_text(header[345:500])}/{name}"
    entry = Entry(
        name,
        REGULAR if kind in ("\0", _CONTIGUOUS, _GNU_SPARSE) else kind,
        mode=_number(header[100:108]) & 0o7777,
        uid=_number(header[108:116]),
        gid=_number(header[116:124]),
        size=_number(header[124:136]),
        mtime=_bounded(_number(header[136:148])) * 1_000_000_000,
        linkname=_text(header[157:257]),
    )
    entry.stored = entry.size
    if entry.size < 0:
        raise TarError("negative size in a tar header")
    if magic[:5] == b"ustar":
        entry.uname, entry.gname = _text(header[265:297]), _text(header[297:329])
        if kind in (CHARDEV, BLOCKDEV):
            entry.devmajor, entry.devminor = _number(header[329:337]), _number(header[337:345])
    return entry, kind


def _text(raw: bytes) -> str:
    end = raw.find(b"\0")
    return (raw if end < 0 else raw[:end]).decode("utf-8", "surrogateescape")


def _number(raw: bytes) -> int:
    if raw[0] & 0x80:  # base-256, two's complement without the marker bit
        value = int.from_bytes(raw, "big") & ((1 << (8 * len(raw) - 1)) - 1)
        return value - (1 << (8 * len(raw) - 1)) if raw[0] & 0x40 else value
    digits = raw.split(b"\0", 1)[0].strip()
    if not digits:
        return 0
    try:
        return int(digits, 8)
    except ValueError:
        raise TarError("invalid tar header") from None


def _bounded(seconds: int) -> int:
    """A time that the kernel can hold; 0 for another, as Docker does."""
    return seconds if -(1 << 62) // 10**9 < seconds < (1 << 62) // 10**9 else 0


def _decimal(raw: bytes | str) -> int:
    text = raw.decode("ascii", "replace") if isinstance(raw, bytes) else raw
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise TarError(f"invalid number in a tar header: {text[:40]!r}")
    return int(text)


def _seconds(text: str) -> int:
    """Decimal seconds, possibly negative, to ns, without a float in between."""
    whole, _, fraction = text.partition(".")
    negative = whole.startswith("-")
    ns = _bounded(_decimal(whole.lstrip("-") or "0")) * 1_000_000_000
    ns += _decimal(fraction[:9].ljust(9, "0")) if fraction else 0
    return -ns if negative else ns


def _pax_records(data: bytes) -> dict[str, str]:
    records: dict[str, str] = {}
    sparse: list[str] = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 21)
        if space < 0:
            raise TarError("damaged pax header")
        end = at + _decimal(data[at:space])
        if end <= space or end > len(data) or data[end - 1] != 0x0A:
            raise TarError("damaged pax header")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals:
            raise TarError("damaged pax header")
        name, text = (
            key.decode("utf-8", "surrogateescape"),
            value.decode("utf-8", "surrogateescape"),
        )
        if name in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            sparse.append(text)  # format 0.0 repeats these keys: gather them as 0.1's map
        else:
            records[name] = text
        at = end
    if sparse:
        records["GNU.sparse.map"] = ",".join(sparse)
    return records


def _apply_pax(entry: Entry, pax: dict[str, str]) -> None:
    entry.pax = pax
    for key, value in pax.items():
        match key:
            case "path":
                entry.name = value
            case "linkpath":
                entry.linkname = value
            case "size":
                entry.stored = _decimal(value)
                if entry.sparse is None:
                    entry.size = entry.stored
            case "uid":
                entry.uid = _decimal(value)
            case "gid":
                entry.gid = _decimal(value)
            case "uname":
                entry.uname = value
            case "gname":
                entry.gname = value
            case "mtime":
                entry.mtime = _seconds(value)
            case _ if key.startswith(_XATTR):
                if entry.xattrs is None:
                    entry.xattrs = {}
                entry.xattrs[key[len(_XATTR) :]] = value.encode("utf-8", "surrogateescape")
    if any(key.startswith("GNU.sparse.") for key in pax):
        _apply_sparse(entry, pax)
    if "\0" in entry.name or "\0" in entry.linkname:
        raise TarError("NUL in a name")


def _apply_sparse(entry: Entry, pax: dict[str, str]) -> None:
    entry.name = pax.get("GNU.sparse.name", entry.name)
    size = pax.get("GNU.sparse.realsize") or pax.get("GNU.sparse.size")
    if size is not None:
        entry.size = _decimal(size)
    if pax.get("GNU.sparse.major") == "1":
        entry.sparse = []  # read from the data, see _sparse_map
    elif pax.get("GNU.sparse.map"):
        numbers = [_decimal(number) for number in pax["GNU.sparse.map"].split(",")]
        if len(numbers) % 2:
            raise TarError("damaged sparse map")
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        entry.sparse = _checked_map(pairs, entry)


def _old_regions(block: bytes, at: int, most: int) -> list[tuple[int, int]]:
    regions = []
    for start in range(at, at + 24 * most, 24):
        if not block[start]:
            break
        regions.append(
            (_number(block[start : start + 12]), _number(block[start + 12 : start + 24]))
        )
    return regions


def _checked_map(regions: list[tuple[int, int]], entry: Entry) -> list[tuple[int, int]]:
    end = 0
    for offset, length in regions:
        if offset < end or length < 0 or offset + length > entry.size:
            raise TarError("damaged sparse map")
        end = offset + length
    if len(regions) > MAX_SPARSE or sum(length for _, length in regions) != entry.stored:
        raise TarError("damaged sparse map")
    return regions
