"""`/networks`: every operation of the Engine API on them."""

from __future__ import annotations

import msgspec

from naru.api import versions
from naru.api.messages import Answer, Request, Response, Router
from naru.engine.networking.creation import NetworkCreate
from naru.engine.networks import Networks
from naru.spec.api import Api
from naru.spec.networks import EndpointSettings


class _Connect(Api, frozen=True):
    container: str = ""
    endpoint_config: EndpointSettings = msgspec.field(default_factory=EndpointSettings)


class _Disconnect(Api, frozen=True):
    container: str = ""
    force: bool = False


class NetworkRoutes:
    def __init__(self, *, networks: Networks) -> None:
        self._networks = networks

    def register(self, router: Router) -> None:
        router.add("GET", "/networks", self.list)
        router.add("GET", "/networks/", self.list)
        router.add("POST", "/networks/create", self.create)
        router.add("POST", "/networks/prune", self.prune)
        router.add("GET", "/networks/{id}", self.inspect)
        router.add("DELETE", "/networks/{id}", self.remove)
        router.add("POST", "/networks/{id}/connect", self.connect)
        router.add("POST", "/networks/{id}/disconnect", self.disconnect)

    async def list(self, request: Request) -> Answer:
        found = self._networks.search(request.query.filters())
        return Response(versions.shape_all(request.version, "network.list", found))

    async def create(self, request: Request) -> Answer:
        network_id, warning = await self._networks.create(await request.json(NetworkCreate))
        return Response({"Id": network_id, "Warning": warning}, status=201)

    async def prune(self, request: Request) -> Answer:
        removed = await self._networks.prune(request.query.filters())
        return Response({"NetworksDeleted": removed or None})

    async def inspect(self, request: Request) -> Answer:
        scope = request.query.text("scope")
        shown = self._networks.inspect(request.params["id"], scope=scope)
        return Response(versions.shape(request.version, "network.inspect", shown))

    async def remove(self, request: Request) -> Answer:
        await self._networks.remove(request.params["id"])
        return Response(status=204)

    async def connect(self, request: Request) -> Answer:
        body = await request.json(_Connect)
        await self._networks.connect(request.params["id"], body.container, body.endpoint_config)
        return Response(b"", status=200)

    async def disconnect(self, request: Request) -> Answer:
        body = await request.json(_Disconnect)
        await self._networks.disconnect(request.params["id"], body.container, force=body.force)
        return Response(b"", status=200)
