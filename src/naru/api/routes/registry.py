"""What the Engine API asks registries without moving images: /auth, /distribution, search."""

from __future__ import annotations

from typing import Any

import msgspec

from naru.api.messages import Request, Response, Router
from naru.engine.images import filters as image_filters
from naru.engine.images.inquiries import Inquiries
from naru.registry.credentials import AuthConfig, decode_header
from naru.spec import reference as references
from naru.spec.errors import InvalidParameter

_SEARCH_FILTERS = frozenset({"is-automated", "is-official", "stars"})


class RegistryRoutes:
    def __init__(self, *, inquiries: Inquiries) -> None:
        self._inquiries = inquiries

    def register(self, router: Router) -> None:
        router.add("POST", "/auth", self.login)
        router.add("GET", "/distribution/{name:.*}/json", self.distribution)
        router.add("GET", "/images/search", self.search)

    async def login(self, request: Request) -> Response:
        config = await request.json(AuthConfig)
        token = await self._inquiries.login(config.serveraddress, config.credentials())
        return Response({"Status": "Login Succeeded", "IdentityToken": token})

    async def distribution(self, request: Request) -> Response:
        credentials = decode_header(request.headers.get("x-registry-auth", ""))
        reference = references.parse(request.params["name"]).tagged()
        return Response(await self._inquiries.distribution(reference, credentials))

    async def search(self, request: Request) -> Response:
        query = request.query
        given = query.filters()
        image_filters.check(given, _SEARCH_FILTERS)
        official = image_filters.flag(given, "is-official")
        automated = image_filters.flag(given, "is-automated")
        stars = max((_stars(text) for text in given.get("stars", ())), default=0)
        limit = query.integer("limit") or 25
        credentials = decode_header(request.headers.get("x-registry-auth", ""))
        found = await self._inquiries.search(query.text("term"), limit, credentials)
        shown: list[dict[str, Any]] = [
            msgspec.to_builtins(result)
            for result in found
            if official in (None, result.is_official)
            and automated in (None, result.is_automated)
            and result.star_count >= stars
        ]
        return Response(shown)


def _stars(text: str) -> int:
    if not text.isdigit():
        raise InvalidParameter(f"invalid filter 'stars={text}'")
    return int(text)
