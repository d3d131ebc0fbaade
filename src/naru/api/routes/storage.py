"""`/naru/storage`: what Naru's users do with storage drivers. No part of the Engine API."""

from __future__ import annotations

import asyncio
import functools

import msgspec
from msgspec import field

from naru.api.messages import Request, Response, Router, Stream
from naru.api.routes.image_transfers import encode_messages
from naru.engine.storage.bench import StorageBench
from naru.engine.storage.inspect import InspectLayers
from naru.engine.storage.migrate import Migration, Wanted
from naru.engine.storage.picture import picture
from naru.engine.storage.text import draw as draw_stack
from naru.engine.storage.text import draw_traces
from naru.spec.api import Api
from naru.spec.errors import InvalidParameter

_WIDTH = 100  # columns of a text that is not for a terminal


class _Migrate(Api, frozen=True):
    to: str = ""
    storage_opts: list[str] = field(default_factory=list)
    stop: bool = False


class _Bench(Api, frozen=True):
    """`size` of the large file in bytes; 0 is the usual one."""

    drivers: list[str] = field(default_factory=list)
    size: int = 0
    quick: bool = False


class StorageRoutes:
    def __init__(
        self, *, migration: Migration, inspect: InspectLayers, bench: StorageBench
    ) -> None:
        self._migration = migration
        self._inspect = inspect
        self._bench = bench

    def register(self, router: Router) -> None:
        router.add("POST", "/naru/storage/migrate", self.migrate)
        router.add("GET", "/naru/storage/migrate", self.pending)
        router.add("DELETE", "/naru/storage/migrate", self.abandon)
        router.add("GET", "/naru/storage/inspect/{ref:.*}", self.inspect)
        router.add("POST", "/naru/storage/bench", self.bench)

    async def migrate(self, request: Request) -> Stream:
        wanted = await request.json(_Migrate)
        if not wanted.to:
            raise InvalidParameter("To: the storage driver to migrate to is missing")
        messages = self._migration.run(
            Wanted(wanted.to, options=tuple(wanted.storage_opts), stop=wanted.stop)
        )
        return Stream(encode_messages(messages))

    async def pending(self, request: Request) -> Response:
        pending = self._migration.pending
        if pending is None:
            return Response({"Pending": False})
        return Response({
            "Pending": True,
            "Running": self._migration.under_way,
            "Source": pending.source,
            "Target": pending.target,
            "Switched": pending.switched,
        })  # fmt: skip

    async def abandon(self, request: Request) -> Response:
        await self._migration.abandon()
        return Response(status=204)

    async def inspect(self, request: Request) -> Response:
        """`format`: json, text or svg; `path`: say where these come from."""
        form = request.query.text("format", "json")
        if form not in ("json", "text", "svg"):
            raise InvalidParameter(f"format: expected json, text or svg, got {form!r}")
        paths = request.query.texts("path")
        width = request.query.integer("width") or _WIDTH
        found = await self._inspect(request.params["ref"], paths)
        # Drawing layers of a hundred thousand files takes its time.
        if form == "svg":
            drawn = await asyncio.to_thread(picture, found.stack)
            return Response(drawn.encode(), content_type="image/svg+xml")
        if form == "text":
            draw = functools.partial(draw_traces, found.stack, found.paths)
            drawn = await asyncio.to_thread(
                draw if paths else functools.partial(draw_stack, found.stack, width)
            )
            return Response(drawn.encode(), content_type="text/plain; charset=utf-8")
        return Response(await asyncio.to_thread(msgspec.json.encode, found))

    async def bench(self, request: Request) -> Stream:
        wanted = await request.json(_Bench)
        messages = self._bench(drivers=wanted.drivers, large=wanted.size, quick=wanted.quick)
        return Stream(encode_messages(messages))
