"""Writing tar archives as streams: ustar where a member fits, pax records for what does not.

The same members in the same order give the same bytes, whatever machine wrote them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import BinaryIO

from naru.store.tarentry import BLOCK, CHUNK, DIRECTORY, HARDLINK, REGULAR, SYMLINK, Entry

_SECOND = 1_000_000_000
_ZEROS = bytes(BLOCK)


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
        if seconds < 0 or seconds >= 8**11 or (fraction and self._subsecond):
            pax[b"mtime"] = _pax_time(entry.mtime if self._subsecond else seconds * _SECOND)
        for key, value, limit in ((b"uid", entry.uid, 8**7), (b"gid", entry.gid, 8**7),
                                  (b"size", size, 8**11)):  # fmt: skip
            if value >= limit:
                pax[key] = b"%d" % value
        for attribute in sorted(entry.xattrs or ()):
            pax[b"SCHILY.xattr." + _raw(attribute)] = (entry.xattrs or {})[attribute]
        block = _block(entry, raw_name, prefix, raw_link, size, max(0, min(seconds, 8**11 - 1)))
        return _pax_blocks(raw_name, pax) + block if pax else block


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
    sign, ns = ("-", -ns) if ns < 0 else ("", ns)
    seconds, fraction = divmod(ns, _SECOND)
    text = (
        f"{sign}{seconds}.{fraction:09d}".rstrip("0").rstrip(".")
        if fraction
        else f"{sign}{seconds}"
    )
    return text.encode()


def _block(entry: Entry, name: bytes, prefix: bytes, link: bytes, size: int, seconds: int) -> bytes:
    block = b"".join((
        name.ljust(100, b"\0"),
        b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (
            entry.mode & 0o7777, entry.uid if entry.uid < 8**7 else 0,
            entry.gid if entry.gid < 8**7 else 0, size if size < 8**11 else 0, seconds),
        b"        ", entry.kind.encode(), link.ljust(100, b"\0"), b"ustar\x0000",
        _raw(entry.uname)[:31].ljust(32, b"\0"), _raw(entry.gname)[:31].ljust(32, b"\0"),
        b"%07o\0%07o\0" % (entry.devmajor, entry.devminor), prefix.ljust(155, b"\0"),
    )).ljust(BLOCK, b"\0")  # fmt: skip
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _pax_blocks(name: bytes, pax: dict[bytes, bytes]) -> bytes:
    body = b"".join(_pax_record(key, pax[key]) for key in sorted(pax))
    directory, _, last = name.rstrip(b"/").rpartition(b"/")
    label = (directory + b"/" if directory else b"") + b"PaxHeaders.0/" + last
    entry = Entry("", "x", mode=0o644, size=len(body))
    header = _block(entry, label[:100], b"", b"", len(body), 0)
    return header + body + _ZEROS[: -len(body) % BLOCK]


def _pax_record(key: bytes, value: bytes) -> bytes:
    size = len(key) + len(value) + 3  # space, "=", newline
    total = size + len(str(size))
    if len(str(total)) != len(str(size)):
        total = size + len(str(total))
    return b"%d %b=%b\n" % (total, key, value)
