"""A user's way into one registry: the endpoints that answer, and requests with authorization.

The endpoints are tried in order; the first that answers is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from naru.registry.answers import Refused, Unreachable, other_error
from naru.registry.credentials import ANONYMOUS, Credentials
from naru.registry.endpoints import Endpoint
from naru.registry.tokens import Authorizer
from naru.registry.transport import Transport
from naru.spec.errors import Unauthorized, Unavailable

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")

ATTEMPTS = 5
_FIRST_PAUSE = 0.5
_MAX_PAUSE = 20.0


class Access:
    """`push` leaves mirrors out."""

    def __init__(
        self,
        transport: Transport,
        domain: str,
        credentials: Credentials,
        *,
        scopes: tuple[str, ...],
        push: bool = False,
        offline: bool = False,
    ) -> None:
        """`scopes`: what to ask for. `offline`: a refresh token is wanted."""
        self.endpoints = transport.resolver.endpoints(domain, push=push)
        self._transport = transport
        self._credentials = credentials
        self._scopes = scopes
        self._offline = offline
        self._authorizers: dict[str, Authorizer] = {}

    async def everywhere(self, work: Callable[[Endpoint], Awaitable[T]]) -> T:
        """Do `work(endpoint)` at the first endpoint that can; `Refused` of the last that could."""
        last: Exception | None = None
        for attempt in range(ATTEMPTS):
            for endpoint in list(self.endpoints):
                try:
                    result = await work(endpoint)
                except Unreachable as error:
                    last = last if isinstance(last, Refused) else error
                except Refused as error:
                    last = error
                    if not endpoint.mirror and not error.retryable:
                        raise
                else:
                    if not endpoint.mirror:
                        self.endpoints = [e for e in self.endpoints if e.mirror or e is endpoint]
                    return result
            # A registry that is not there is told at once, as Docker does: only its own
            # "later" is worth waiting for.
            if not (isinstance(last, Refused) and last.retryable) or attempt == ATTEMPTS - 1:
                break
            await asyncio.sleep(pause(attempt, last.retry_after))
        if isinstance(last, Refused):
            raise last
        raise Unavailable(str(last)) from last

    async def settle(self, *, login: bool = False) -> Endpoint:
        """Find the endpoint that answers, and log in: before a push, which cannot be repeated."""

        async def ping(endpoint: Endpoint) -> Endpoint:
            async with self.request("GET", "/v2/", endpoint=endpoint) as response:
                await response.read()
                return endpoint

        try:
            return await self.everywhere(ping)
        except Refused as error:
            if login and error.by_realm:
                raise Unauthorized(f'Get "{error.url}": {error.text}') from error
            if login and error.status == 401 and error.url.endswith("/v2/"):
                text = f"login attempt to {error.url} failed with status: 401 Unauthorized"
                raise Unauthorized(text) from error
            raise other_error(error) from error

    @property
    def identity_token(self) -> str:
        """The refresh token that the realm gave; "" for none."""
        tokens = (authorizer.identity_token for authorizer in self._authorizers.values())
        return next((token for token in tokens if token), "")

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        endpoint: Endpoint,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A request with authorization; `url` is absolute or below the endpoint."""
        full = endpoint.url + url if url.startswith("/") else url
        authorizer = self._authorizer(endpoint)
        ours = full.startswith(endpoint.url + "/")
        for attempt in range(3):
            sent = dict(headers or {})
            try:
                value = await authorizer.header(self._scopes) if ours else None
                if value:
                    sent["Authorization"] = value
            except Refused as error:
                raise error.at(method, full) from error
            body = data() if callable(data) else data
            try:
                async with self._transport.request(
                    method, full, endpoint=endpoint, headers=sent, data=body
                ) as response:
                    authorizer.taken(self._scopes, value)
                    yield response
                    return
            except Refused as error:
                if error.status != 401 or not ours or attempt == 2:
                    raise
                if not await authorizer.challenged(error.challenges, self._scopes, value):
                    raise

    def _authorizer(self, endpoint: Endpoint) -> Authorizer:
        if endpoint.url not in self._authorizers:
            # A mirror is somebody else: it never sees the registry's credentials.
            credentials = ANONYMOUS if endpoint.mirror else self._credentials
            self._authorizers[endpoint.url] = Authorizer(
                credentials, self._transport.fetch, offline=self._offline
            )
        return self._authorizers[endpoint.url]


def pause(failures: int, retry_after: str) -> float:
    """Seconds before another attempt; the registry's own word on it counts."""
    if retry_after.isdigit():
        return min(float(retry_after), 4 * _MAX_PAUSE)
    seconds = min(_MAX_PAUSE, _FIRST_PAUSE * 2.0**failures)
    return seconds * random.uniform(0.75, 1.25)
