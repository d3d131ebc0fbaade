"""Mount requests become mount points: volumes are made, sources checked, others' taken over."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

from naru.engine.containers import mounts
from naru.engine.containers.collaborators import Volumes
from naru.engine.containers.containers import Containers
from naru.engine.containers.mounts import MountRequest
from naru.spec.containers import ContainerConfig, HostConfig, MountPoint
from naru.spec.errors import InvalidParameter


class MountProvision:
    def __init__(self, *, containers: Containers, volumes: Volumes) -> None:
        self._containers = containers
        self._volumes = volumes

    async def resolve(
        self, config: ContainerConfig, host: HostConfig, undo: AsyncExitStack
    ) -> list[MountPoint]:
        """The container's mounts; anonymous volumes made for it are registered with `undo`."""
        points = {point.destination: point for point in self._inherited(host.volumes_from)}
        for request in mounts.requested(config, host):
            implied = request.anonymous and request.destination in config.volumes
            if implied and request.destination in points:
                continue  # an image's volume yields to one taken over from another container
            points[request.destination] = await self._resolve(request, undo)
        return list(points.values())

    def _inherited(self, volumes_from: Iterable[str]) -> Iterable[MountPoint]:
        for text in volumes_from:
            ref, mode = mounts.parse_volumes_from(text)
            yield from mounts.inherited(self._containers.find(ref).mounts, mode)

    async def _resolve(self, request: MountRequest, undo: AsyncExitStack) -> MountPoint:
        match request.type:
            case "volume":
                return await self._volume(request, undo)
            case "bind":
                await asyncio.to_thread(_check_source, request)
        return MountPoint(
            type=request.type,
            source=request.source,
            destination=request.destination,
            mode=request.mode,
            rw=request.rw,
            propagation=request.propagation,
        )

    async def _volume(self, request: MountRequest, undo: AsyncExitStack) -> MountPoint:
        name = request.source or secrets.token_hex(32)
        volume = await self._volumes.create(
            name,
            driver=request.driver or "local",
            options=request.driver_options,
            labels=request.labels,
            anonymous=request.anonymous,
        )
        if request.anonymous:
            undo.push_async_callback(self._volumes.remove, name)
        return MountPoint(
            type="volume",
            name=volume.name,
            source=volume.mountpoint,
            destination=request.destination,
            driver=volume.driver,
            mode=request.mode,
            rw=request.rw,
        )


def _check_source(request: MountRequest) -> None:
    # A legacy bind's missing directory is made at start, as dockerd does.
    if not request.create_source and not Path(request.source).exists():
        raise InvalidParameter(
            'invalid mount config for type "bind": bind source path does not exist: '
            f"{request.source}"
        )
