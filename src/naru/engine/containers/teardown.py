"""Undoing a run: the same steps for a failed start, an exit, a removal and a recovery.

Each step is idempotent and needs the record only, so it does not matter which of them a former
attempt, or a former daemon, has already taken.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from naru.engine.containers.collaborators import Layers, Networks, Runtimes, Volumes
from naru.engine.containers.facts import HostFacts
from naru.engine.containers.paths import ContainerPaths
from naru.engine.containers.persevere import persevere
from naru.engine.containers.remains import remove_tree
from naru.engine.containers.rootfs import unmount_shm
from naru.spec.containers import ContainerRecord

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]


class Teardown:
    def __init__(
        self,
        *,
        layers: Layers,
        networks: Networks,
        volumes: Volumes,
        runtimes: Runtimes,
        paths: ContainerPaths,
        facts: HostFacts,
    ) -> None:
        self._layers = layers
        self._networks = networks
        self._volumes = volumes
        self._runtimes = runtimes
        self._paths = paths
        self._facts = facts
        self._unreleased: set[str] = set()  # containers with a `release` that failed

    async def everything(self, record: ContainerRecord) -> None:
        await self.release(record)
        await self.rest(record)

    async def release(self, record: ContainerRecord) -> None:
        """What others may want: addresses, ports, volumes. Quick; done before the end is told.

        What fails is tried again by `rest`, for which nobody waits."""
        for what, work in self._releases(record):
            try:
                await work()
            except Exception as error:
                log.warning("container %s: %s failed: %s", record.id[:12], what, error)
                self._unreleased.add(record.id)

    async def rest(self, record: ContainerRecord) -> None:
        """Slow, and nobody waits for it but the next start."""
        if record.id in self._unreleased:
            for what, work in self._releases(record):
                await self._step(record, what, work)
            self._unreleased.discard(record.id)
        runtime = self._runtimes.get(record.host_config.runtime)
        if runtime is not None:
            await self._step(
                record, "deleting it at the runtime", lambda: runtime.delete(record.id)
            )
        # A runtime that fails half way through a start leaves the group that it has made.
        group = self._facts.group(record.id, record.host_config.cgroup_parent)
        await self._step(record, "removing the cgroup", lambda: asyncio.to_thread(group.remove))
        if record.host_config.ipc_mode == "shareable":
            shm = self._paths.shm(record.id)
            await self._step(
                record, "unmounting /dev/shm", lambda: asyncio.to_thread(unmount_shm, shm)
            )
        await self._step(record, "unmounting the root", lambda: self._layers.unmount(record.id))
        bundle = self._paths.bundle(record.id)
        await self._step(
            record, "removing the bundle", lambda: asyncio.to_thread(remove_tree, bundle)
        )

    def _releases(self, record: ContainerRecord) -> Iterator[tuple[str, Work]]:
        yield "detaching the network", partial(self._networks.detach, record.id)
        for point in record.mounts:
            if point.type == "volume":
                unmount = partial(self._volumes.unmount, point.name, record.id)
                yield f"unmounting volume {point.name}", unmount

    async def _step(self, record: ContainerRecord, what: str, work: Work) -> None:
        """One step's failure must not keep the others from being taken; recovery tries again."""
        try:
            await persevere(work, f"container {record.id[:12]}: {what}")
        except Exception:
            log.exception("container %s: %s failed", record.id[:12], what)
