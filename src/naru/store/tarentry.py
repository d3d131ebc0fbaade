"""What a member of a tar archive is, whoever reads or writes it."""

from __future__ import annotations

import stat
import zlib

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


def block_sum(block: bytes) -> int:
    """The sum of the bytes of a header block."""
    if block.isascii():
        # adler32's lower half is 1 + the sum of the bytes, modulo 65521: 512 of these are less.
        return (zlib.adler32(block) & 0xFFFF) - 1
    return sum(block)
