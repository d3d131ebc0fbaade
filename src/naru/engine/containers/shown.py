"""Configurations as dockerd shows them: which empty members are null, and which are left out."""

from __future__ import annotations

from typing import Any

import msgspec

from naru.spec.containers import ContainerConfig, HostConfig, MountPoint

# Go's zero values: a nil slice is null, `omitempty` leaves it out.
_HOST_NULL = frozenset(
    {
        "Binds",
        "BlkioDeviceReadBps",
        "BlkioDeviceReadIOps",
        "BlkioDeviceWriteBps",
        "BlkioDeviceWriteIOps",
        "BlkioWeightDevice",
        "CapAdd",
        "CapDrop",
        "DeviceCgroupRules",
        "DeviceRequests",
        "ExtraHosts",
        "GroupAdd",
        "Links",
        "SecurityOpt",
        "VolumesFrom",
    }
)
_HOST_OMITTED = frozenset(
    {
        "Annotations",
        "Init",
        "KernelMemory",
        "KernelMemoryTCP",
        "Mounts",
        "StorageOpt",
        "Sysctls",
        "Tmpfs",
    }
)
_CONFIG_OMITTED = frozenset(
    {
        "ArgsEscaped",
        "ExposedPorts",
        "Healthcheck",
        "MacAddress",
        "NetworkDisabled",
        "Shell",
        "StopSignal",
        "StopTimeout",
    }
)


def host_config(host: HostConfig) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(host)
    for name in list(shown):
        empty = not shown[name] and shown[name] is not False
        if name in _HOST_NULL and empty:
            shown[name] = None
        elif name in _HOST_OMITTED and empty:
            del shown[name]
    shown["ConsoleSize"] = shown["ConsoleSize"] or [0, 0]
    return shown


def container_config(config: ContainerConfig) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(config)
    for name in _CONFIG_OMITTED:
        if shown[name] is None or (not shown[name] and name != "StopTimeout"):
            del shown[name]
    shown["Volumes"] = shown["Volumes"] or None
    return shown


def mount_point(mount: MountPoint) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(mount)
    for name in ("Name", "Driver"):
        if not shown[name]:
            del shown[name]
    return shown
