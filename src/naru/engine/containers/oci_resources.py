"""The limits of a HostConfig as OCI `linux.resources`. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from naru.engine.containers.devices import BlockDevice, Device, HostDevices
from naru.spec.containers import HostConfig
from naru.spec.errors import InvalidParameter

_DEVICE_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})")
# The kernel's PID_MAX_LIMIT: runtimes differ in what they take for "no limit any more".
_MOST_PIDS = 4 * 1024 * 1024

_PERIOD = 100_000  # µs, the kernel's default, of which NanoCpus is a share

# null, zero, full, random, urandom, tty, console and the multiplexer of the container's own ptys
_DEFAULT_CHARACTER_DEVICES = ((1, 5), (1, 3), (1, 9), (1, 8), (1, 7), (5, 0), (5, 1), (5, 2))
_PTY_MAJOR = 136


def resources(host: HostConfig, devices: HostDevices) -> dict[str, Any]:
    """Everything: limits and device rules."""
    found = limits(host, devices)
    if host.pids_limit is not None and host.pids_limit <= 0:
        del found["pids"]  # a new group has no limit
    return {**found, "devices": _device_rules(host, devices.mapped)}


def limits(host: HostConfig, devices: HostDevices) -> dict[str, Any]:
    """What `docker update` may change on a running container."""
    found: dict[str, Any] = {}
    if memory := _memory(host):
        found["memory"] = memory
    if cpu := _cpu(host):
        found["cpu"] = cpu
    if host.pids_limit is not None:
        found["pids"] = {"limit": host.pids_limit if host.pids_limit > 0 else _MOST_PIDS}
    if block_io := _block_io(host, devices):
        found["blockIO"] = block_io
    return found


def _memory(host: HostConfig) -> dict[str, Any]:
    memory: dict[str, Any] = {}
    if host.memory > 0:
        memory["limit"] = host.memory
    if host.memory_reservation > 0:
        memory["reservation"] = host.memory_reservation
    if host.memory_swap > 0 or (host.memory_swap == -1 and host.memory > 0):
        memory["swap"] = host.memory_swap
    if host.memory_swappiness is not None:
        memory["swappiness"] = host.memory_swappiness
    if host.oom_kill_disable:
        memory["disableOOMKiller"] = True
    return memory


def _cpu(host: HostConfig) -> dict[str, Any]:
    cpu: dict[str, Any] = {}
    if host.cpu_shares > 0:
        cpu["shares"] = host.cpu_shares
    if host.nano_cpus > 0:
        cpu["period"] = _PERIOD
        cpu["quota"] = host.nano_cpus * _PERIOD // 10**9
    if host.cpu_period != 0:
        cpu["period"] = host.cpu_period
    if host.cpu_quota != 0:
        cpu["quota"] = host.cpu_quota
    if host.cpu_realtime_period != 0:
        cpu["realtimePeriod"] = host.cpu_realtime_period
    if host.cpu_realtime_runtime != 0:
        cpu["realtimeRuntime"] = host.cpu_realtime_runtime
    if host.cpuset_cpus:
        cpu["cpus"] = host.cpuset_cpus
    if host.cpuset_mems:
        cpu["mems"] = host.cpuset_mems
    return cpu


def _block_io(host: HostConfig, devices: HostDevices) -> dict[str, Any]:
    block_io: dict[str, Any] = {}
    if host.blkio_weight > 0:
        block_io["weight"] = host.blkio_weight
    for key, noun, found in (
        ("weightDevice", "weight", devices.weight),
        ("throttleReadBpsDevice", "rate", devices.read_bps),
        ("throttleWriteBpsDevice", "rate", devices.write_bps),
        ("throttleReadIOPSDevice", "rate", devices.read_iops),
        ("throttleWriteIOPSDevice", "rate", devices.write_iops),
    ):
        if found:
            block_io[key] = [_block_device(device, noun) for device in found]
    return block_io


def _block_device(device: BlockDevice, noun: str) -> dict[str, int]:
    return {"major": device.major, "minor": device.minor, noun: device.value}


def _device_rules(host: HostConfig, mapped: Sequence[Device]) -> list[dict[str, Any]]:
    if host.privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    rules += [
        # Any device node may be made: without a rule of its own below it cannot be opened.
        {"allow": True, "type": "c", "access": "m"},
        {"allow": True, "type": "b", "access": "m"},
        {"allow": True, "type": "c", "major": _PTY_MAJOR, "access": "rwm"},
    ]
    rules += [
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in _DEFAULT_CHARACTER_DEVICES
    ]
    rules += [
        {
            "allow": True,
            "type": device.kind,
            "major": device.major,
            "minor": device.minor,
            "access": device.access,
        }
        for device in mapped
    ]
    return rules + [device_rule(text) for text in host.device_cgroup_rules]


def device_rule(text: str) -> dict[str, Any]:
    """ "c 13:* rwm" -> an OCI device rule."""
    found = _DEVICE_RULE.fullmatch(text)
    if found is None:
        raise InvalidParameter(f"invalid device cgroup rule format: '{text}'")
    rule: dict[str, Any] = {"allow": True, "type": found[1], "access": found[4]}
    for key, number in (("major", found[2]), ("minor", found[3])):
        if number != "*":
            rule[key] = int(number)
    return rule
