"""`/volumes` of the Engine API."""

from __future__ import annotations

from typing import Any

from msgspec import field

from naru.api.messages import Request, Response, Router
from naru.engine.volume_view import encode_volume
from naru.engine.volumes import Volumes
from naru.spec.api import Api
from naru.spec.errors import Unsupported


class _Create(Api, frozen=True):
    """VolumeCreateOptions; `cluster_volume_spec` is Swarm's."""

    name: str = ""
    driver: str = "local"
    driver_opts: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    cluster_volume_spec: dict[str, Any] | None = None


class VolumeRoutes:
    def __init__(self, *, volumes: Volumes) -> None:
        self._volumes = volumes

    def register(self, router: Router) -> None:
        router.add("GET", "/volumes", self.list)
        router.add("POST", "/volumes/create", self.create)
        router.add("POST", "/volumes/prune", self.prune)
        router.add("GET", "/volumes/{name:.*}", self.inspect)
        router.add("DELETE", "/volumes/{name:.*}", self.remove)

    async def list(self, request: Request) -> Response:
        found = self._volumes.search(request.query.filters())
        return Response({"Volumes": [encode_volume(each) for each in found], "Warnings": None})

    async def create(self, request: Request) -> Response:
        wanted = await request.json(_Create)
        if wanted.cluster_volume_spec is not None:
            raise Unsupported("ClusterVolumeSpec: cluster volumes are not supported")
        record = await self._volumes.create(
            wanted.name,
            driver=wanted.driver,
            options=wanted.driver_opts,
            labels=wanted.labels,
        )
        return Response(encode_volume(record), status=201)

    async def inspect(self, request: Request) -> Response:
        return Response(encode_volume(self._volumes.get(request.params["name"])))

    async def remove(self, request: Request) -> Response:
        force = request.query.flag("force")
        await self._volumes.remove(request.params["name"], force=force)
        return Response(status=204)

    async def prune(self, request: Request) -> Response:
        # Until 1.42 a prune took named volumes too.
        done = await self._volumes.prune(
            request.query.filters(), all_by_default=request.version < (1, 42)
        )
        return Response({"VolumesDeleted": done.names, "SpaceReclaimed": done.reclaimed})
