"""devicemapper: a layer is a thin device with a file system, its child a snapshot of it.

Blocks are shared until they are written, which redirects the write to a new block of the pool. A
device is active only while it is used: the kernel removes it with its last mount.

    devicemapper/data, metadata   the loop files of the pool, where no devices are given
    metadata/base                 which device every first layer is a snapshot of
    mnt                           where the driver itself mounts a layer that it works on
    <id>/device                   which device is the layer's (see `dm_records`)
    <id>/merged                   where it is mounted
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, ClassVar

from msgspec import structs

from naru.kernel import devicemapper as dm
from naru.kernel import mounts
from naru.kernel.devicemapper import Device
from naru.kernel.mounts import Mount
from naru.spec.errors import InvalidParameter, Unsupported
from naru.store.diff import TreeDiff
from naru.store.driver import Change, Usage
from naru.store.drivers import dm_options, dm_records
from naru.store.drivers.dm_base import BaseDevice
from naru.store.drivers.dm_directlvm import DirectLvm
from naru.store.drivers.dm_filesystem import FileSystem
from naru.store.drivers.dm_options import Options
from naru.store.drivers.dm_pool import LAST_ID, ThinPool, discard
from naru.store.drivers.dm_probe import refusal_of_kernel
from naru.store.drivers.dm_records import DeviceRecord
from naru.store.drivers.dm_shares import shares
from naru.store.drivers.dm_status import rows
from naru.store.drivers.homes import Homes, make_directory
from naru.store.extract import extract
from naru.store.whiteouts import DeleteWhiteouts

_log = logging.getLogger(__name__)

_POOL, _METADATA, _SCRATCH = "devicemapper", "metadata", "mnt"
_RECORD = "device"
_REMOVING = ".removing"


class DeviceMapper:
    name: ClassVar[str] = "devicemapper"
    mounts_slowly: ClassVar[bool] = True

    def __init__(self, root: Path, options: Mapping[str, str]) -> None:
        self._options = dm_options.parse(options)
        if refusal := refusal_of_kernel():
            raise Unsupported(f"driver not supported: devicemapper: {refusal}")
        self._homes = Homes(root, self.name)
        (root / _METADATA).mkdir(mode=0o700, exist_ok=True)
        scratch = _emptied(root / _SCRATCH)
        status = root.stat()
        # Of the root, so that two daemons on one machine do not meet.
        where = f"naru-{os.major(status.st_dev)}:{os.minor(status.st_dev)}-{status.st_ino}"
        self._prefix = where
        self._lock = threading.Lock()
        self._measuring = threading.Lock()
        try:
            self._options = _with_direct_lvm(self._options, root / _METADATA)
            self._pool = ThinPool.open(f"{where}-pool", root / _POOL, self._options)
            try:
                base = BaseDevice(root / _METADATA / "base", self._pool, self._options, scratch)
                base.prepare(f"{where}-base")
            except BaseException:
                self._pool.close()
                raise
        except OSError as error:
            raise Unsupported(f"driver not supported: devicemapper: {error}") from error
        self._base = base
        self._fs = FileSystem(base.filesystem, self._options, scratch)
        self._discard = (
            self._options.on_loop
            if self._options.discard_at_removal is None
            else self._options.discard_at_removal
        )
        self._numbers = {base.number, *(record.number for _, record in self._records())}
        self._release_unused()  # a kill left them active, and not to go with their last user
        self._last = max(self._numbers)
        if self._options.on_loop:
            _log.warning(
                "storage: devicemapper is on loop files (%s): each write passes two file systems"
                " and two block layers, and syncs wait for both, so it is slow; for more than"
                " trying it out give devices: --storage-opt dm.thinpooldev=...",
                root / _POOL,
            )

    def create(
        self, layer: str, parent: str | None, *, writable: bool, size: int | None = None
    ) -> None:
        origin = self._record(parent) if parent else self._base.record
        if size is not None and size < origin.size:
            raise InvalidParameter(
                f"devicemapper: Container size cannot be smaller than {origin.size} bytes, the"
                " size of its image's device (dm.basesize)"
            )
        self._check_space()
        self._finish_removals()
        home = self._homes.make(layer, writable=writable, size=None)
        make_directory(home / "merged", 0o700)
        active = self._name(parent) if parent else self._base.name
        with self._lock:
            record = self._snapshot(home, DeviceRecord(0, origin.size, writable, parent),
                                    origin.number, active)  # fmt: skip
        if size is not None and size > origin.size:
            grown = DeviceRecord(record.number, size, writable, parent)
            dm_records.write(home / _RECORD, grown)
            with self._active(layer) as device:
                self._fs.grow(device.path)

    def remove(self, layer: str) -> None:
        self._finish_removals(but=layer)
        # The second is named so by a removal that was interrupted.
        for home in (self._homes[layer], self._doomed(layer)):
            try:
                self._delete(home, layer)
            except OSError as error:
                if error.errno != errno.EBUSY or not self._options.deferred_deletion:
                    raise
                _log.info("devicemapper: the device of %s is in use and goes later", layer)
                if not self._doomed(layer).exists():
                    home.rename(self._doomed(layer))
                return
        self._homes.remove(layer)

    def mounts(self, layer: str, target: Path, *, read_only: bool = False) -> Sequence[Mount]:
        record = self._record(layer)
        device = self._activate(layer, record)
        # A file system that is mounted twice is writable in both places or in neither, and a
        # container's may be compared while it runs: there only this mount is read-only.
        shared = read_only and record.writable
        own = self._fs.mount_of(device.path, target, read_only=read_only and not shared)
        first = replace(own, held=device)
        if not shared:
            return [first]
        return [first, Mount("", "", target, ["remount", "bind", "ro"])]

    def release(self, layer: str) -> None:
        """Its device goes, unless somebody else still uses it: then at the layer's removal."""
        with contextlib.suppress(OSError):
            self._pool.deactivate(self._name(layer))

    def apply(self, layer: str, diff: BinaryIO) -> int:
        with self._active(layer) as device, self._fs.mounted(device.path) as root:
            return extract(diff, root, whiteouts=DeleteWhiteouts())

    def diff(self, layer: str, out: BinaryIO) -> None:
        with self._compared(layer) as trees:
            trees.write(out)

    def changes(self, layer: str) -> Iterator[Change]:
        with self._compared(layer) as trees:
            return iter(list(trees.changes()))

    def usage(self, layer: str) -> Usage:
        """What was written since the snapshot: the rest is its parent's."""
        with self._compared(layer) as trees:
            return trees.usage()

    def status(self) -> Sequence[tuple[str, str]]:
        return rows(
            self._pool,
            base_size=self._base.size,
            filesystem=self._fs.kind,
            min_free_percent=self._options.min_free_percent,
            deferred_removal=self._options.deferred_removal,
            deferred_deletion=self._options.deferred_deletion,
            deleted=len(list(self._homes.root.glob("*" + _REMOVING))),
        )

    def data(self, layer: str, target: Path) -> dict[str, str]:
        record = self._record(layer)
        return {
            "DeviceId": str(record.number),
            "DeviceName": self._name(layer),
            "DeviceSize": str(record.size),
        }

    def shares(self) -> dict[str, int]:
        """Bytes that each layer has of the pool's file, which is below the driver's root."""
        with self._measuring:
            return shares(self._pool, self._base.number, dict(self._records()))

    def layers(self) -> Iterator[str]:
        return self._homes.layers(but=(_POOL, _METADATA, _SCRATCH))

    def close(self) -> None:
        """Let the pool go, once the last running container's device has gone."""
        self._release_unused()
        self._pool.close()

    # -- inside ---------------------------------------------------------------------------------

    def _release_unused(self) -> None:
        for layer in set(self.layers()):
            there = dm.info(self._name(layer))
            if there is not None and (self._options.deferred_removal or not there.open_count):
                self.release(layer)

    def _snapshot(self, home: Path, wanted: DeviceRecord, origin: int, active: str) -> DeviceRecord:
        for _ in range(LAST_ID):
            self._last = self._last + 1 if self._last < LAST_ID else 1
            record = DeviceRecord(self._last, wanted.size, wanted.writable, wanted.parent)
            if record.number in self._numbers:
                continue
            dm_records.write(home / _RECORD, record)
            there = dm.info(active)
            if self._pool.snapshot(record.number, origin, active if there else None):
                self._numbers.add(record.number)
                return record
            # Somebody else's device, in a pool that is not ours alone: it must not go with us.
            dm_records.erase(home / _RECORD)
        raise OSError(errno.ENOSPC, "the thin pool has no device number left")

    def _delete(self, home: Path, layer: str) -> None:
        record = dm_records.read_device(home / _RECORD)
        if record is None:
            return
        name = self._name(layer)
        self._pool.deactivate(name)  # one that a kill has left without its table would stay
        if self._discard and dm.info(name) is None:
            # The pool itself keeps to its own blocks what a deletion frees.
            with contextlib.suppress(OSError), self._activate(layer, record) as device:
                discard(device.path)
        self._pool.delete(record.number)
        dm_records.erase(home / _RECORD)
        self._numbers.discard(record.number)

    def _finish_removals(self, but: str = "") -> None:
        """Delete what was in use when it was to be removed, and is not any more."""
        for home in self._homes.root.glob("*" + _REMOVING):
            layer = home.name.removesuffix(_REMOVING)
            if layer == but or dm.info(self._name(layer)) is not None:
                continue
            with contextlib.suppress(OSError):
                self._delete(home, layer)
                self._homes.remove(layer)

    def _doomed(self, layer: str) -> Path:
        return self._homes.root / (layer + _REMOVING)

    def _name(self, layer: str) -> str:
        return f"{self._prefix}-{layer}"

    def _record(self, layer: str) -> DeviceRecord:
        record = dm_records.read_device(self._homes[layer] / _RECORD)
        if record is None:
            raise FileNotFoundError(errno.ENOENT, f"devicemapper: no device of layer {layer}")
        return record

    def _records(self) -> Iterator[tuple[str, DeviceRecord]]:
        for home in self._homes.root.iterdir():
            if (record := dm_records.read_device(home / _RECORD)) is not None:
                yield home.name.removesuffix(_REMOVING), record

    def _activate(self, layer: str, record: DeviceRecord) -> Device:
        with self._lock:
            return self._pool.activate(self._name(layer), record.number, record.size)

    @contextlib.contextmanager
    def _active(self, layer: str) -> Iterator[Device]:
        with self._activate(layer, self._record(layer)) as device:
            yield device

    @contextlib.contextmanager
    def _compared(self, layer: str) -> Iterator[TreeDiff]:
        parent = self._record(layer).parent
        with contextlib.ExitStack() as mounted:
            new = self._tree(layer, mounted)
            old = self._tree(parent, mounted) if parent else None
            # Written just before the snapshot was taken, and before anything was changed in it.
            taken = os.stat(self._homes[layer] / _RECORD).st_mtime_ns
            yield TreeDiff(new, old, taken=taken)

    def _tree(self, layer: str, mounted: contextlib.ExitStack) -> Path:
        record = self._record(layer)
        device = mounted.enter_context(self._active(layer))
        # Not read-only where it may be mounted for writing at the same time: see mounts().
        return mounted.enter_context(self._fs.mounted(device.path, read_only=not record.writable))

    def _check_space(self) -> None:
        percent = self._options.min_free_percent
        status = self._pool.status()
        if status.mode == "ro" or status.needs_check:
            raise OSError(errno.EROFS, f"thin pool {self._pool.name} needs a check (thin_check)")
        for what, used, total in (
            ("data", status.used_data, status.total_data),
            ("metadata", status.used_metadata, status.total_metadata),
        ):
            least = total * percent // 100
            if percent and total - used < max(least, 1):
                raise OSError(
                    errno.ENOSPC,
                    f"Thin Pool has {total - used} free {what} blocks which is less than minimum"
                    f" required {least} free {what} blocks. Create more free space in thin pool or"
                    " use dm.min_free_space option to change behavior",
                )


def _with_direct_lvm(options: Options, metadata: Path) -> Options:
    if options.thin_pool is not None or options.data_device is not None:
        return options
    setup = DirectLvm(metadata / "setup-config.json")
    pool = setup.pool(options.direct_lvm, force=options.direct_lvm_force)
    return structs.replace(options, thin_pool=pool) if pool else options


def _emptied(scratch: Path) -> Path:
    """Without what a kill in the middle of work on a layer has left mounted."""
    scratch.mkdir(mode=0o700, exist_ok=True)
    for mounted in mounts.mounts_below(scratch):
        mounts.unmount(mounted)
    for left in scratch.iterdir():
        left.rmdir()
    return scratch
