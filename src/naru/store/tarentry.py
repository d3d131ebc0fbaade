"""What a member of a tar archive is, whoever reads or writes it."""

from __future__ import annotations

import stat
import zlib

import msgspec

BLOCK = 512
CHUNK = 1 << 20

REGULAR, HARDLINK, SYMLINK, CHARDEV, BLOCKDEV, DIRECTORY, FIFO = "0123456"
_KINDS = {
    stat.S_IFREG: REGULAR,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARDEV,
    stat.S_IFBLK: BLOCKDEV,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFIFO: FIFO,
}


class TarError(ValueError):
    """The bytes are no tar archive, or one that this reader refuses."""


class ExtractError(ValueError):
    """A member cannot be unpacked; the text names it."""


class Entry(msgspec.Struct):
    """One member. Names are as `os.fsdecode` gives them; `size` is that of the whole file."""

    name: str
    kind: str = REGULAR
    mode: int = 0o644  # permission bits with setuid, setgid and sticky
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0  # ns since the epoch
    linkname: str = ""
    uname: str = ""
    gname: str = ""
    devmajor: int = 0
    devminor: int = 0
    xattrs: dict[str, bytes] | None = None
    pax: dict[str, str] | None = None  # every pax record, as it came
    sparse: list[tuple[int, int]] | None = None  # (offset, length) of the data regions
    stored: int = 0  # bytes of data in the archive that is read

    @property
    def is_dir(self) -> bool:
        return self.kind == DIRECTORY

    @property
    def is_file(self) -> bool:
        return self.kind == REGULAR


def kind_of(mode: int) -> str | None:
    """The tar type for an `st_mode`; None for what tar cannot hold (sockets)."""
    return _KINDS.get(stat.S_IFMT(mode))


def block_sum(block: bytes) -> int:
    """The sum of the bytes of a header block."""
    if block.isascii():
        # adler32's lower half is 1 + the sum of the bytes, modulo 65521: 512 of these are less.
        return (zlib.adler32(block) & 0xFFFF) - 1
    return sum(block)
