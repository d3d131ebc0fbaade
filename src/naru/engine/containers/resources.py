"""The resource limits of a HostConfig: checked with Docker's texts, and adapted to the host.

Pure: what the kernel offers comes in as `Controllers`; a limit that it cannot hold is dropped with
dockerd's own warning, as dockerd does, so the user is told.
"""

from __future__ import annotations

import msgspec
from msgspec import field

from naru.spec.containers import HostConfig
from naru.spec.errors import InvalidParameter

MINIMUM_MEMORY = 6 * 1024 * 1024
_MINIMUM_SHARES, _MAXIMUM_SHARES = 2, 262144

_DISCARDED = "Your kernel does not support {} or the cgroup is not mounted. {} discarded."


class Controllers(msgspec.Struct, frozen=True):
    """What this host's cgroups can limit."""

    version: int = 2  # 1 is for hybrid hosts as well
    cpus: frozenset[int] = field(default_factory=frozenset)  # online
    memory_nodes: frozenset[int] = frozenset({0})
    memory: bool = True
    swap: bool = True
    swappiness: bool = False  # v1 only
    oom_kill_disable: bool = False  # v1 only
    cpu_shares: bool = True
    cpu_quota: bool = True
    cpu_realtime: bool = False
    cpuset: bool = True
    pids: bool = True
    blkio_weight: bool = True
    blkio_throttle: bool = True


def checked(
    host: HostConfig, controllers: Controllers, *, update: bool = False
) -> tuple[HostConfig, list[str]]:
    """The limits that will hold, and warnings of those that will not."""
    warnings: list[str] = []
    host = _memory(host, controllers, warnings, update=update)
    host = _cpu(host, controllers, warnings)
    host = _blkio(host, controllers, warnings)
    if host.pids_limit is not None and not controllers.pids:
        if host.pids_limit > 0:
            warnings.append(_DISCARDED.format("PIDs limit capabilities", "PIDs limit"))
        host = msgspec.structs.replace(host, pids_limit=None)
    return host, warnings


def _memory(
    host: HostConfig, controllers: Controllers, warnings: list[str], *, update: bool
) -> HostConfig:
    change = msgspec.structs.replace
    if host.memory != 0 and host.memory < MINIMUM_MEMORY:
        raise InvalidParameter("Minimum memory limit allowed is 6MB")
    if host.memory > 0 and not controllers.memory:
        warnings.append(_DISCARDED.format("memory limit capabilities", "Limitation"))
        host = change(host, memory=0, memory_swap=-1)
    if host.memory > 0 and host.memory_swap == 0 and not update:
        host = change(host, memory_swap=host.memory * 2)
    if host.memory > 0 and host.memory_swap != -1 and not controllers.swap:
        warnings.append(
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
            "Memory limited without swap."
        )
        host = change(host, memory_swap=-1)
    if 0 < host.memory_swap < host.memory:
        raise InvalidParameter(
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        )
    if host.memory == 0 and host.memory_swap > 0 and not update:
        raise InvalidParameter(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    if host.memory_swap < -1:
        raise InvalidParameter(f"invalid memory swap value: {host.memory_swap}")
    swappiness = host.memory_swappiness if host.memory_swappiness != -1 else None
    if swappiness is not None and not controllers.swappiness:
        warnings.append(_DISCARDED.format("memory swappiness capabilities", "Memory swappiness"))
        swappiness = None
    if swappiness is not None and not 0 <= swappiness <= 100:
        raise InvalidParameter(
            f"Invalid value: {swappiness}, valid memory swappiness range is 0-100"
        )
    host = change(host, memory_swappiness=swappiness)
    if host.memory_reservation > 0 and not controllers.memory:
        warnings.append(_DISCARDED.format("memory soft limit capabilities", "Limitation"))
        host = change(host, memory_reservation=0)
    if 0 < host.memory_reservation < MINIMUM_MEMORY:
        raise InvalidParameter("Minimum memory reservation allowed is 6MB")
    if 0 < host.memory < host.memory_reservation:
        raise InvalidParameter(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )
    if host.kernel_memory > 0:
        warnings.append(_DISCARDED.format("kernel memory limit capabilities", "Limitation"))
        host = change(host, kernel_memory=0)
    if host.oom_kill_disable and not controllers.oom_kill_disable:
        warnings.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
        host = change(host, oom_kill_disable=None)
    if host.oom_kill_disable and host.memory == 0:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can "
            "result in the system running out of resources."
        )
    return host


def _cpu(host: HostConfig, controllers: Controllers, warnings: list[str]) -> HostConfig:
    change = msgspec.structs.replace
    available = len(controllers.cpus)
    if host.nano_cpus > 0 and host.cpu_period > 0:
        raise InvalidParameter("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if host.nano_cpus > 0 and host.cpu_quota > 0:
        raise InvalidParameter("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if host.nano_cpus > 0 and not controllers.cpu_quota:
        raise InvalidParameter(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the "
            "cgroup is not mounted"
        )
    if host.nano_cpus < 0 or host.nano_cpus > available * 10**9:
        raise InvalidParameter(
            f"Range of CPUs is from 0.01 to {available}.00, as there are only {available} CPUs "
            "available"
        )
    if host.cpu_shares < 0:
        raise InvalidParameter(
            f"invalid CPU shares ({host.cpu_shares}): value must be a positive integer"
        )
    if host.cpu_shares > 0 and not controllers.cpu_shares:
        warnings.append(_DISCARDED.format("CPU shares", "Shares"))
        host = change(host, cpu_shares=0)
    if host.cpu_shares > 0:
        host = change(host, cpu_shares=min(max(host.cpu_shares, _MINIMUM_SHARES), _MAXIMUM_SHARES))
    if (host.cpu_period or host.cpu_quota) and not controllers.cpu_quota:
        warnings.append(
            "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded."
        )
        host = change(host, cpu_period=0, cpu_quota=0)
    if host.cpu_period != 0 and not 1000 <= host.cpu_period <= 1_000_000:
        raise InvalidParameter(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < host.cpu_quota < 1000:
        raise InvalidParameter("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if (host.cpu_realtime_period or host.cpu_realtime_runtime) and not controllers.cpu_realtime:
        raise InvalidParameter(
            "Your kernel does not support CPU real-time scheduler"
            if host.cpu_realtime_runtime
            else "Your kernel does not support cgroup cpu real-time period"
        )
    if host.cpu_realtime_period and host.cpu_realtime_runtime > host.cpu_realtime_period:
        raise InvalidParameter("cpu real-time runtime cannot be higher than cpu real-time period")
    if host.cpu_percent > 0:
        warnings.append("linux does not support CPU percent. Percent discarded.")
        host = change(host, cpu_percent=0)
    if (host.cpuset_cpus or host.cpuset_mems) and not controllers.cpuset:
        warnings.append(_DISCARDED.format("cpuset", "Cpuset"))
        host = change(host, cpuset_cpus="", cpuset_mems="")
    _check_set("cpus", "CPUs", host.cpuset_cpus, controllers.cpus)
    _check_set("mems", "memory nodes", host.cpuset_mems, controllers.memory_nodes)
    return host


def _check_set(option: str, noun: str, text: str, available: frozenset[int]) -> None:
    try:
        wanted = parse_set(text)
    except ValueError as error:
        raise InvalidParameter(f"Invalid value {text} for cpuset {option}: {error}") from None
    if not wanted <= available:
        raise InvalidParameter(
            f"Requested {noun} are not available - requested {text}, "
            f"available: {format_set(available)}"
        )


def _blkio(host: HostConfig, controllers: Controllers, warnings: list[str]) -> HostConfig:
    change = msgspec.structs.replace
    if host.blkio_weight > 0 and not controllers.blkio_weight:
        warnings.append(_DISCARDED.format("Block I/O weight", "Weight"))
        host = change(host, blkio_weight=0)
    if host.blkio_weight != 0 and not 10 <= host.blkio_weight <= 1000:
        raise InvalidParameter("Range of blkio weight is from 10 to 1000")
    if host.io_maximum_bandwidth or host.io_maximum_iops:
        raise InvalidParameter(
            "Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps"
        )
    if host.blkio_weight_device and not controllers.blkio_weight:
        warnings.append(_DISCARDED.format("Block I/O weight_device", "Weight-device"))
        host = change(host, blkio_weight_device=[])
    if controllers.blkio_throttle:
        return host
    for attribute, noun, what in (
        ("blkio_device_read_bps", "BPS Block I/O read limit", "Block I/O BPS read limit"),
        ("blkio_device_write_bps", "BPS Block I/O write limit", "Block I/O BPS write limit"),
        ("blkio_device_read_iops", "IOPS Block read limit", "Block I/O IOPS read limit"),
        ("blkio_device_write_iops", "IOPS Block write limit", "Block I/O IOPS write limit"),
    ):
        if getattr(host, attribute):
            warnings.append(_DISCARDED.format(noun, what))
            host = change(host, **{attribute: []})
    return host


def parse_set(text: str) -> frozenset[int]:
    """The kernel's list format: "0-2,5" -> {0, 1, 2, 5}."""
    members: set[int] = set()
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        if not (first.isdigit() and (not dash or last.isdigit())):
            raise ValueError(f"invalid format: {part}")
        members.update(range(int(first), int(last or first) + 1))
    return frozenset(members)


def format_set(members: frozenset[int]) -> str:
    ordered = sorted(members)
    spans: list[tuple[int, int]] = []
    for member in ordered:
        if spans and spans[-1][1] == member - 1:
            spans[-1] = (spans[-1][0], member)
        else:
            spans.append((member, member))
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
