"""`/naru/storage`: what Naru's users do with storage drivers. No part of the Engine API."""

from __future__ import annotations

from msgspec import field

from naru.api.messages import Request, Response, Router, Stream
from naru.api.routes.image_transfers import encode_messages
from naru.engine.storage.migrate import Migration, Wanted
from naru.spec.api import Api
from naru.spec.errors import InvalidParameter


class _Migrate(Api, frozen=True):
    to: str = ""
    storage_opts: list[str] = field(default_factory=list)
    stop: bool = False


class StorageRoutes:
    def __init__(self, *, migration: Migration) -> None:
        self._migration = migration

    def register(self, router: Router) -> None:
        router.add("POST", "/naru/storage/migrate", self.migrate)
        router.add("GET", "/naru/storage/migrate", self.pending)
        router.add("DELETE", "/naru/storage/migrate", self.abandon)

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
