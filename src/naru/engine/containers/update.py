"""`POST /containers/{id}/update`: new limits and policy, for a running container at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from naru.engine.containers import devices, resources
from naru.engine.containers.collaborators import Runtimes
from naru.engine.containers.containers import Containers
from naru.engine.containers.occurrences import occurrence
from naru.engine.containers.oci_resources import limits
from naru.engine.containers.resources import Controllers
from naru.engine.containers.validation import check_restart_policy
from naru.spec.containers import ContainerRecord, HostConfig
from naru.spec.errors import (
    Conflict,
    InternalError,
    InvalidParameter,
    NaruError,
    Unsupported,
    no_such_container,
)

_LIMITS = (
    "blkio_weight",
    "cpu_shares",
    "cpu_period",
    "cpu_quota",
    "cpu_realtime_period",
    "cpu_realtime_runtime",
    "cpuset_cpus",
    "cpuset_mems",
    "memory",
    "memory_reservation",
    "memory_swap",
    "nano_cpus",
)
_NOT_UPDATABLE = (
    "blkio_weight_device",
    "blkio_device_read_bps",
    "blkio_device_write_bps",
    "blkio_device_read_iops",
    "blkio_device_write_iops",
    "devices",
    "device_cgroup_rules",
    "device_requests",
    "kernel_memory",
    "memory_swappiness",
    "oom_kill_disable",
    "ulimits",
)


class Update:
    def __init__(
        self,
        *,
        containers: Containers,
        runtimes: Runtimes,
        controllers: Callable[[], Controllers],
    ) -> None:
        self._containers = containers
        self._runtimes = runtimes
        self._controllers = controllers

    async def __call__(self, ref: str, asked: HostConfig) -> list[str]:
        """-> warnings. `asked` holds the values to change; what it leaves out stays."""
        record = self._containers.find(ref)
        for attribute in _NOT_UPDATABLE:
            if getattr(asked, attribute):
                raise Unsupported(f"{attribute} of a container cannot be updated by this engine")
        live = self._containers.live(record)
        async with live.lock:
            present = self._containers.get(record.id)
            if present is None or live.removing:
                raise no_such_container(ref)
            host, warnings = self._updated(present, asked)
            changed = msgspec.structs.replace(present, host_config=host)
            if present.running:
                await self._apply(changed)
            await self._containers.save(changed, occurrence(changed, "update"))
        return warnings

    def _updated(self, record: ContainerRecord, asked: HostConfig) -> tuple[HostConfig, list[str]]:
        host = record.host_config
        # -1 of memory swap and pids is "no limit" and counts as given; 0 is "not given".
        given = {name: value for name in _LIMITS if (value := getattr(asked, name))}
        if asked.nano_cpus and (host.cpu_period or host.cpu_quota):
            raise Conflict(
                "Conflicting options: Nano CPUs cannot be updated as CPU Period has already "
                "been set"
                if host.cpu_period
                else "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already "
                "been set"
            )
        if host.nano_cpus and (asked.cpu_period or asked.cpu_quota):
            raise Conflict(
                "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set"
                if asked.cpu_period
                else "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already "
                "been set"
            )
        if 0 < host.memory_swap < asked.memory and not asked.memory_swap:
            raise InvalidParameter(
                "Memory limit should be smaller than already set memoryswap limit, update the "
                "memoryswap at the same time"
            )
        if asked.pids_limit is not None:
            given["pids_limit"] = asked.pids_limit
        policy = asked.restart_policy
        if policy.name:
            check_restart_policy(policy)
            if host.auto_remove and policy.name != "no":
                raise InvalidParameter(
                    "Restart policy cannot be updated because AutoRemove is enabled for the "
                    "container"
                )
            given["restart_policy"] = policy
        host = msgspec.structs.replace(host, **given)
        return resources.checked(host, self._controllers(), update=True)

    async def _apply(self, record: ContainerRecord) -> None:
        host = record.host_config
        found = await asyncio.to_thread(devices.look_up, host) if devices.needed(host) else None
        try:
            await self._runtimes[host.runtime].update(
                record.id, limits(host, found or devices.HostDevices())
            )
        except NaruError as error:
            raise InternalError(f"Cannot update container {record.id}: {error}") from error
