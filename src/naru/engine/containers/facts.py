"""What this host offers to containers, and what the daemon's configuration says of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec

from naru.engine.containers.resources import Controllers, parse_set
from naru.kernel.cgroups import Group, Hierarchies, Mode

# The names under which distributions ship an init for containers, docker's own first.
_INITS = ("docker-init", "tini-static", "tini", "catatonit")


class HostFacts(msgspec.Struct, frozen=True):
    hierarchies: Hierarchies
    systemd_cgroup: bool = False
    cgroup_parent: str = ""  # "" is /naru, or system.slice with systemd
    apparmor_profile: str = ""  # of containers that name none; "" where AppArmor is off
    init_path: str = ""  # "" looks for one

    def cgroups_path(self, container_id: str, parent: str) -> str:
        """OCI `cgroupsPath`: a path, or slice:prefix:name for systemd."""
        parent = parent or self.cgroup_parent
        if self.systemd_cgroup:
            return f"{parent or 'system.slice'}:naru:{container_id}"
        return f"{(parent or '/naru').rstrip('/')}/{container_id}"

    def group(self, container_id: str, parent: str) -> Group:
        """The cgroup that the runtime makes of `cgroups_path`."""
        path = self.cgroups_path(container_id, parent)
        if self.systemd_cgroup:
            slice_, prefix, name = path.split(":")
            path = f"{_slice_path(slice_)}/{prefix}-{name}.scope"
        return Group(self.hierarchies, path)

    def limited_group(self, container_id: str, parent: str) -> Group:
        """The one in which the runtime has put the limits: crun's own, below the scope that
        systemd has made for it, in cgroup v2. Looks at the file system."""
        group = self.group(container_id, parent)
        if self.systemd_cgroup and group.hierarchies.mode is Mode.UNIFIED:
            own = Group(group.hierarchies, f"{group.path}/container")
            directory = own.directory("io")
            if directory is not None and directory.is_dir():
                return own
        return group

    def find_init(self) -> Path | None:
        for name in (self.init_path,) if self.init_path else _INITS:
            if found := shutil.which(name):
                return Path(found)
        return None


def controllers(hierarchies: Hierarchies) -> Controllers:
    """What the mounted hierarchies can limit."""
    available = hierarchies.controllers
    legacy = hierarchies.mode is not Mode.UNIFIED
    memory = hierarchies.v1.get("memory")
    blkio = hierarchies.v1.get("blkio")
    cpu = hierarchies.v1.get("cpu")
    return Controllers(
        version=1 if legacy else 2,
        cpus=_online("/sys/devices/system/cpu/online", range(os.cpu_count() or 1)),
        memory_nodes=_online("/sys/devices/system/node/online", (0,)),
        memory="memory" in available,
        swap=_swap(hierarchies, memory),
        swappiness=memory is not None and (memory / "memory.swappiness").exists(),
        oom_kill_disable=memory is not None and (memory / "memory.oom_control").exists(),
        cpu_shares="cpu" in available,
        cpu_quota="cpu" in available and (cpu is None or (cpu / "cpu.cfs_quota_us").exists()),
        cpu_realtime=cpu is not None and (cpu / "cpu.rt_runtime_us").exists(),
        cpuset="cpuset" in available,
        pids="pids" in available,
        blkio_weight=_weight(hierarchies, blkio),
        blkio_throttle=(blkio / "blkio.throttle.read_bps_device").exists()
        if blkio is not None
        else "io" in available,
    )


def _slice_path(name: str) -> str:
    """ "a-b.slice" is below "a.slice": systemd.slice(5)."""
    parts = name.removesuffix(".slice").split("-")
    return "".join(f"/{'-'.join(parts[: depth + 1])}.slice" for depth in range(len(parts)))


def _swap(hierarchies: Hierarchies, memory: Path | None) -> bool:
    if hierarchies.mode is Mode.UNIFIED:
        # The root group has no memory.swap.max: swap accounting is there unless it was booted off.
        return "memory" in hierarchies.controllers and Path("/proc/swaps").exists()
    return memory is not None and (memory / "memory.memsw.limit_in_bytes").exists()


def _weight(hierarchies: Hierarchies, blkio: Path | None) -> bool:
    if hierarchies.mode is Mode.UNIFIED:
        return "io" in hierarchies.controllers
    return blkio is not None and any(
        (blkio / name).exists() for name in ("blkio.weight", "blkio.bfq.weight")
    )


def _online(path: str, otherwise: Iterable[int]) -> frozenset[int]:
    try:
        return parse_set(Path(path).read_text().strip())
    except (OSError, ValueError):
        return frozenset(otherwise)
