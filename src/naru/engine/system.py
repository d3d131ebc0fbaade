"""The documents of `GET /info` and `GET /version`: what this engine is, has and runs on."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import field

from naru import __version__
from naru.engine import host
from naru.kernel.cgroups import Hierarchies, Mode
from naru.spec.containers import ContainerRecord, Status

Document = dict[str, Any]

INDEX_SERVER = "https://index.docker.io/v1/"


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration and the wiring decided; replaced as a whole at a reload."""

    data_root: Path
    storage_driver: str
    log_driver: str
    log_drivers: Sequence[str]
    network_drivers: Sequence[str]
    volume_drivers: Sequence[str]
    cgroup_driver: str
    runtimes: Mapping[str, Sequence[str]]  # name -> path and arguments
    default_runtime: str
    init_binary: str  # "" where none was found
    api_version: str
    min_api_version: str
    firewall_backend: str = "nftables"
    security_options: Sequence[str] = ("name=seccomp,profile=builtin",)
    address_pools: Sequence[tuple[str, int]] = ()  # (base, size)
    labels: Sequence[str] = ()
    insecure_registries: Sequence[str] = ()
    registry_mirrors: Sequence[str] = ()
    debug: bool = False
    warnings: Sequence[str] = field(default=())


class System:
    """`driver_status` may touch the disk and is called from a thread; the rest is in memory."""

    def __init__(
        self,
        *,
        installation: Installation,
        containers: Callable[[], Sequence[ContainerRecord]],
        image_count: Callable[[], int],
        event_listeners: Callable[[], int],
        driver_status: Callable[[], Sequence[tuple[str, str]]],
        cgroups: Hierarchies,
    ) -> None:
        self.installation = installation
        self._containers = containers
        self._image_count = image_count
        self._event_listeners = event_listeners
        self._driver_status = driver_status
        self._cgroups = cgroups
        self._runtime_version: tuple[str, str] | None = None  # (path, version)

    async def info(self) -> Document:
        here = self.installation
        facts, engine_id, status = await asyncio.to_thread(self._read)
        return {
            "ID": engine_id,
            **_counts(self._containers()),
            "Images": self._image_count(),
            "Driver": here.storage_driver,
            "DriverStatus": [list(row) for row in status],
            "Plugins": {
                "Volume": list(here.volume_drivers),
                "Network": list(here.network_drivers),
                "Authorization": None,
                "Log": list(here.log_drivers),
            },
            **_limits(self._cgroups),
            "IPv4Forwarding": facts.ip_forwarding,
            "Debug": here.debug,
            "NFd": facts.file_descriptors,
            "NGoroutines": len(asyncio.all_tasks()),
            "SystemTime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "LoggingDriver": here.log_driver,
            "CgroupDriver": here.cgroup_driver,
            "CgroupVersion": self._cgroups.version,
            "NEventsListener": self._event_listeners(),
            "KernelVersion": facts.kernel,
            "OperatingSystem": facts.operating_system,
            "OSVersion": facts.os_version,
            "OSType": "linux",
            "Architecture": facts.machine,
            "IndexServerAddress": INDEX_SERVER,
            "RegistryConfig": _registries(here),
            "NCPU": facts.cpus,
            "MemTotal": facts.memory,
            "GenericResources": None,
            "DockerRootDir": str(here.data_root),
            "HttpProxy": os.environ.get("HTTP_PROXY", os.environ.get("http_proxy", "")),
            "HttpsProxy": os.environ.get("HTTPS_PROXY", os.environ.get("https_proxy", "")),
            "NoProxy": os.environ.get("NO_PROXY", os.environ.get("no_proxy", "")),
            "Name": facts.name,
            "Labels": list(here.labels),
            "ExperimentalBuild": False,
            "ServerVersion": __version__,
            "Runtimes": {name: _runtime(argv) for name, argv in here.runtimes.items()},
            "DefaultRuntime": here.default_runtime,
            "Swarm": _NO_SWARM,
            "LiveRestoreEnabled": True,
            "Isolation": "",
            "InitBinary": Path(here.init_binary).name if here.init_binary else "",
            # No containerd; the runtime's version is in GET /version.
            "ContainerdCommit": {"ID": ""},
            "RuncCommit": {"ID": ""},
            "InitCommit": {"ID": ""},
            "SecurityOptions": list(here.security_options),
            "DefaultAddressPools": [
                {"Base": base, "Size": size} for base, size in here.address_pools
            ],
            "FirewallBackend": {"Driver": here.firewall_backend},
            "DiscoveredDevices": [],
            "CDISpecDirs": [],
            "Warnings": [*here.warnings, *_warnings(self._cgroups, facts)],
        }

    async def version(self) -> Document:
        here = self.installation
        facts, runtime = await asyncio.to_thread(lambda: (host.read(), self._runtime()))
        engine = {
            "ApiVersion": here.api_version,
            "Arch": facts.architecture,
            "BuildTime": "",
            "Experimental": "false",
            "GitCommit": "",
            "GoVersion": host.python_version(),
            "KernelVersion": facts.kernel,
            "MinAPIVersion": here.min_api_version,
            "Os": "linux",
        }
        name, version = runtime
        return {
            "Platform": {"Name": f"Naru Engine {__version__}"},
            "Version": __version__,
            "ApiVersion": here.api_version,
            "MinAPIVersion": here.min_api_version,
            "GitCommit": "",
            "GoVersion": host.python_version(),
            "Os": "linux",
            "Arch": facts.architecture,
            "KernelVersion": facts.kernel,
            "BuildTime": "",
            "Components": [
                {"Name": "Engine", "Version": __version__, "Details": engine},
                {"Name": name, "Version": version, "Details": {"GitCommit": ""}},
            ],
        }

    def _read(self) -> tuple[host.Host, str, Sequence[tuple[str, str]]]:
        return (
            host.read(),
            host.engine_id(self.installation.data_root),
            self._driver_status(),
        )

    def _runtime(self) -> tuple[str, str]:
        """(name, version) of the default runtime; asked once for each path."""
        name = self.installation.default_runtime
        argv = self.installation.runtimes.get(name, ())
        path = (shutil.which(argv[0]) or argv[0]) if argv else name
        if self._runtime_version is None or self._runtime_version[0] != path:
            self._runtime_version = (path, _version_of(path))
        return name, self._runtime_version[1]


_NO_SWARM: Document = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": None,
}


def _version_of(program: str) -> str:
    """The first version number that `program --version` prints: "crun version 1.8.1"."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    words = done.stdout.decode(errors="replace").split()
    return next((word for word in words if word[:1].isdigit()), "unknown")


def _counts(containers: Sequence[ContainerRecord]) -> Document:
    running = sum(c.state.status in (Status.RUNNING, Status.RESTARTING) for c in containers)
    paused = sum(c.state.status is Status.PAUSED for c in containers)
    return {
        "Containers": len(containers),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": len(containers) - running - paused,
    }


def _limits(cgroups: Hierarchies) -> Document:
    """Which limits the kernel offers (v1's swap and quota are files of the root groups)."""
    have = cgroups.controllers
    if cgroups.mode is Mode.UNIFIED:
        quota = shares = "cpu" in have
        swap = "memory" in have and Path("/proc/swaps").exists()
        oom = False  # v2 kills; it cannot be told not to
    else:
        quota = _v1_file(cgroups, "cpu", "cpu.cfs_quota_us")
        shares = _v1_file(cgroups, "cpu", "cpu.shares")
        swap = _v1_file(cgroups, "memory", "memory.memsw.limit_in_bytes")
        oom = _v1_file(cgroups, "memory", "memory.oom_control")
    return {
        "MemoryLimit": "memory" in have,
        "SwapLimit": swap,
        "CpuCfsPeriod": quota,
        "CpuCfsQuota": quota,
        "CPUShares": shares,
        "CPUSet": "cpuset" in have,
        "PidsLimit": "pids" in have,
        "OomKillDisable": oom,
    }


def _v1_file(cgroups: Hierarchies, controller: str, name: str) -> bool:
    directory = cgroups.v1.get(controller)
    return directory is not None and (directory / name).exists()


def _warnings(cgroups: Hierarchies, facts: host.Host) -> list[str]:
    limits = _limits(cgroups)
    texts = {
        "MemoryLimit": "No memory limit support",
        "SwapLimit": "No swap limit support",
        "CpuCfsQuota": "No cpu cfs quota support",
        "CPUShares": "No cpu shares support",
        "CPUSet": "No cpuset support",
        "PidsLimit": "No pids limit support",
    }
    warnings = [f"WARNING: {text}" for name, text in texts.items() if not limits[name]]
    if not facts.ip_forwarding:
        warnings.append("WARNING: IPv4 forwarding is disabled")
    return warnings


def _runtime(argv: Sequence[str]) -> Document:
    document: Document = {"path": argv[0], "status": {}}
    if len(argv) > 1:
        document["runtimeArgs"] = list(argv[1:])
    return document


def _registries(here: Installation) -> Document:
    """`RegistryConfig`: networks that are insecure by address, and registries by name."""
    cidrs = ["::1/128", "127.0.0.0/8"]
    indexes: Document = {
        "docker.io": {
            "Name": "docker.io",
            "Mirrors": list(here.registry_mirrors),
            "Secure": True,
            "Official": True,
        }
    }
    for entry in here.insecure_registries:
        try:
            cidrs.append(str(ipaddress.ip_network(entry)))
        except ValueError:
            indexes[entry] = {"Name": entry, "Mirrors": [], "Secure": False, "Official": False}
    return {
        "InsecureRegistryCIDRs": cidrs,
        "IndexConfigs": indexes,
        "Mirrors": list(here.registry_mirrors),
    }
