"""Project quotas: a limit on the disk space of a directory tree, on XFS and on ext4 alike.

A directory gets a project id that everything made below it inherits; the file system counts the
blocks of a project and answers EDQUOT or ENOSPC past its limit.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from naru.kernel.mount_table import mount_table
from naru.kernel.syscalls import checked, libc

_FS_IOC_FSGETXATTR = 0x801C581F
_FS_IOC_FSSETXATTR = 0x401C5820
_FSXATTR = struct.Struct("=IIIII8x")  # xflags, extsize, nextents, projid, cowextsize
_PROJECT_INHERIT = 0x200

_PRJQUOTA = 2
_Q_SETQUOTA = 0x800008
_Q_GETQUOTA = 0x800007
_Q_XSETQLIM = 0x5804
_Q_XGETQSTAT = 0x5805
_QIF_BLIMITS = 1
_IF_DQBLK = struct.Struct("=8QI4x")  # limits in KiB, space in bytes
_FS_DISK_QUOTA = struct.Struct("=bbHIQQQQQQiiHHbbbbQQQiHh8x")
_FS_PROJ_QUOTA = 2
_FS_DQ_BSOFT_BHARD = 8 | 4
_QUOTA_PROJECT_ENFORCED = 1 << 5
_FIRST_PROJECT = 1 << 20  # below are the projects that administrators number by hand


class ProjectQuota:
    """The project quotas of the file system that holds a directory."""

    def __init__(self, device: Path, *, xfs: bool) -> None:
        self._device = device
        self._xfs = xfs

    @classmethod
    def on(cls, root: Path) -> ProjectQuota | None:
        """None where the file system has no project quota, or has it switched off."""
        number = os.stat(root).st_dev
        wanted = f"{os.major(number)}:{os.minor(number)}"
        for entry in mount_table():
            if entry.device != wanted or entry.type not in ("ext4", "xfs"):
                continue
            device = Path(entry.source)
            if not device.exists() or not stat.S_ISBLK(device.stat().st_mode):
                device = Path(f"/dev/block/{wanted}")
            if not device.exists():
                return None
            quota = cls(device, xfs=entry.type == "xfs")
            return quota if quota._enforced() else None
        return None

    def limit(self, directory: Path, size: int) -> int:
        """Limit everything that will be made below `directory` to `size` bytes -> project id."""
        project = self._project_of(directory) or self._free_project(directory)
        self._set_limit(project, size)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags, extent, extents, _, cow = _attributes(fd)
            changed = _FSXATTR.pack(flags | _PROJECT_INHERIT, extent, extents, project, cow)
            fcntl.ioctl(fd, _FS_IOC_FSSETXATTR, changed)
        finally:
            os.close(fd)
        return project

    @contextmanager
    def widened(self, directory: Path, by: int) -> Iterator[None]:
        """The limit of `directory` is `by` bytes more meanwhile; without one nothing is changed."""
        project = self._project_of(directory)
        limit = self._limit_of(project) if project else 0
        if not limit:
            yield
            return
        self._set_limit(project, limit + by)
        try:
            yield
        finally:
            self._set_limit(project, limit)

    def _project_of(self, directory: Path) -> int:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            project: int = _attributes(fd)[3]
        finally:
            os.close(fd)
        return project if project >= _FIRST_PROJECT else 0

    def _free_project(self, directory: Path) -> int:
        """A project id that has neither limit nor usage: found by the kernel's own books."""
        candidate = _FIRST_PROJECT + zlib.crc32(os.fsencode(directory)) % (1 << 30)
        while self._in_use(candidate):
            candidate += 1
        return candidate

    def _in_use(self, project: int) -> bool:
        limit, space = self._counted(project)
        return bool(space) and bool(limit)

    def _limit_of(self, project: int) -> int:
        return self._counted(project)[0]

    def _counted(self, project: int) -> tuple[int, int]:
        """-> the limit, and what is used, in bytes."""
        buffer = ctypes.create_string_buffer(_IF_DQBLK.size)
        try:
            self._call(_Q_GETQUOTA, project, buffer)
        except OSError:
            return 0, 0  # XFS: no such quota yet
        hard, _, space, *_ = _IF_DQBLK.unpack(buffer.raw)
        return hard * 1024, space

    def _enforced(self) -> bool:
        buffer = ctypes.create_string_buffer(256)
        try:
            self._call(_Q_XGETQSTAT, 0, buffer)  # XFS's command, which others answer too
        except OSError:
            return False
        return bool(struct.unpack_from("=bxH", buffer.raw)[1] & _QUOTA_PROJECT_ENFORCED)

    def _set_limit(self, project: int, size: int) -> None:
        if self._xfs:
            blocks = -(-size // 512)
            quota = _FS_DISK_QUOTA.pack(
                1, _FS_PROJ_QUOTA, _FS_DQ_BSOFT_BHARD, project, blocks, blocks,
                *([0] * 18),
            )  # fmt: skip
            self._call(_Q_XSETQLIM, project, ctypes.create_string_buffer(quota, len(quota)))
            return
        kib = -(-size // 1024)
        limits = _IF_DQBLK.pack(kib, kib, 0, 0, 0, 0, 0, 0, _QIF_BLIMITS)
        self._call(_Q_SETQUOTA, project, ctypes.create_string_buffer(limits, len(limits)))

    def _call(self, command: int, project: int, buffer: ctypes.Array[ctypes.c_char]) -> None:
        number = ctypes.c_int((command << 8) | _PRJQUOTA)
        device = os.fsencode(self._device)
        checked(libc.quotactl(number, device, ctypes.c_int(project), buffer), "quotactl")


def _attributes(fd: int) -> tuple[int, int, int, int, int]:
    raw = fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size))
    flags, extent, extents, project, cow = _FSXATTR.unpack(raw)
    return flags, extent, extents, project, cow
