"""btrfs(5) subvolumes and their quota groups, by ioctl: no program is run."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

_SUBVOL_CREATE = 0x5000940E
_SNAP_DESTROY = 0x5000940F
_SNAP_CREATE_V2 = 0x50009417
_INO_LOOKUP = 0xD0009412
_QUOTA_CTL = 0xC0109428
_QGROUP_LIMIT = 0x8030942B

_VOL_ARGS = struct.Struct("=q4088s")
_VOL_ARGS_V2 = struct.Struct("=qQQ32x4040s")
_LOOKUP = struct.Struct("=QQ4080s")
_LIMIT_MAX_RFER = 1
_LIMIT = struct.Struct("=QQQQQQ")
_QUOTA_ENABLE = 1
_NO_LIMIT = (1 << 64) - 1

_ROOT_INODE = 256
"""The inode number of every subvolume's root directory."""
_FIRST_FREE_OBJECT = 256


def is_subvolume(path: Path) -> bool:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_ino == _ROOT_INODE


def create_subvolume(path: Path) -> None:
    with _directory(path.parent) as fd:
        _ioctl(fd, _SUBVOL_CREATE, _VOL_ARGS.pack(0, _name(path)))


def snapshot(source: Path, target: Path) -> None:
    """A writable snapshot: it shares everything with `source` until either is written to."""
    with _directory(source) as origin, _directory(target.parent) as fd:
        _ioctl(fd, _SNAP_CREATE_V2, _VOL_ARGS_V2.pack(origin, 0, 0, _name(target)))


def delete_subvolume(path: Path) -> None:
    """With all subvolumes inside it; one that is gone is no error."""
    if not is_subvolume(path):
        return
    for nested in _nested(path):
        _destroy(nested)
    _destroy(path)


def subvolume_id(path: Path) -> int:
    with _directory(path) as fd:
        found = _ioctl(fd, _INO_LOOKUP, _LOOKUP.pack(0, _FIRST_FREE_OBJECT, b""))
    number: int = _LOOKUP.unpack(found)[0]
    return number


def enable_quota(path: Path) -> None:
    """Count per subvolume from now on; a file system that counts already stays as it is."""
    with _directory(path) as fd:
        _ioctl(fd, _QUOTA_CTL, struct.pack("=QQ", _QUOTA_ENABLE, 0))


def limit_subvolume(path: Path, size: int | None) -> None:
    """At most `size` bytes referenced by the subvolume, None: no limit. Quota must be enabled."""
    number = subvolume_id(path)
    size = _NO_LIMIT if size is None else size
    with _directory(path) as fd:
        _ioctl(fd, _QGROUP_LIMIT, _LIMIT.pack(number, _LIMIT_MAX_RFER, size, 0, 0, 0))


def _destroy(path: Path) -> None:
    with _directory(path.parent) as fd:
        _ioctl(fd, _SNAP_DESTROY, _VOL_ARGS.pack(0, _name(path)))


def _nested(path: Path) -> Iterator[Path]:
    """Subvolumes below `path`, deepest first. Those of another device are mounts, not ours."""
    with contextlib.suppress(FileNotFoundError), os.scandir(path) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                continue
            below = Path(entry.path)
            yield from _nested(below)
            if is_subvolume(below):
                yield below


def _ioctl(fd: int, request: int, argument: bytes) -> bytes:
    # Mutable, because of fcntl's limit of 1024 bytes on what is not.
    buffer = bytearray(argument)
    fcntl.ioctl(fd, request, buffer)
    return bytes(buffer)


def _name(path: Path) -> bytes:
    name = os.fsencode(path.name)
    if len(name) > 255:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path))
    return name


@contextlib.contextmanager
def _directory(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
