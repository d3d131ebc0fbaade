"""Writing tar archives as streams: ustar where a member fits, pax records for what does not.

The same members in the same order give the same bytes, whatever machine wrote them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from typing import BinaryIO

from naru.store.tarentry import (
    BLOCK,
    CHUNK,
    DIRECTORY,
    HARDLINK,
    REGULAR,
    SYMLINK,
    Entry,
    block_sum,
)

_SECOND = 1_000_000_000
_ZEROS = bytes(BLOCK)
_MOST_ID = 8**7
_MOST_SIZE = 8**11
_LATEST = 8**11 - 1
_COMMON_TAIL = b"ustar\x0000" + bytes(64) + b"0000000\0" * 2 + bytes(167)
"""Of a member without names of owners, device numbers and prefix."""
_PLAIN_RESTS = {
    kind: (rest, sum(rest) + sum(b" " * 8))
    for kind in (REGULAR, DIRECTORY)
    for rest in [kind.encode() + bytes(100) + _COMMON_TAIL]
}
"""By type: what follows the checksum, and what it adds to it, with the checksum's own blanks."""
_PAX_OWNER = b"0000644\0" + b"0000000\0" * 2
_PAX_TAIL = b"x" + bytes(100) + _COMMON_TAIL


class TarWriter:
    """Append members to `out`; `close()` writes the end marker and leaves `out` open."""

    def __init__(self, out: BinaryIO, *, subsecond: bool = True) -> None:
        self._write = out.write
        self._subsecond = subsecond

    def add(self, entry: Entry, data: Iterable[bytes | memoryview] = ()) -> None:
        """Write a member; `data` must give exactly `entry.size` bytes for a regular file."""
        self._write(self.header(entry))
        if entry.kind != REGULAR:
            return
        written = 0
        for piece in data:
            self._write(piece)
            written += len(piece)
        self._finish(entry, written)

    def add_file(self, entry: Entry, fd: int) -> None:
        """Write a regular file's member from an open descriptor, read from where it stands.

        A file that shrinks meanwhile is padded with zeros and one that grows is cut, because its
        size is already in the archive.
        """
        self._write(self.header(entry))
        left = entry.size
        while left:
            piece = os.read(fd, min(CHUNK, left))
            if not piece:
                break
            self._write(piece)
            left -= len(piece)
        while left:
            piece = bytes(min(CHUNK, left))
            self._write(piece)
            left -= len(piece)
        self._finish(entry, entry.size)

    def close(self) -> None:
        self._write(_ZEROS + _ZEROS)

    def _finish(self, entry: Entry, written: int) -> None:
        if written != entry.size:
            raise ValueError(f"{entry.name}: {written} bytes of data, {entry.size} announced")
        if padding := -written % BLOCK:
            self._write(_ZEROS[:padding])

    def header(self, entry: Entry) -> bytes:
        """All header blocks of a member, pax records included."""
        return self._plain(entry) or self._any(entry)

    def _plain(self, entry: Entry) -> bytes | None:
        """The header of most members: a file or directory with nothing special about it."""
        kind, name, size = entry.kind, entry.name, entry.size
        if kind == DIRECTORY:
            size = 0
            if name[-1:] != "/":
                name += "/"
        elif kind != REGULAR:
            return None
        seconds, fraction = divmod(entry.mtime, _SECOND)
        if (
            len(name) > 100 or not name.isascii() or size >= _MOST_SIZE or entry.xattrs
            or (fraction and self._subsecond) or not 0 <= seconds < _MOST_SIZE
            or entry.uid >= _MOST_ID or entry.gid >= _MOST_ID or entry.uname or entry.gname
        ):  # fmt: skip
            return None
        head = _head(name.encode(), _owner(entry.mode, entry.uid, entry.gid), size, seconds)
        rest, its_sum = _PLAIN_RESTS[kind]
        return b"%b%06o\0 %b" % (head, block_sum(head) + its_sum, rest)

    def _any(self, entry: Entry) -> bytes:
        name = (
            entry.name + "/" if entry.kind == DIRECTORY and entry.name[-1:] != "/" else entry.name
        )
        size = entry.size if entry.kind == REGULAR else 0
        link = entry.linkname if entry.kind in (HARDLINK, SYMLINK) else ""
        pax: dict[bytes, bytes] = {}
        raw_name, prefix = _split_name(_raw(name))
        if raw_name is None:
            pax[b"path"] = _raw(name)
            raw_name, prefix = _raw(name)[:100], b""
        raw_link = _raw(link)
        if len(raw_link) > 100:
            pax[b"linkpath"] = raw_link
            raw_link = raw_link[:100]
        if not raw_name.isascii():
            pax[b"path"] = _raw(name)
        if not raw_link.isascii():
            pax[b"linkpath"] = _raw(link)
        seconds, fraction = divmod(entry.mtime, _SECOND)
        if seconds < 0 or seconds >= _MOST_SIZE or (fraction and self._subsecond):
            pax[b"mtime"] = _pax_time(entry.mtime if self._subsecond else seconds * _SECOND)
        if entry.uid >= _MOST_ID:
            pax[b"uid"] = b"%d" % entry.uid
        if entry.gid >= _MOST_ID:
            pax[b"gid"] = b"%d" % entry.gid
        if size >= _MOST_SIZE:
            pax[b"size"] = b"%d" % size
        if entry.xattrs:
            for attribute in sorted(entry.xattrs):
                pax[b"SCHILY.xattr." + _raw(attribute)] = entry.xattrs[attribute]
        block = _block(entry, raw_name, prefix, raw_link, size, max(0, min(seconds, _LATEST)))
        return _pax_blocks(raw_name, pax) + block if pax else block


@functools.lru_cache(maxsize=256)
def _owner(mode: int, uid: int, gid: int) -> bytes:
    return b"%07o\0%07o\0%07o\0" % (mode & 0o7777, uid, gid)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _split_name(name: bytes) -> tuple[bytes | None, bytes]:
    """ustar's name and prefix, or None where the name needs a pax record."""
    if len(name) <= 100:
        return name, b""
    if len(name) > 256:
        return None, b""
    at = name.rfind(b"/", 0, 156)
    while at > 0:
        rest = name[at + 1 :]
        if 0 < len(rest) <= 100:
            return rest, name[:at]
        if len(rest) > 100:
            return None, b""
        at = name.rfind(b"/", 0, at)
    return None, b""


def _pax_time(ns: int) -> bytes:
    sign, ns = (b"-", -ns) if ns < 0 else (b"", ns)
    seconds, fraction = divmod(ns, _SECOND)
    if not fraction:
        return b"%b%d" % (sign, seconds)
    return (b"%b%d.%09d" % (sign, seconds, fraction)).rstrip(b"0")


def _block(entry: Entry, name: bytes, prefix: bytes, link: bytes, size: int, seconds: int) -> bytes:
    uid = entry.uid if entry.uid < _MOST_ID else 0
    gid = entry.gid if entry.gid < _MOST_ID else 0
    size = size if size < _MOST_SIZE else 0
    head = _head(name, _owner(entry.mode, uid, gid), size, seconds)
    if prefix or entry.uname or entry.gname or entry.devmajor or entry.devminor:
        tail = b"ustar\x0000%b%b%07o\0%07o\0%b" % (
            _raw(entry.uname)[:31].ljust(32, b"\0"), _raw(entry.gname)[:31].ljust(32, b"\0"),
            entry.devmajor, entry.devminor, prefix.ljust(167, b"\0"),
        )  # fmt: skip
    else:
        tail = _COMMON_TAIL
    return _summed(head, entry.kind.encode() + link.ljust(100, b"\0") + tail)


def _head(name: bytes, owner: bytes, size: int, seconds: int) -> bytes:
    """What is before the checksum; `owner` is `_owner`'s."""
    return b"%b%b%011o\0%011o\0" % (name.ljust(100, b"\0"), owner, size, seconds)


def _summed(head: bytes, rest: bytes) -> bytes:
    """A header block: what is before its checksum, that, and what is after it."""
    return b"%b%06o\0 %b" % (head, block_sum(head + b"        " + rest), rest)


def _pax_blocks(name: bytes, pax: dict[bytes, bytes]) -> bytes:
    body = b"".join([_pax_record(key, pax[key]) for key in sorted(pax)])
    directory, slash, last = name.rstrip(b"/").rpartition(b"/")
    label = (directory + slash if directory else b"") + b"PaxHeaders.0/" + last
    head = _head(label[:100], _PAX_OWNER, len(body), 0)
    return _summed(head, _PAX_TAIL) + body + _ZEROS[: -len(body) % BLOCK]


def _pax_record(key: bytes, value: bytes) -> bytes:
    size = len(key) + len(value) + 3  # space, "=", newline
    total = size + len(str(size))
    if len(str(total)) != len(str(size)):
        total = size + len(str(total))
    return b"%d %b=%b\n" % (total, key, value)
