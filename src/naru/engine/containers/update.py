"""`POST /containers/{id}/update`: new limits and policy, for a running container at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from msgspec import field

from naru.engine.containers import devices, resources
from naru.engine.containers.collaborators import Runtimes
from naru.engine.containers.containers import Containers
from naru.engine.containers.devices import HostDevices
from naru.engine.containers.occurrences import occurrence
from naru.engine.containers.oci_resources import limits
from naru.engine.containers.resources import Controllers
from naru.engine.containers.validation import check_restart_policy
from naru.spec.api import Api
from naru.spec.containers import ContainerRecord, HostConfig, ThrottleDevice, WeightDevice
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
_THROTTLES = (
    "blkio_device_read_bps",
    "blkio_device_write_bps",
    "blkio_device_read_iops",
    "blkio_device_write_iops",
)
_OF_DEVICES = ("blkio_weight_device", *_THROTTLES)
_NOT_UPDATABLE = (
    "devices",
    "device_cgroup_rules",
    "device_requests",
    "kernel_memory",
    "memory_swappiness",
    "oom_kill_disable",
    "ulimits",
)


class DeviceLimits(Api, frozen=True):
    """The limits of an update that are for single devices: None leaves a kind as it is. What a
    list does not name has no limit any more, nor what it names with 0.
    """

    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = field(
        default=None, name="BlkioDeviceReadIOps"
    )
    blkio_device_write_iops: list[ThrottleDevice] | None = field(
        default=None, name="BlkioDeviceWriteIOps"
    )


class Update:
    def __init__(
        self,
        *,
        containers: Containers,
        runtimes: Runtimes,
        controllers: Callable[[], Controllers],
        hold: Callable[[ContainerRecord, HostDevices], None],
    ) -> None:
        """`hold` makes a running container's limits of devices these, and no others. It may block,
        and raise `OSError`."""
        self._containers = containers
        self._runtimes = runtimes
        self._controllers = controllers
        self._hold = hold

    async def __call__(
        self, ref: str, asked: HostConfig, of_devices: DeviceLimits | None = None
    ) -> list[str]:
        """-> warnings. `asked` holds the values to change; what it leaves out stays.

        `of_devices` is None for a client to whom these cannot be changed.
        """
        record = self._containers.find(ref)
        refused = _NOT_UPDATABLE if of_devices is not None else (*_OF_DEVICES, *_NOT_UPDATABLE)
        for attribute in refused:
            if getattr(asked, attribute):
                raise Unsupported(f"{attribute} of a container cannot be updated by this engine")
        live = self._containers.live(record)
        async with live.lock:
            present = self._containers.get(record.id)
            if present is None or live.removing:
                raise no_such_container(ref)
            host, warnings = self._updated(present, asked, of_devices or DeviceLimits())
            changed = msgspec.structs.replace(present, host_config=host)
            if present.running:
                await self._apply(changed)
            await self._containers.save(changed, occurrence(changed, "update"))
        return warnings

    def _updated(
        self, record: ContainerRecord, asked: HostConfig, of_devices: DeviceLimits
    ) -> tuple[HostConfig, list[str]]:
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
        for name in _OF_DEVICES:
            if (limits := getattr(of_devices, name)) is not None:
                given[name] = [each for each in limits if _limits(each)]
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
        found = HostDevices()
        if devices.needed(host):
            found = await asyncio.to_thread(devices.look_up, host)
        try:
            await self._runtimes[host.runtime].update(record.id, limits(host, HostDevices()))
            # Runtimes do not take limits of devices away, and runc knows none in an update: it
            # even puts back those of the container's start.
            await asyncio.to_thread(self._hold, record, found)
        except (NaruError, OSError) as error:
            raise InternalError(f"Cannot update container {record.id}: {error}") from error


def _limits(device: WeightDevice | ThrottleDevice) -> bool:
    return bool(device.weight if isinstance(device, WeightDevice) else device.rate)
