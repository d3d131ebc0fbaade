"""The base device: an empty file system, formatted once, that every first layer is a snapshot of.

The pool's transaction id is 0 until the base is whole, so that a pool which lost its devices, or
is another's, is told from ours before anything is written to it.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from naru.kernel import devicemapper as dm
from naru.spec.errors import InvalidParameter, Unsupported
from naru.store.drivers import dm_records
from naru.store.drivers.dm_filesystem import FileSystem
from naru.store.drivers.dm_options import Options
from naru.store.drivers.dm_pool import LAST_ID, ThinPool
from naru.store.drivers.dm_records import BaseRecord, DeviceRecord

DEFAULT_SIZE = 10 << 30


class BaseDevice:
    def __init__(self, path: Path, pool: ThinPool, options: Options, scratch: Path) -> None:
        self._path = path
        self._pool = pool
        self._options = options
        self._scratch = scratch
        self.name = ""
        self._base = BaseRecord(0, 0, "")

    @property
    def number(self) -> int:
        return self._base.number

    @property
    def size(self) -> int:
        return self._base.size

    @property
    def filesystem(self) -> str:
        return self._base.filesystem

    @property
    def record(self) -> DeviceRecord:
        return DeviceRecord(self._base.number, self._base.size)

    def prepare(self, name: str) -> None:
        """Make the base device, finish one that is half made, or check the one there is."""
        self.name = name
        base = dm_records.read_base(self._path)
        status = self._pool.status()
        if base is not None and base.made:
            if status.transaction == 0:
                raise Unsupported(
                    f"devicemapper: thin pool {self._pool.name} is not the one that holds the"
                    f" layers which {self._path.parent.parent} records: it has been made anew"
                )
            self._base = self._adjusted(base)
            return
        if base is None and (status.transaction or status.used_data):
            raise Unsupported(
                f"devicemapper: Unable to take ownership of thin-pool ({self._pool.name}) that"
                " already has used data blocks"
            )
        self._base = self._made(base)

    def _made(self, half: BaseRecord | None) -> BaseRecord:
        kind = FileSystem.choose(self._options.filesystem)
        if half is not None:
            dm.remove(self.name)
            self._pool.delete(half.number)
        base = BaseRecord(0, self._options.base_size or DEFAULT_SIZE, kind)
        for number in range(1, LAST_ID):
            base = replace(base, number=number)
            dm_records.write(self._path, base)
            if self._pool.create(number):
                break
        filesystem = FileSystem(kind, self._options, self._scratch)
        with self._pool.activate(self.name, base.number, base.size) as device:
            filesystem.make(device.path, self._options.mkfs_arguments)
        if (transaction := self._pool.status().transaction) == 0:
            self._pool.next_transaction(transaction)
        base = replace(base, made=True)
        dm_records.write(self._path, base)
        return base

    def _adjusted(self, base: BaseRecord) -> BaseRecord:
        """As the options want it now, which may be larger than it was made."""
        wanted = self._options.base_size or base.size
        if self._options.filesystem not in (None, base.filesystem):
            raise InvalidParameter(
                f"devicemapper: dm.fs: the base device holds {base.filesystem} already, not"
                f" {self._options.filesystem}"
            )
        if wanted < base.size:
            raise InvalidParameter(
                f"devicemapper: Base device size cannot be smaller than {base.size}"
            )
        if wanted == base.size:
            return base
        # The record last: a file system grown half is grown again.
        filesystem = FileSystem(base.filesystem, self._options, self._scratch)
        with self._pool.activate(self.name, base.number, wanted) as device:
            filesystem.grow(device.path)
        grown = replace(base, size=wanted)
        dm_records.write(self._path, grown)
        return grown
