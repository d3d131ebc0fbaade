"""What a control group has used: the raw numbers behind the Engine API's container stats."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import field

from naru.kernel.cgroups import Group, Mode, flat, number

_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")  # ns
_UNLIMITED = 1 << 60  # v1 shows "no limit" as the largest multiple of a page


class Cpu(msgspec.Struct, frozen=True):
    """Nanoseconds and counts."""

    total: int = 0
    user: int = 0
    system: int = 0
    per_cpu: list[int] = field(default_factory=list)  # v1 only
    periods: int = 0
    throttled_periods: int = 0
    throttled: int = 0


class Memory(msgspec.Struct, frozen=True):
    """Bytes. `limit` is None without one; `maximum` and `failures` where the kernel tells."""

    usage: int = 0
    limit: int | None = None
    maximum: int | None = None
    failures: int | None = None
    stat: dict[str, int] = field(default_factory=dict)  # memory.stat as it is


class BlockIo(msgspec.Struct, frozen=True):
    """One counter of one device; `operation` as the kernel spells it: Read (v1), read (v2)."""

    major: int
    minor: int
    operation: str
    value: int


class Block(msgspec.Struct, frozen=True):
    bytes: list[BlockIo] = field(default_factory=list)
    operations: list[BlockIo] = field(default_factory=list)


class Pids(msgspec.Struct, frozen=True):
    current: int = 0
    limit: int | None = None


class Stats(msgspec.Struct, frozen=True):
    cpu: Cpu
    memory: Memory
    block: Block
    pids: Pids


def read(group: Group) -> Stats:
    """All of it; what the machine does not count is zero. A few hundred µs."""
    if group.hierarchies.mode is Mode.UNIFIED:
        directory = group.directory("") or Path()
        return Stats(_cpu2(directory), _memory2(directory), _block2(directory), _pids(directory))
    return Stats(
        _cpu1(group.directory("cpuacct"), group.directory("cpu")),
        _memory1(group.directory("memory")),
        _block1(group.directory("blkio")),
        _pids(group.directory("pids")),
    )


def _cpu1(usage: Path | None, quota: Path | None) -> Cpu:
    ticks = flat(usage / "cpuacct.stat") if usage is not None else {}
    throttling = flat(quota / "cpu.stat") if quota is not None else {}
    return Cpu(
        total=(number(usage / "cpuacct.usage") or 0) if usage is not None else 0,
        user=ticks.get("user", 0) * _TICK,
        system=ticks.get("system", 0) * _TICK,
        per_cpu=_numbers(usage / "cpuacct.usage_percpu") if usage is not None else [],
        periods=throttling.get("nr_periods", 0),
        throttled_periods=throttling.get("nr_throttled", 0),
        throttled=throttling.get("throttled_time", 0),
    )


def _cpu2(directory: Path) -> Cpu:
    stat = flat(directory / "cpu.stat")
    return Cpu(
        total=stat.get("usage_usec", 0) * 1000,
        user=stat.get("user_usec", 0) * 1000,
        system=stat.get("system_usec", 0) * 1000,
        periods=stat.get("nr_periods", 0),
        throttled_periods=stat.get("nr_throttled", 0),
        throttled=stat.get("throttled_usec", 0) * 1000,
    )


def _memory1(directory: Path | None) -> Memory:
    if directory is None:
        return Memory()
    limit = number(directory / "memory.limit_in_bytes")
    return Memory(
        usage=number(directory / "memory.usage_in_bytes") or 0,
        limit=limit if limit is not None and limit < _UNLIMITED else None,
        maximum=number(directory / "memory.max_usage_in_bytes"),
        failures=number(directory / "memory.failcnt"),
        stat=flat(directory / "memory.stat"),
    )


def _memory2(directory: Path) -> Memory:
    return Memory(
        usage=number(directory / "memory.current") or 0,
        limit=number(directory / "memory.max"),
        maximum=number(directory / "memory.peak"),
        failures=flat(directory / "memory.events").get("max"),
        stat=flat(directory / "memory.stat"),
    )


def _block1(directory: Path | None) -> Block:
    if directory is None:
        return Block()
    return Block(
        _blkio(directory, "io_service_bytes"),
        _blkio(directory, "io_serviced"),
    )


def _blkio(directory: Path, what: str) -> list[BlockIo]:
    """ "MAJOR:MINOR Operation VALUE" lines; the scheduler's own file counts children too."""
    found: list[BlockIo] = []
    for name in (f"blkio.bfq.{what}_recursive", f"blkio.throttle.{what}"):
        for line in _lines(directory / name):
            device, *rest = line.split()
            if len(rest) == 2:
                major, minor = device.split(":")
                found.append(BlockIo(int(major), int(minor), rest[0], int(rest[1])))
        if found:
            break
    return found


def _block2(directory: Path) -> Block:
    """ "MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N dbytes=N dios=N" lines."""
    block = Block()
    for line in _lines(directory / "io.stat"):
        device, *pairs = line.split()
        major, minor = map(int, device.split(":"))
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        for operation, letter in (("read", "r"), ("write", "w")):
            in_bytes, in_ios = values.get(f"{letter}bytes"), values.get(f"{letter}ios")
            if in_bytes is not None:
                block.bytes.append(BlockIo(major, minor, operation, int(in_bytes)))
            if in_ios is not None:
                block.operations.append(BlockIo(major, minor, operation, int(in_ios)))
    return block


def _pids(directory: Path | None) -> Pids:
    if directory is None:
        return Pids()
    return Pids(number(directory / "pids.current") or 0, number(directory / "pids.max"))


def _numbers(path: Path) -> list[int]:
    return [int(word) for line in _lines(path) for word in line.split() if word.isdigit()]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
