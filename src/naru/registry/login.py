"""What a registry says of a user, a name or a search term, without pulling anything."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec

from naru.registry.access import Access
from naru.registry.answers import Refused, Unreachable, other_error
from naru.registry.credentials import Credentials
from naru.registry.transport import Transport
from naru.spec.errors import InternalError, InvalidParameter, Unavailable
from naru.spec.reference import DEFAULT_DOMAIN

_INDEX = "index.docker.io"
_MAX_RESULTS = 100


def registry_of(server: str) -> str:
    """The registry's name from what clients send as `serveraddress`."""
    host = server.partition("://")[2] or server
    host = host.partition("/")[0]
    return DEFAULT_DOMAIN if host in ("", _INDEX, "registry-1.docker.io") else host


async def login(transport: Transport, server: str, credentials: Credentials) -> str:
    """Check a user's credentials -> the identity token that the registry gave, or ""."""
    access = Access(
        transport, registry_of(server), credentials, scopes=(), push=True, offline=True
    )  # fmt: skip
    await access.settle(login=True)
    return access.identity_token


class SearchResult(msgspec.Struct):
    name: str
    description: str = ""
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False


class _Results(msgspec.Struct):
    results: list[SearchResult] = []


async def search(
    transport: Transport, term: str, limit: int, credentials: Credentials
) -> list[SearchResult]:
    """The index's answer to a term; `host/term` asks another registry's index."""
    if not 1 <= limit <= _MAX_RESULTS:
        raise InvalidParameter(f"limit {limit} is outside the range of [1, {_MAX_RESULTS}]")
    if "://" in term:
        raise InvalidParameter(f"invalid repository name: repository name ({term}) should not"
                               " have a scheme")  # fmt: skip
    domain, slash, rest = term.partition("/")
    named = bool(slash) and ("." in domain or ":" in domain or domain == "localhost")
    endpoints = transport.resolver.endpoints(domain if named else DEFAULT_DOMAIN, push=True)
    query = urlencode({"q": (rest if named else term).removeprefix("library/"), "n": limit})
    headers = {"Authorization": credentials.basic} if credentials.username else {}
    problem: Exception | None = None
    for endpoint in endpoints:
        base = endpoint.url if named else f"https://{_INDEX}"
        try:
            async with transport.request(
                "GET", f"{base}/v1/search?{query}", endpoint=endpoint if named else None,
                headers=headers,
            ) as response:  # fmt: skip
                body: Any = await response.content.read(4 << 20)
                return msgspec.json.decode(body, type=_Results).results[:limit]
        except Unreachable as error:
            problem = error
        except Refused as error:
            if error.missing:
                raise InternalError(
                    f"{domain}: this registry has no search (/v1/search)"
                ) from error
            raise other_error(error) from error
        except msgspec.MsgspecError as error:
            raise InternalError(f"invalid answer to a search: {error}") from error
    raise Unavailable(str(problem)) from problem
