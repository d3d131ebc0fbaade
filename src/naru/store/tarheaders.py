"""The headers of tar members, in every format in use. Pure: bytes to `Entry`.

That is v7, ustar, GNU (base-256 numbers, old sparse) and pax (sub-second times, `SCHILY.xattr.`,
GNU sparse 0.0, 0.1 and 1.0). What is damaged raises `TarError`.
"""

from __future__ import annotations

import functools
import struct

from naru.store.tarentry import BLOCKDEV, CHARDEV, REGULAR, Entry, TarError, block_sum

MAX_SPARSE = 1 << 18
"""Data regions of one sparse file that are accepted."""

PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK, GNU_SPARSE = "xgLKS"
_CONTIGUOUS = "7"
_REGULAR_KINDS = frozenset(("0", "\0", _CONTIGUOUS, GNU_SPARSE))
_REST = struct.Struct("c100s6s2x32s32s8s8s155s12x")
_BLANK = b" " * 8  # what the checksum's own field counts as
_SPACE = 0x20
_XATTR = "SCHILY.xattr."


def parse_header(header: bytes) -> tuple[Entry, str]:
    """-> the member as its header alone tells it, and the header's type."""
    # A layer has tens of thousands, and most differ in their names and sizes only.
    if header[148:156] != b"%06o\0 " % (block_sum(header[:148] + _BLANK + header[156:])):
        _check(header)
    mode, uid, gid = _owner(header[100:124])
    size = number_field(header[124:136])
    if size < 0:
        raise TarError("negative size in a tar header")
    kind, prefix, linkname, uname, gname, major, minor = _rest(header[156:])
    name = text_field(header[:100])
    member = REGULAR if kind in _REGULAR_KINDS else kind
    return Entry(
        prefix + name if prefix else name, member, mode, uid, gid, size, _mtime(header[136:148]),
        linkname, uname, gname, major, minor, stored=size,
    ), kind  # fmt: skip


def _check(header: bytes) -> None:
    """Compare the checksum, however it is written; some writers took bytes for signed."""
    recorded = number_field(header[148:156])
    summed = header[:148] + _BLANK + header[156:]
    if recorded != sum(summed) and recorded != sum(b - 256 if b > 127 else b for b in summed):
        raise TarError("invalid tar header")


@functools.lru_cache(maxsize=1024)
def _owner(fields: bytes) -> tuple[int, int, int]:
    """-> mode, uid, gid."""
    mode, uid, gid = (number_field(fields[at : at + 8]) for at in (0, 8, 16))
    return mode & 0o7777, uid, gid


@functools.lru_cache(maxsize=1024)
def _mtime(field: bytes) -> int:
    return _bounded(number_field(field)) * 1_000_000_000


@functools.lru_cache(maxsize=256)
def _rest(fields: bytes) -> tuple[str, str, str, str, str, int, int]:
    """-> type, what goes before the name, link target, names of user and group, device."""
    raw_kind, link, magic, uname, gname, major, minor, prefix = _REST.unpack(fields)
    kind = raw_kind.decode("latin-1")
    ustar = magic[:5] == b"ustar"
    is_device = ustar and kind in (CHARDEV, BLOCKDEV)
    return (
        kind,
        f"{text_field(prefix)}/" if prefix[0] and magic == b"ustar\0" else "",
        text_field(link),
        text_field(uname) if ustar else "",
        text_field(gname) if ustar else "",
        number_field(major) if is_device else 0,
        number_field(minor) if is_device else 0,
    )


def text_field(raw: bytes) -> str:
    """A name: up to the first NUL."""
    end = raw.find(b"\0")
    return (raw if end < 0 else raw[:end]).decode("utf-8", "surrogateescape")


def number_field(raw: bytes) -> int:
    """Octal digits, or GNU's base-256."""
    if raw[-1] <= _SPACE:  # the common case first: digits, and what ends them
        try:
            return int(raw[:-1], 8)
        except ValueError:
            pass
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


def decimal(raw: bytes | str) -> int:
    """A number of a pax record or a sparse map."""
    text = raw.decode("ascii", "replace") if isinstance(raw, bytes) else raw
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise TarError(f"invalid number in a tar header: {text[:40]!r}")
    return int(text)


def _seconds(text: str) -> int:
    """Decimal seconds, possibly negative, to ns, without a float in between."""
    whole, _, fraction = text.partition(".")
    negative = whole.startswith("-")
    ns = _bounded(decimal(whole.lstrip("-") or "0")) * 1_000_000_000
    ns += decimal(fraction[:9].ljust(9, "0")) if fraction else 0
    return -ns if negative else ns


def pax_records(data: bytes) -> dict[str, str]:
    """`LENGTH KEY=VALUE\\n`, repeated."""
    records: dict[str, str] = {}
    sparse: list[str] = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 21)
        if space < 0:
            raise TarError("damaged pax header")
        end = at + decimal(data[at:space])
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


def apply_pax(entry: Entry, pax: dict[str, str]) -> None:
    """Let the records say what the header had no room for."""
    entry.pax = pax
    for key, value in pax.items():
        match key:
            case "path":
                entry.name = value
            case "linkpath":
                entry.linkname = value
            case "size":
                entry.stored = decimal(value)
                if entry.sparse is None:
                    entry.size = entry.stored
            case "uid":
                entry.uid = decimal(value)
            case "gid":
                entry.gid = decimal(value)
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
        entry.size = decimal(size)
    if pax.get("GNU.sparse.major") == "1":
        entry.sparse = []  # read from the data, see _sparse_map
    elif pax.get("GNU.sparse.map"):
        numbers = [decimal(number) for number in pax["GNU.sparse.map"].split(",")]
        if len(numbers) % 2:
            raise TarError("damaged sparse map")
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        entry.sparse = checked_map(pairs, entry)


def old_regions(block: bytes, at: int, most: int) -> list[tuple[int, int]]:
    """GNU's old sparse format: (offset, length) pairs, up to an empty one."""
    regions = []
    for start in range(at, at + 24 * most, 24):
        if not block[start]:
            break
        regions.append(
            (number_field(block[start : start + 12]), number_field(block[start + 12 : start + 24]))
        )
    return regions


def checked_map(regions: list[tuple[int, int]], entry: Entry) -> list[tuple[int, int]]:
    """The regions, if they lie in the file one behind the other and fill what is stored."""
    end = 0
    for offset, length in regions:
        if offset < end or length < 0 or offset + length > entry.size:
            raise TarError("damaged sparse map")
        end = offset + length
    if len(regions) > MAX_SPARSE or sum(length for _, length in regions) != entry.stored:
        raise TarError("damaged sparse map")
    return regions
