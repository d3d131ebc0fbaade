"""The `dm.*` storage options: read, checked against each other, those we lack refused by name."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import msgspec

from naru.spec.errors import InvalidParameter, Unsupported
from naru.store.sizes import parse_size

FILESYSTEMS = ("ext4", "xfs")

_REFUSED = {
    "dm.directlvm_device": "Naru sets up no LVM: make a thin pool on the device (lvcreate --type"
    " thin-pool) and name it by dm.thinpooldev, or give two devices by dm.datadev and"
    " dm.metadatadev",
    "dm.xfs_nospace_max_retries": "the pool fails writes at once when it is full",
    "dm.libdm_log_level": "Naru does not use libdm",
}
_NEEDS_DIRECTLVM = (
    "dm.directlvm_device_force", "dm.thinp_percent", "dm.thinp_metapercent",
    "dm.thinp_autoextend_threshold", "dm.thinp_autoextend_percent",
)  # fmt: skip
_SMALLEST_BLOCK, _LARGEST_BLOCK = 64 << 10, 1 << 30


class Options(msgspec.Struct, frozen=True):
    thin_pool: str | None = None  # a thin pool of somebody else's making, by its device's name
    data_device: str | None = None
    metadata_device: str | None = None
    loop_data_size: int = 100 << 30
    loop_metadata_size: int = 2 << 30
    block_size: int = 64 << 10
    base_size: int | None = None
    filesystem: str | None = None
    mkfs_arguments: tuple[str, ...] = ()
    mount_options: tuple[str, ...] = ()
    discard_at_removal: bool | None = None
    deferred_deletion: bool = True
    min_free_percent: int = 10

    @property
    def on_loop(self) -> bool:
        return self.thin_pool is None and self.data_device is None


def parse(options: Mapping[str, str]) -> Options:
    """`InvalidParameter` for a bad value, `Unsupported` for an option that Naru lacks."""
    given: dict[str, object] = {}
    for name, value in options.items():
        if name in _REFUSED:
            raise Unsupported(f"devicemapper: {name} is not supported: {_REFUSED[name]}")
        if name in _NEEDS_DIRECTLVM:
            raise Unsupported(
                f"devicemapper: {name} is not supported: it belongs to dm.directlvm_device"
            )
        if name == "dm.override_udev_sync_check":
            _boolean(name, value)  # it lifts a check that Naru need not make: no device waits
            continue
        if name == "dm.use_deferred_removal":
            if not _boolean(name, value):
                raise Unsupported(
                    f"devicemapper: {name}=false is not supported: devices always go with their"
                    " last user"
                )
            continue
        field, read = _FIELDS.get(name, (None, None))
        if field is None or read is None:
            raise InvalidParameter(f"devicemapper: unknown option {name}")
        given[field] = read(name, value)
    made = Options(**given)  # type: ignore[arg-type]
    _check(made)
    return made


def _check(options: Options) -> None:
    if (options.data_device is None) != (options.metadata_device is None):
        raise InvalidParameter("devicemapper: dm.datadev and dm.metadatadev need each other")
    if options.thin_pool is not None and options.data_device is not None:
        raise InvalidParameter("devicemapper: dm.thinpooldev and dm.datadev exclude each other")


def _boolean(name: str, value: str) -> bool:
    # As Go's strconv.ParseBool, which dockerd reads them by.
    if value in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if value in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise InvalidParameter(f"devicemapper: {name}: invalid boolean '{value}'")


def _size(name: str, value: str) -> int:
    size = parse_size(value, name)
    if size <= 0:
        raise InvalidParameter(f"devicemapper: {name} must be greater than 0")
    return size


def _block_size(name: str, value: str) -> int:
    size = parse_size(value, name)
    if size % _SMALLEST_BLOCK or not _SMALLEST_BLOCK <= size <= _LARGEST_BLOCK:
        raise InvalidParameter(
            f"devicemapper: {name} must be a multiple of 64K, from 64K to 1G; it is {value}"
        )
    return size


def _percent(name: str, value: str) -> int:
    digits = value.removesuffix("%")
    if not value.endswith("%") or not digits.isdigit() or int(digits) >= 100:
        raise InvalidParameter(f"devicemapper: {name}: '{value}' is not a percentage below 100%")
    return int(digits)


def _filesystem(name: str, value: str) -> str:
    if value not in FILESYSTEMS:
        raise Unsupported(f"devicemapper: {name}: unsupported filesystem {value}: ext4 or xfs")
    return value


def _pool(name: str, value: str) -> str:
    return value.removeprefix("/dev/mapper/")


def _device(name: str, value: str) -> str:
    if not Path(value).is_block_device():
        raise InvalidParameter(f"devicemapper: {name}: {value} is not a block device")
    return value


_FIELDS = {
    "dm.thinpooldev": ("thin_pool", _pool),
    "dm.datadev": ("data_device", _device),
    "dm.metadatadev": ("metadata_device", _device),
    "dm.loopdatasize": ("loop_data_size", _size),
    "dm.loopmetadatasize": ("loop_metadata_size", _size),
    "dm.blocksize": ("block_size", _block_size),
    "dm.basesize": ("base_size", _size),
    "dm.fs": ("filesystem", _filesystem),
    "dm.mkfsarg": ("mkfs_arguments", lambda _, value: tuple(shlex.split(value))),
    "dm.mountopt": ("mount_options", lambda _, value: tuple(filter(None, value.split(",")))),
    "dm.blkdiscard": ("discard_at_removal", _boolean),
    "dm.use_deferred_deletion": ("deferred_deletion", _boolean),
    "dm.min_free_space": ("min_free_percent", _percent),
}
