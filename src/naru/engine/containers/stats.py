"""`GET /containers/{id}/stats`: samples of what a container uses, a second apart."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from naru.engine.containers import stats_view
from naru.engine.containers.containers import Containers
from naru.engine.containers.facts import HostFacts
from naru.engine.containers.stats_view import Sample
from naru.kernel import cgroup_stats
from naru.kernel.cgroups import Group
from naru.spec.containers import ContainerRecord

_TICK: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PERIOD: Final = 1.0


class Statistics:
    def __init__(self, *, containers: Containers, facts: HostFacts) -> None:
        self._containers = containers
        self._facts = facts
        self._memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def find(self, ref: str) -> ContainerRecord:
        return self._containers.find(ref)

    async def samples(
        self, container: ContainerRecord, *, stream: bool, one_shot: bool
    ) -> AsyncIterator[dict[str, Any]]:
        """The API's objects: for ever, or one, whose `precpu_stats` is a second old unless
        `one_shot`. A container that does not run gives an object without numbers."""
        before: Sample | None = None
        while (present := self._containers.get(container.id)) is not None:
            sample = None
            if present.running:
                sample = await asyncio.to_thread(self._sample, present)
            primed = before is not None or one_shot or not present.running
            if stream or primed:
                yield stats_view.encode(present, sample, before, machine_memory=self._memory)
                if not stream:
                    return
            before = sample
            # The samples' own rhythm, not a wait for something.
            await asyncio.sleep(_PERIOD)

    def _sample(self, record: ContainerRecord) -> Sample:
        """Blocking: reads /proc and /sys."""
        own_network = record.host_config.network_mode not in ("host", "none")
        return Sample(
            at=time.time_ns(),
            used=cgroup_stats.read(self._group(record)),
            system_cpu=stats_view.system_cpu(_text("/proc/stat"), tick=_TICK),
            online_cpus=os.cpu_count() or 1,
            interfaces=stats_view.interfaces(_text(f"/proc/{record.state.pid}/net/dev"))
            if own_network
            else {},
        )

    def _group(self, record: ContainerRecord) -> Group:
        path = self._facts.cgroups_path(record.id, record.host_config.cgroup_parent)
        if self._facts.systemd_cgroup:
            slice_, prefix, name = path.split(":")
            path = f"/{slice_}/{prefix}-{name}.scope"
        return Group(self._facts.hierarchies, path)


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""  # the process ended just now
