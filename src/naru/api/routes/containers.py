"""`/containers` of the Engine API: all but attach, logs, stats, archive and exec."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from naru.api import create_body, versions
from naru.api.messages import Request, Response, Router, Stream
from naru.engine.containers.changes import Changes
from naru.engine.containers.create import Request as CreateRequest
from naru.engine.containers.export import Export
from naru.engine.containers.inspect import Inspect
from naru.engine.containers.lifecycle import Lifecycle
from naru.engine.containers.listing import Listing
from naru.engine.containers.live import Ended
from naru.engine.containers.prune import Prune
from naru.engine.containers.resize import Resize
from naru.engine.containers.top import TopProcesses
from naru.engine.containers.update import DeviceLimits
from naru.spec import jsonread
from naru.spec.api import Api
from naru.spec.containers import ContainerConfig, HostConfig
from naru.spec.errors import InvalidParameter, Unsupported
from naru.spec.networks import NetworkingConfig

_WAIT_CONDITIONS_SINCE = (1, 30)
_DEVICE_LIMITS_UPDATED_SINCE = (1, 55)


class _HostParts(Api, frozen=True):
    """What the body of a create has beside the members of ContainerConfig."""

    host_config: HostConfig = HostConfig()
    networking_config: NetworkingConfig = NetworkingConfig()


class Views(msgspec.Struct, frozen=True, kw_only=True):
    """The reading side of containers: each answers one route."""

    listing: Listing
    inspect: Inspect
    top: TopProcesses
    changes: Changes
    export: Export


class ContainerRoutes:
    def __init__(self, *, lifecycle: Lifecycle, views: Views, resize: Resize, prune: Prune) -> None:
        self._lifecycle = lifecycle
        self._views = views
        self._resize = resize
        self._prune = prune

    def register(self, router: Router) -> None:
        router.add("POST", "/containers/create", self.create)
        router.add("GET", "/containers/json", self.list)
        router.add("POST", "/containers/prune", self.prune)
        router.add("GET", "/containers/{id}/json", self.inspect)
        router.add("GET", "/containers/{id}/top", self.top)
        router.add("GET", "/containers/{id}/changes", self.changes)
        router.add("GET", "/containers/{id}/export", self.export)
        router.add("POST", "/containers/{id}/start", self.start)
        router.add("POST", "/containers/{id}/stop", self.stop)
        router.add("POST", "/containers/{id}/restart", self.restart)
        router.add("POST", "/containers/{id}/kill", self.kill)
        router.add("POST", "/containers/{id}/pause", self.pause)
        router.add("POST", "/containers/{id}/unpause", self.unpause)
        router.add("POST", "/containers/{id}/rename", self.rename)
        router.add("POST", "/containers/{id}/update", self.update)
        router.add("POST", "/containers/{id}/resize", self.resize)
        router.add("POST", "/containers/{id}/wait", self.wait)
        router.add("DELETE", "/containers/{id}", self.remove)

    async def create(self, request: Request) -> Response:
        if not (await request.body()).strip():
            raise InvalidParameter("invalid JSON: got EOF while reading request body")
        config, rest = await request.json(ContainerConfig), await request.json(_HostParts)
        host, warnings = create_body.adapted(request.version, config, rest.host_config)
        created = await self._lifecycle.create(
            CreateRequest(
                config=config,
                host=host,
                endpoints=rest.networking_config.endpoints_config,
                name=request.query.text("name"),
                platform=request.query.text("platform"),
            )
        )
        warnings = [*created.warnings, *warnings]
        return Response({"Id": created.record.id, "Warnings": warnings}, status=201)

    async def list(self, request: Request) -> Response:
        query = request.query
        listed = await self._views.listing(
            all=query.flag("all"),
            limit=query.integer("limit") or 0,
            size=query.flag("size"),
            filters=query.filters(),
        )
        return Response(versions.shape_all(request.version, "container.list", listed))

    async def inspect(self, request: Request) -> Response:
        size = request.query.flag("size")
        shown = await self._views.inspect(request.params["id"], size=size)
        return Response(versions.shape(request.version, "container.inspect", shown))

    async def top(self, request: Request) -> Response:
        found = await self._views.top(request.params["id"], request.query.text("ps_args"))
        return Response({"Titles": found.titles, "Processes": found.processes})

    async def changes(self, request: Request) -> Response:
        changes = await self._views.changes(request.params["id"])
        listed = [{"Path": change.path, "Kind": change.kind} for change in changes]
        return Response(listed or b"null")  # docker-py tells no change by it

    async def export(self, request: Request) -> Stream:
        pieces = self._views.export(request.params["id"])
        return Stream(pieces, content_type="application/octet-stream")

    async def start(self, request: Request) -> Response:
        if request.query.text("checkpoint"):
            raise Unsupported("checkpoint is not supported by this engine")
        started = await self._lifecycle.start(request.params["id"])
        return Response(status=204 if started else 304)

    async def stop(self, request: Request) -> Response:
        stopped = await self._lifecycle.stop(
            request.params["id"],
            signal=request.query.text("signal"),
            timeout=request.query.integer("t"),
        )
        return Response(status=204 if stopped else 304)

    async def restart(self, request: Request) -> Response:
        await self._lifecycle.restart(
            request.params["id"],
            signal=request.query.text("signal"),
            timeout=request.query.integer("t"),
        )
        return Response(status=204)

    async def kill(self, request: Request) -> Response:
        await self._lifecycle.kill(request.params["id"], signal=request.query.text("signal"))
        return Response(status=204)

    async def pause(self, request: Request) -> Response:
        await self._lifecycle.pause(request.params["id"])
        return Response(status=204)

    async def unpause(self, request: Request) -> Response:
        await self._lifecycle.unpause(request.params["id"])
        return Response(status=204)

    async def rename(self, request: Request) -> Response:
        await self._lifecycle.rename(request.params["id"], request.query.text("name"))
        return Response(status=204)

    async def update(self, request: Request) -> Response:
        limits = None
        if request.version >= _DEVICE_LIMITS_UPDATED_SINCE:
            limits = await request.json(DeviceLimits)
        warnings = await self._lifecycle.update(
            request.params["id"], await request.json(HostConfig), limits
        )
        return Response({"Warnings": warnings})

    async def resize(self, request: Request) -> Response:
        height, width = request.query.integer("h"), request.query.integer("w")
        if height is None or width is None:
            raise InvalidParameter("resize needs the parameters h and w")
        await self._resize(request.params["id"], height=height, width=width)
        return Response(status=200)

    async def wait(self, request: Request) -> Stream:
        condition = request.query.text("condition")
        if request.version < _WAIT_CONDITIONS_SINCE:
            condition = ""
        ended = self._lifecycle.wait(request.params["id"], condition)
        return Stream(_waited(ended, request.disconnected()))

    async def remove(self, request: Request) -> Response:
        query = request.query
        if query.flag("link"):
            raise Unsupported("link: links between containers are not supported by this engine")
        await self._lifecycle.remove(
            request.params["id"], force=query.flag("force"), volumes=query.flag("v")
        )
        return Response(status=204)

    async def prune(self, request: Request) -> Response:
        pruned = await self._prune(request.query.filters())
        return Response({"ContainersDeleted": pruned.ids, "SpaceReclaimed": pruned.reclaimed})


async def _waited(
    ended: asyncio.Future[Ended], disconnected: asyncio.Future[None]
) -> AsyncIterator[bytes]:
    """The headers at once: docker starts the container only when it has seen them."""
    try:
        yield b""
        either: set[asyncio.Future[Ended] | asyncio.Future[None]] = {ended, disconnected}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            result = ended.result()
            answer: dict[str, object] = {"StatusCode": result.exit_code}
            if result.error:
                answer["Error"] = {"Message": result.error}
            yield jsonread.encode(answer) + b"\n"
    finally:
        ended.cancel()
