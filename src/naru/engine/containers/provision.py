"""Mount requests become mount points: volumes are made, sources checked, others' taken over."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

from msgspec.structs import replace

from naru.engine.containers import doomed_volumes, mounts
from naru.engine.containers.collaborators import Volumes
from naru.engine.containers.containers import Containers
from naru.engine.containers.mounts import MountRequest
from naru.spec.containers import ContainerConfig, HostConfig, MountPoint
from naru.spec.errors import InvalidParameter, NotFound


class MountProvision:
    def __init__(self, *, containers: Containers, volumes: Volumes) -> None:
        self._containers = containers
        self._volumes = volumes

    async def resolve(
        self, config: ContainerConfig, host: HostConfig, directory: Path, undo: AsyncExitStack
    ) -> list[MountPoint]:
        """The container's mounts. Anonymous volumes made for it are noted in its `directory`, and
        registered with `undo`."""
        points = {point.destination: point for point in self._inherited(host.volumes_from)}
        requests = [
            # An image's volume yields to one taken over from another container.
            _named(request)
            for request in mounts.requested(config, host)
            if not (
                request.anonymous
                and request.destination in config.volumes
                and request.destination in points
            )
        ]
        if made := [request.source for request in requests if request.made]:
            await asyncio.to_thread(doomed_volumes.note, directory, made)
        for request in requests:
            points[request.destination] = await self._resolve(request, undo)
        return list(points.values())

    def _inherited(self, volumes_from: Iterable[str]) -> Iterable[MountPoint]:
        for text in volumes_from:
            ref, mode = mounts.parse_volumes_from(text)
            try:
                donor = self._containers.find(ref)
            except NotFound as error:
                # The docker command takes a 404 of create for a missing image, and pulls it.
                raise InvalidParameter(str(error)) from error
            yield from mounts.inherited(donor.mounts, mode)

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
        volume = await self._volumes.create(
            request.source,
            driver=request.driver or "local",
            options=request.driver_options,
            labels=request.labels,
            anonymous=request.made,
        )
        if request.made:
            undo.push_async_callback(self._volumes.remove, volume.name)
        return MountPoint(
            type="volume",
            name=volume.name,
            source=volume.mountpoint,
            destination=request.destination,
            driver=volume.driver,
            mode=request.mode,
            rw=request.rw,
        )


def _named(request: MountRequest) -> MountRequest:
    """An anonymous volume gets its name before it is made."""
    if not request.anonymous:
        return request
    return replace(request, source=secrets.token_hex(32), made=True)


def _check_source(request: MountRequest) -> None:
    # A legacy bind's missing directory is made at start, as dockerd does.
    if not request.create_source and not Path(request.source).exists():
        raise InvalidParameter(
            'invalid mount config for type "bind": bind source path does not exist: '
            f"{request.source}"
        )
