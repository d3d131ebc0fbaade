"""Host devices given to a container: what `--device` and `--privileged` name, as stat sees it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from naru.kernel.block_limits import BlockLimits
from naru.spec.containers import DeviceMapping, HostConfig
from naru.spec.errors import InvalidParameter

# Devices of the host's own terminals and IPC: a privileged container has its own.
_NOT_SHARED = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"})


class Device(msgspec.Struct, frozen=True):
    path: str  # in the container
    kind: str  # "c" or "b"
    major: int
    minor: int
    mode: int
    uid: int
    gid: int
    access: str = "rwm"


class BlockDevice(msgspec.Struct, frozen=True):
    """A device of a blkio limit, with its limit."""

    major: int
    minor: int
    value: int


class HostDevices(msgspec.Struct, frozen=True):
    """All the numbers that a container's limits and devices need from the host."""

    mapped: tuple[Device, ...] = ()
    weight: tuple[BlockDevice, ...] = ()
    read_bps: tuple[BlockDevice, ...] = ()
    write_bps: tuple[BlockDevice, ...] = ()
    read_iops: tuple[BlockDevice, ...] = ()
    write_iops: tuple[BlockDevice, ...] = ()


def look_up(host: HostConfig) -> HostDevices:
    return HostDevices(
        mapped=tuple(_all() if host.privileged else _mapped(host.devices)),
        weight=tuple(_block((d.path, d.weight) for d in host.blkio_weight_device)),
        read_bps=tuple(_block((d.path, d.rate) for d in host.blkio_device_read_bps)),
        write_bps=tuple(_block((d.path, d.rate) for d in host.blkio_device_write_bps)),
        read_iops=tuple(_block((d.path, d.rate) for d in host.blkio_device_read_iops)),
        write_iops=tuple(_block((d.path, d.rate) for d in host.blkio_device_write_iops)),
    )


def block_limits(found: HostDevices) -> BlockLimits:
    def of(limited: Iterable[BlockDevice]) -> dict[tuple[int, int], int]:
        return {(each.major, each.minor): each.value for each in limited}

    return BlockLimits(
        weight=of(found.weight),
        read_bps=of(found.read_bps),
        write_bps=of(found.write_bps),
        read_iops=of(found.read_iops),
        write_iops=of(found.write_iops),
    )


def needed(host: HostConfig) -> bool:
    """False for most containers: then nothing has to be looked up."""
    return bool(
        host.privileged
        or host.devices
        or host.blkio_weight_device
        or host.blkio_device_read_bps
        or host.blkio_device_write_bps
        or host.blkio_device_read_iops
        or host.blkio_device_write_iops
    )


def _mapped(mappings: Iterable[DeviceMapping]) -> Iterator[Device]:
    for mapping in mappings:
        source = Path(mapping.path_on_host)
        target = mapping.path_in_container or mapping.path_on_host
        access = mapping.cgroup_permissions or "rwm"
        try:
            found = source.stat()
        except OSError as error:
            raise InvalidParameter(
                f'error gathering device information while adding custom device "{source}": '
                f"{(error.strerror or str(error)).lower()}"
            ) from error
        if (device := _device(target, found, access)) is not None:
            yield device
            continue
        inside = list(_below(source, target, access)) if stat.S_ISDIR(found.st_mode) else []
        if not inside:
            raise InvalidParameter(
                f'error gathering device information while adding custom device "{source}": '
                "not a device node"
            )
        yield from inside


def _all() -> Iterator[Device]:
    yield from _below(Path("/dev"), "/dev", "rwm")


def _below(source: Path, target: str, access: str) -> Iterator[Device]:
    for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in _NOT_SHARED:
                yield from _below(Path(entry.path), f"{target}/{entry.name}", access)
        elif entry.name != "console" and not entry.is_symlink():
            device = _device(f"{target}/{entry.name}", entry.stat(follow_symlinks=False), access)
            if device is not None:
                yield device


def _device(path: str, found: os.stat_result, access: str) -> Device | None:
    if stat.S_ISCHR(found.st_mode):
        kind = "c"
    elif stat.S_ISBLK(found.st_mode):
        kind = "b"
    else:
        return None
    return Device(
        path=path,
        kind=kind,
        major=os.major(found.st_rdev),
        minor=os.minor(found.st_rdev),
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        access=access,
    )


def _block(limits: Iterable[tuple[str, int]]) -> Iterator[BlockDevice]:
    for path, value in limits:
        try:
            found = os.stat(path)
        except OSError as error:
            raise InvalidParameter(
                f"stat {path}: {(error.strerror or str(error)).lower()}"
            ) from error
        yield BlockDevice(os.major(found.st_rdev), os.minor(found.st_rdev), value)
