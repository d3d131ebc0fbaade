"""The `dm.*` storage options: read, checked against each other, those we lack refused by name."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import msgspec

from naru.spec.errors import InvalidParameter, Unsupported
from naru.store.drivers.dm_directlvm import Config
from naru.store.sizes import parse_size

FILESYSTEMS = ("ext4", "xfs")
_DIRECT_LVM = {
    "dm.thinp_percent": "thinp_percent",
    "dm.thinp_metapercent": "thinp_metapercent",
    "dm.thinp_autoextend_threshold": "autoextend_threshold",
    "dm.thinp_autoextend_percent": "autoextend_percent",
}

_REFUSED = {
    "dm.libdm_log_level": "Naru does not use libdm, so there is no such log",
}
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
    deferred_removal: bool = True
    deferred_deletion: bool = True
    min_free_percent: int = 10
    nospace_retries: int | None = None  # of XFS, with its metadata, in a pool that is full
    direct_lvm: Config | None = None
    direct_lvm_force: bool = False

    @property
    def on_loop(self) -> bool:
        return self.thin_pool is None and self.data_device is None


def parse(options: Mapping[str, str]) -> Options:
    """`InvalidParameter` for a bad value, `Unsupported` for an option that Naru lacks."""
    given: dict[str, object] = {}
    for name, value in options.items():
        if name in _REFUSED:
            raise Unsupported(f"devicemapper: {name} is not supported: {_REFUSED[name]}")
        if name == "dm.override_udev_sync_check":
            _boolean(name, value)  # it lifts a check that Naru need not make: no device waits
            continue
        if name == "dm.directlvm_device" or name in _DIRECT_LVM:
            continue  # they are one thing: see _direct_lvm
        field, read = _FIELDS.get(name, (None, None))
        if field is None or read is None:
            raise InvalidParameter(f"devicemapper: unknown option {name}")
        given[field] = read(name, value)
    if given.get("deferred_removal") is False:
        if given.get("deferred_deletion"):
            raise InvalidParameter(
                "devicemapper: Deferred deletion can not be enabled as deferred removal is not"
                " enabled. Enable deferred removal using --storage-opt"
                " dm.use_deferred_removal=true parameter"
            )
        given["deferred_deletion"] = False
    given["direct_lvm"] = _direct_lvm(options)
    made = Options(**given)  # type: ignore[arg-type]
    _check(made)
    return made


def _direct_lvm(options: Mapping[str, str]) -> Config | None:
    """dockerd's checks, and its words."""
    device = options.get("dm.directlvm_device", "")
    percents = {
        field: _percent_between(name, options[name])
        for name, field in _DIRECT_LVM.items()
        if name in options
    }
    if not device:
        if percents or "dm.directlvm_device_force" in options:
            raise InvalidParameter(
                "devicemapper: must provide device path in `dm.directlvm_device` in order to"
                " configure direct-lvm"
            )
        return None
    if ("thinp_percent" in percents) != ("thinp_metapercent" in percents):
        raise InvalidParameter(
            "devicemapper: must set both `dm.thinp_percent` and `dm.thinp_metapercent` if either"
            " is specified"
        )
    config = Config(_device("dm.directlvm_device", device), **percents)
    if config.thinp_percent + config.thinp_metapercent > 100:
        raise InvalidParameter(
            "devicemapper: combined `dm.thinp_percent` and `dm.thinp_metapercent` must not be"
            " greater than 100"
        )
    return config


def _check(options: Options) -> None:
    if options.direct_lvm is not None and (options.thin_pool or options.data_device):
        raise InvalidParameter(
            "devicemapper: cannot setup direct-lvm when `dm.thinpooldev` or `dm.datadev` is also"
            " specified"
        )
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


def _percent_between(name: str, value: str) -> int:
    digits = value.removesuffix("%")
    if not digits.isdigit() or not 0 < int(digits) < 100:
        raise InvalidParameter(
            f"devicemapper: {name} must be greater than 0 and less than 100, not {value}"
        )
    return int(digits)


def _count(name: str, value: str) -> int:
    if not value.isdigit():
        raise InvalidParameter(f"devicemapper: {name}: '{value}' is no number")
    return int(value)


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
    "dm.use_deferred_removal": ("deferred_removal", _boolean),
    "dm.xfs_nospace_max_retries": ("nospace_retries", _count),
    "dm.directlvm_device_force": ("direct_lvm_force", _boolean),
    "dm.use_deferred_deletion": ("deferred_deletion", _boolean),
    "dm.min_free_space": ("min_free_percent", _percent),
}
