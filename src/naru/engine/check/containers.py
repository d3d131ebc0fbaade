"""Containers: no directory, bundle or namespace that is no container's, no mount without need."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from naru.engine.check.finding import Finding
from naru.engine.containers.containers import Containers
from naru.engine.containers.paths import ContainerPaths
from naru.engine.containers.remains import remove_tree, unrecorded
from naru.spec.containers import ContainerRecord
from naru.store.layers import LayerStore


class ContainerInspection:
    def __init__(
        self,
        *,
        containers: Containers,
        paths: ContainerPaths,
        layers: LayerStore,
        finish_removal: Callable[[str], Awaitable[None]],
        detach: Callable[[str], Awaitable[object]],
        make_directory: Callable[[ContainerRecord], Awaitable[None]],
    ) -> None:
        """`finish_removal` and `detach` (from networks) take the id of one without a record."""
        self._containers = containers
        self._paths = paths
        self._layers = layers
        self._finish_removal = finish_removal
        self._detach = detach
        self._make_directory = make_directory

    async def findings(self, *, verify: bool) -> AsyncIterator[Finding]:
        for folder, what, repair in (
            (self._paths.containers, "a directory", self._finish_removal),
            (self._paths.bundles, "a runtime bundle", self._remove_bundle),
            (self._paths.exec_root / "netns", "a network namespace", self._detach),
        ):
            for container_id in await unrecorded(self._containers, folder):
                yield Finding(
                    "leftover", str(folder / container_id), f"{what} of no container",
                    functools.partial(repair, container_id), "remove it",
                )  # fmt: skip
        async for finding in self._missing(self._paths.containers):
            yield finding
        for container_id in await self._layers.stale_mounts(self._mounting):
            yield Finding(
                "stale-mount", str(self._layers.target(container_id)), "nobody needs it",
                functools.partial(self._unmount, container_id), "unmount it",
            )  # fmt: skip

    async def _missing(self, folder: Path) -> AsyncIterator[Finding]:
        for record in self._containers.all():
            here = await asyncio.to_thread(os.path.isdir, folder / record.id)
            if not here and self._containers.get(record.id) is not None:
                yield Finding(
                    "missing-directory", str(folder / record.id),
                    f"of container {record.name}: its log and files are lost",
                    functools.partial(self._make_directory, record), "make it anew, empty",
                )  # fmt: skip

    def _mounting(self) -> set[str]:
        """Containers that run, or that somebody is starting, ending or removing just now."""
        busy = self._containers.unrecorded()
        for record in self._containers.all():
            live = self._containers.live(record)
            ending = live.teardown is not None and not live.teardown.done()
            if record.running or live.lock.locked() or ending:
                busy.add(record.id)
        return busy

    async def _unmount(self, container_id: str) -> None:
        if container_id not in self._mounting():
            await self._layers.unmount(container_id)

    async def _remove_bundle(self, container_id: str) -> None:
        await asyncio.to_thread(remove_tree, self._paths.bundle(container_id))
