"""A container as the OCI runtime takes it: `config.json`, equal to what dockerd would write.

Pure: the record says what was asked, `Setting` what was prepared for it on this host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import field

from naru.engine.containers.devices import Device, HostDevices
from naru.engine.containers.oci_mounts import (
    INIT_PATH,
    BoundMount,
    oci_mounts,
    root_propagation,
)
from naru.engine.containers.oci_resources import resources
from naru.engine.containers.users import User
from naru.spec.containers import ContainerRecord, HostConfig

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

MASKED_PATHS = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
]
READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


class Namespaces(msgspec.Struct, frozen=True):
    """Where to find namespaces that are not the container's own; None is "make a new one"."""

    network: Path | None = None
    ipc: Path | None = None
    pid: Path | None = None
    private_cgroup: bool = False


class Setting(msgspec.Struct, frozen=True):
    """All that was prepared on the host for one start of a container."""

    rootfs: Path
    user: User
    capabilities: Sequence[str]
    cgroups_path: str
    namespaces: Namespaces = field(default_factory=Namespaces)
    mounts: Sequence[BoundMount] = ()
    devices: HostDevices = field(default_factory=HostDevices)
    files: Path | None = None
    shm: Path | None = None
    init: Path | None = None
    seccomp: Mapping[str, Any] | None = None
    apparmor: str = ""
    no_new_privileges: bool = False
    recursive_read_only: bool = True


def oci_config(record: ContainerRecord, setting: Setting) -> dict[str, Any]:
    config, host = record.config, record.host_config
    own_network = host.network_mode != "host" and not host.network_mode.startswith("container:")
    spec: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": process(record, setting),
        "root": {"path": str(setting.rootfs), "readonly": host.readonly_rootfs},
        "mounts": oci_mounts(
            host,
            setting.mounts,
            files=setting.files,
            shm=setting.shm,
            init=setting.init,
            recursive_read_only=setting.recursive_read_only,
        ),
        "linux": {
            "namespaces": _namespaces(host, setting.namespaces),
            "cgroupsPath": setting.cgroups_path,
            "resources": resources(host, setting.devices),
            "devices": [_device(device) for device in setting.devices.mapped],
            "sysctl": _sysctl(record, own_network=own_network),
            "maskedPaths": list(host.masked_paths or ()),
            "readonlyPaths": list(host.readonly_paths or ()),
        },
    }
    if host.uts_mode != "host":
        spec["hostname"] = config.hostname
    if host.annotations:
        spec["annotations"] = dict(host.annotations)
    if setting.seccomp is not None:
        spec["linux"]["seccomp"] = dict(setting.seccomp)
    if (propagation := root_propagation(setting.mounts)) is not None:
        spec["linux"]["rootfsPropagation"] = propagation
    return spec


def environment(record: ContainerRecord, user: User) -> list[str]:
    """Docker's defaults, then the container's own; for exec as well.

    HOME is the user's unless the container says otherwise.
    """
    config = record.config
    defaults = [DEFAULT_PATH, f"HOSTNAME={config.hostname}"]
    if config.tty:
        defaults.append("TERM=xterm")
    merged: dict[str, str] = {}
    for entry in [*defaults, *config.env]:
        name, assigned, _ = entry.partition("=")
        if assigned:
            merged[name] = entry
        else:
            merged.pop(name, None)  # a name alone takes the default away
    merged.setdefault("HOME", f"HOME={user.home}")
    return list(merged.values())


def process(record: ContainerRecord, setting: Setting) -> dict[str, Any]:
    config, host = record.config, record.host_config
    args = [record.path, *record.args]
    if setting.init is not None:
        args = [INIT_PATH, "--", *args]
    capabilities = list(setting.capabilities)
    # As dockerd: a user that is not root starts without ambient and effective privileges.
    granted = capabilities if setting.user.uid == 0 else []
    process: dict[str, Any] = {
        "terminal": config.tty,
        "user": {
            "uid": setting.user.uid,
            "gid": setting.user.gid,
            "additionalGids": list(setting.user.groups),
        },
        "args": args,
        "env": environment(record, setting.user),
        "cwd": config.working_dir or "/",
        "capabilities": {
            "bounding": capabilities,
            "effective": granted,
            "permitted": granted,
        },
        "noNewPrivileges": setting.no_new_privileges,
        "oomScoreAdj": host.oom_score_adj,
    }
    if config.tty and len(host.console_size) == 2 and any(host.console_size):
        height, width = host.console_size
        process["consoleSize"] = {"height": height, "width": width}
    if host.ulimits:
        process["rlimits"] = [
            {
                "type": f"RLIMIT_{limit.name.upper()}",
                "soft": _rlimit(limit.soft),
                "hard": _rlimit(limit.hard),
            }
            for limit in host.ulimits
        ]
    if setting.apparmor:
        process["apparmorProfile"] = setting.apparmor
    return process


def _rlimit(value: int) -> int:
    return value if value >= 0 else 2**64 - 1  # RLIM_INFINITY


def _namespaces(host: HostConfig, found: Namespaces) -> list[dict[str, str]]:
    namespaces: list[dict[str, str]] = [{"type": "mount"}]
    if host.network_mode != "host":
        namespaces.append(_namespace("network", found.network))
    if host.uts_mode != "host":
        namespaces.append({"type": "uts"})
    if host.pid_mode != "host":
        namespaces.append(_namespace("pid", found.pid))
    if host.ipc_mode != "host":
        namespaces.append(_namespace("ipc", found.ipc))
    if found.private_cgroup:
        namespaces.append({"type": "cgroup"})
    return namespaces


def _namespace(kind: str, path: Path | None) -> dict[str, str]:
    return {"type": kind} if path is None else {"type": kind, "path": str(path)}


def _sysctl(record: ContainerRecord, *, own_network: bool) -> dict[str, str]:
    sysctl: dict[str, str] = {}
    if own_network:
        # A container's ports belong to it, and its users may ping, root or not.
        sysctl["net.ipv4.ip_unprivileged_port_start"] = "0"
        sysctl["net.ipv4.ping_group_range"] = "0 2147483647"
    if record.config.domainname and record.host_config.uts_mode != "host":
        sysctl["kernel.domainname"] = record.config.domainname
    return {**sysctl, **record.host_config.sysctls}


def _device(device: Device) -> dict[str, Any]:
    return {
        "path": device.path,
        "type": device.kind,
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    }
