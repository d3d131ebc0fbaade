"""Container statistics in the Engine API's shape, and the two /proc files they need. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from naru.engine.containers import json_lines
from naru.kernel.cgroup_stats import BlockIo, Cpu, Memory, Stats
from naru.spec.containers import ContainerRecord

_NEVER: Final = "0001-01-01T00:00:00Z"
_INTERFACE_FIELDS: Final = (
    "rx_bytes",
    "rx_packets",
    "rx_errors",
    "rx_dropped",
    "tx_bytes",
    "tx_packets",
    "tx_errors",
    "tx_dropped",
)
_NO_CPU: Final = {
    "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
    "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
}
_BLOCK_KINDS: Final = (
    "io_service_bytes_recursive",
    "io_serviced_recursive",
    "io_queue_recursive",
    "io_service_time_recursive",
    "io_wait_time_recursive",
    "io_merged_recursive",
    "io_time_recursive",
    "sectors_recursive",
)


class Sample(msgspec.Struct, frozen=True):
    """`at`: ns since the epoch; `system_cpu`: ns of all processors since the machine's start."""

    at: int
    used: Stats
    system_cpu: int
    online_cpus: int
    interfaces: dict[str, dict[str, int]]


def encode(
    container: ContainerRecord,
    sample: Sample | None,
    before: Sample | None,
    *,
    machine_memory: int,
) -> dict[str, Any]:
    block: dict[str, Any] = dict.fromkeys(_BLOCK_KINDS)
    pids: dict[str, int] = {}
    if sample is not None:
        block["io_service_bytes_recursive"] = _block(sample.used.block.bytes)
        block["io_serviced_recursive"] = _block(sample.used.block.operations)
        pids = {"current": sample.used.pids.current}
        if sample.used.pids.limit is not None:
            pids["limit"] = sample.used.pids.limit
    document = {
        "name": f"/{container.name}",
        "id": container.id,
        "os_type": "linux",
        "read": _NEVER if sample is None else json_lines.format_time(sample.at),
        "preread": _NEVER if before is None else json_lines.format_time(before.at),
        "pids_stats": pids,
        "blkio_stats": block,
        "num_procs": 0,  # Windows
        "storage_stats": {},  # Windows
        "cpu_stats": _cpu(sample),
        "precpu_stats": _cpu(before),
        "memory_stats": {} if sample is None else _memory(sample.used.memory, machine_memory),
    }
    if sample is not None and sample.interfaces:
        document["networks"] = sample.interfaces
    return document


def system_cpu(proc_stat: str, *, tick: int) -> int:
    """All but guest time (which is counted in user time) of /proc/stat's first line, in ns."""
    for line in proc_stat.splitlines():
        if line.startswith("cpu "):
            return sum(map(int, line.split()[1:8])) * tick
    return 0


def interfaces(net_dev: str) -> dict[str, dict[str, int]]:
    """/proc/PID/net/dev without the loopback."""
    found = {}
    for line in net_dev.splitlines()[2:]:
        name, _, counters = line.partition(":")
        numbers = [int(word) for word in counters.split()]
        if name.strip() != "lo" and len(numbers) >= 12:
            picked = [*numbers[0:4], *numbers[8:12]]
            found[name.strip()] = dict(zip(_INTERFACE_FIELDS, picked, strict=True))
    return found


def _cpu(sample: Sample | None) -> dict[str, Any]:
    if sample is None:
        return _NO_CPU
    cpu: Cpu = sample.used.cpu
    usage: dict[str, Any] = {"total_usage": cpu.total}
    if cpu.per_cpu:
        usage["percpu_usage"] = cpu.per_cpu
    usage["usage_in_kernelmode"] = cpu.system
    usage["usage_in_usermode"] = cpu.user
    return {
        "cpu_usage": usage,
        "system_cpu_usage": sample.system_cpu,
        "online_cpus": sample.online_cpus,
        "throttling_data": {
            "periods": cpu.periods,
            "throttled_periods": cpu.throttled_periods,
            "throttled_time": cpu.throttled,
        },
    }


def _memory(memory: Memory, machine_memory: int) -> dict[str, Any]:
    document: dict[str, Any] = {"usage": memory.usage}
    if memory.maximum is not None:
        document["max_usage"] = memory.maximum
    document["stats"] = memory.stat
    if memory.failures:
        document["failcnt"] = memory.failures
    document["limit"] = min(memory.limit or machine_memory, machine_memory)
    return document


def _block(counters: list[BlockIo]) -> list[dict[str, Any]] | None:
    return [
        {"major": each.major, "minor": each.minor, "op": each.operation, "value": each.value}
        for each in counters
    ] or None
