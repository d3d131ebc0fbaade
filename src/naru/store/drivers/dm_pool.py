"""A thin pool (dm-thin): numbered thin devices that share the blocks which none has written since.

The pool lies on two loop files, on two devices given, or is one that somebody else has made. Its
own metadata are transactional: a message that has returned is on disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from naru.kernel import devicemapper as dm
from naru.kernel.devicemapper import Device, Target
from naru.kernel.loop import attached
from naru.spec.errors import Unsupported
from naru.store.drivers.dm_options import Options

_log = logging.getLogger(__name__)

METADATA_BLOCK = 4096
_LOW_WATER = 32768  # data blocks left: the kernel then sends an event, for those who listen
_BLKGETSIZE64 = 0x80081272
_BLKDISCARD = 0x1277
_PATIENCE = 2.0
LAST_ID = (1 << 24) - 1


class PoolStatus(NamedTuple):
    transaction: int
    used_metadata: int  # in blocks, as the others
    total_metadata: int
    used_data: int
    total_data: int
    mode: str  # "rw", "ro", "out_of_data_space"
    needs_check: bool
    held_root: int | None  # the block of a metadata snapshot's superblock


class ThinPool:
    """An active pool, held open: it goes when this does and no thin device is left."""

    def __init__(
        self,
        device: Device,
        *,
        block_size: int,
        files: tuple[str, str],
        loop_root: Path | None,
        deferred: bool,
    ) -> None:
        self._device = device
        self.name = device.name
        self.block_size = block_size
        self.files = files  # the devices of data and metadata; "" where somebody else chose them
        self.loop_root = loop_root  # where the loop files are, if it is on such
        self._deferred = deferred  # devices go with their last user, by the kernel

    @classmethod
    def open(cls, name: str, root: Path, options: Options) -> ThinPool:
        """Activate the pool. `root` is where its loop files are, or are to be."""
        if options.thin_pool is not None:
            return cls._foreign(options.thin_pool, deferred=options.deferred_removal)
        with contextlib.ExitStack() as until_held:
            if options.data_device and options.metadata_device:
                data, metadata = options.data_device, options.metadata_device
            else:
                data = until_held.enter_context(
                    attached(_sparse(root / "data", options.loop_data_size))
                )
                metadata = until_held.enter_context(
                    attached(_sparse(root / "metadata", options.loop_metadata_size))
                )
            sectors = options.block_size // dm.SECTOR
            # Not zeroed: a file system never shows a block that it has not written.
            features = "2 skip_block_zeroing error_if_no_space"
            arguments = f"{metadata} {data} {sectors} {_LOW_WATER} {features}"
            length = _device_size(data) // options.block_size * sectors
            table = [Target(0, length, "thin-pool", arguments)]
            device = dm.held(name, table, deferred=options.deferred_removal)
        block_size = int(dm.table(name)[0].arguments.split()[2]) * dm.SECTOR
        return cls(
            device,
            block_size=block_size,
            files=(data, metadata),
            loop_root=root if options.on_loop else None,
            deferred=options.deferred_removal,
        )

    @classmethod
    def _foreign(cls, name: str, *, deferred: bool) -> ThinPool:
        try:
            device = dm.opened(name)
        except OSError as error:
            raise Unsupported(f"devicemapper: dm.thinpooldev {name}: {error}") from error
        kinds = dm.table(name)
        if [target.type for target in kinds] != ["thin-pool"]:
            found = ", ".join(target.type for target in kinds) or "nothing"
            device.close()
            raise Unsupported(f"devicemapper: dm.thinpooldev {name} is no thin pool but {found}")
        block_size = int(kinds[0].arguments.split()[2]) * dm.SECTOR
        return cls(device, block_size=block_size, files=("", ""), loop_root=None, deferred=deferred)

    def close(self) -> None:
        self._device.close()

    def status(self) -> PoolStatus:
        return parse_status(dm.status(self.name)[0].arguments)

    def activate(self, name: str, number: int, size: int) -> Device:
        """A thin device as a block device `name` of `size` bytes, held open."""
        arguments = f"{self._device.path} {number}"
        table = [Target(0, size // dm.SECTOR, "thin", arguments)]
        return dm.held(name, table, deferred=self._deferred)

    def deactivate(self, name: str) -> None:
        """A thin device goes: with its last user, or now. `OSError` with EBUSY: it is in use."""
        if self._deferred:
            dm.remove(name)
        else:
            _patiently(lambda: dm.remove_now(name))

    def create(self, number: int) -> bool:
        """Make an empty thin device; False: that number is taken."""
        return self._created(f"create_thin {number}")

    def snapshot(self, number: int, origin: int, active: str | None) -> bool:
        """Make `number` share all of `origin`, whose active device's name is told; False: taken."""
        with contextlib.ExitStack() as held:
            if active is not None:
                # Its file system's and the kernel's caches go to the pool first.
                held.enter_context(dm.suspended(active))
            return self._created(f"create_snap {number} {origin}")

    def delete(self, number: int) -> None:
        """Give a thin device's blocks back; one that is gone is no error. EBUSY: it is in use."""
        try:
            _patiently(lambda: dm.message(self.name, f"delete {number}"))
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOENT):
                raise

    @contextlib.contextmanager
    def frozen_metadata(self) -> Iterator[int]:
        """For the time of the block, the number of a superblock whose trees nothing changes."""
        try:
            dm.message(self.name, "reserve_metadata_snap")
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            # A pool has one, and a kill has left it.
            dm.message(self.name, "release_metadata_snap")
            dm.message(self.name, "reserve_metadata_snap")
        try:
            held = self.status().held_root
            if held is None:
                raise OSError(errno.EIO, f"thin pool {self.name} holds no metadata snapshot")
            yield held
        finally:
            dm.message(self.name, "release_metadata_snap")

    def next_transaction(self, old: int) -> None:
        dm.message(self.name, f"set_transaction_id {old} {old + 1}")

    def space(self) -> tuple[int, int, int, int, int, int]:
        """Data used, total, available, metadata used, total, available, in bytes."""
        status = self.status()
        used, total = status.used_data * self.block_size, status.total_data * self.block_size
        meta_used = status.used_metadata * METADATA_BLOCK
        meta_total = status.total_metadata * METADATA_BLOCK
        free, meta_free = total - used, meta_total - meta_used
        if self.loop_root is not None:
            # Sparse files promise more than there may be below them.
            below = os.statvfs(self.loop_root)
            left = below.f_bavail * below.f_frsize
            free, meta_free = min(free, left), min(meta_free, left)
        return used, total, free, meta_used, meta_total, meta_free

    def _created(self, text: str) -> bool:
        try:
            dm.message(self.name, text)
        except OSError as error:
            if error.errno == errno.EEXIST:
                return False
            raise
        return True


def _patiently(work: Callable[[], None]) -> None:
    """The kernel removes a device a little after its last user has gone, untold."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            work()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def parse_status(text: str) -> PoolStatus:
    """A thin pool's status line. `OSError`: the pool has failed."""
    words = text.split()
    if len(words) < 5:  # "Fail" or "Error"
        raise OSError(errno.EIO, f"the thin pool has failed (status '{text}'): thin_repair helps")
    used_metadata, total_metadata = map(int, words[1].split("/"))
    used_data, total_data = map(int, words[2].split("/"))
    return PoolStatus(
        transaction=int(words[0]),
        used_metadata=used_metadata,
        total_metadata=total_metadata,
        used_data=used_data,
        total_data=total_data,
        mode=words[4],
        needs_check="needs_check" in words[5:],
        held_root=None if words[3] == "-" else int(words[3]),
    )


def discard(path: str) -> None:
    """Free every block of a device: those that no snapshot shares go back down to a loop file."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        whole = struct.pack("=QQ", 0, _size_of(fd))
        fcntl.ioctl(fd, _BLKDISCARD, whole)
    finally:
        os.close(fd)


def _sparse(path: Path, size: int) -> Path:
    """A file of that size that takes space only where it is written; never made smaller."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        have = os.fstat(fd).st_size
        if have < size:
            os.ftruncate(fd, size)
            os.fsync(fd)
        elif have > size:
            _log.warning("devicemapper: %s stays at %d bytes, larger than asked for", path, have)
    finally:
        os.close(fd)
    return path


def _device_size(path: str) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _size_of(fd)
    finally:
        os.close(fd)


def _size_of(fd: int) -> int:
    size: int = struct.unpack("=Q", fcntl.ioctl(fd, _BLKGETSIZE64, bytes(8)))[0]
    return size
