"""One repository on one registry: its manifests, blobs and tags (OCI distribution-spec 1.1).

The endpoints are tried in order; the first that answers is kept. Broken connections are taken up
where they broke, by Range.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from naru.registry.answers import Refused, Unreachable, other_error, pull_error
from naru.registry.credentials import ANONYMOUS, Credentials
from naru.registry.endpoints import Endpoint
from naru.registry.tokens import Authorizer, NoCredentials
from naru.registry.transport import Transport
from naru.spec.errors import InternalError, NaruError, NotFound, Unauthorized, Unavailable
from naru.spec.oci import ACCEPT, MAX_DOCUMENT, digest_of
from naru.spec.reference import Reference

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
Telling = Callable[[Reference, Refused], NaruError]

_log = logging.getLogger(__name__)

ATTEMPTS = 5
_FIRST_PAUSE = 0.5
_MAX_PAUSE = 20.0


class Fetched(NamedTuple):
    """A manifest as it came: bytes, the media type sent with it, its digest (verified)."""

    data: bytes
    media_type: str
    digest: str


class Repository:
    """`push` asks for write access and leaves mirrors out. Its errors are `spec.errors`."""

    def __init__(
        self,
        transport: Transport,
        reference: Reference,
        credentials: Credentials = ANONYMOUS,
        *,
        push: bool = False,
        mount_from: Sequence[str] = (),
        scopes: tuple[str, ...] | None = None,
        offline: bool = False,
    ) -> None:
        """`mount_from`: paths to be read too. `scopes`: what to ask for instead of all that.
        `offline`: a refresh token is wanted."""
        self._offline = offline
        self.reference = reference
        self.path = reference.path
        self._transport = transport
        self._credentials = credentials
        self._endpoints = transport.resolver.endpoints(reference.domain, push=push)
        self._authorizers: dict[str, Authorizer] = {}
        actions = "pull,push" if push else "pull"
        asked = [f"repository:{self.path}:{actions}"]
        asked += [f"repository:{path}:pull" for path in mount_from]
        self._scopes = tuple(asked) if scopes is None else scopes

    # -- reading --------------------------------------------------------------------------------

    async def manifest(self, target: str, *, told: Telling = pull_error) -> Fetched:
        """A manifest or index by tag or digest; a digest is verified. `told`: how errors read."""
        by_digest = target.startswith("sha256:")
        asked = self.reference.with_digest(target) if by_digest else self.reference
        headers = {"Accept": ", ".join(ACCEPT)}

        async def get(endpoint: Endpoint) -> Fetched:
            url = f"/v2/{self.path}/manifests/{target}"
            async with self.request("GET", url, endpoint=endpoint, headers=headers) as response:
                data = await _read(response, MAX_DOCUMENT)
                digest = digest_of(data)
                if by_digest and digest != target:
                    raise InternalError(
                        f"manifest verification failed for digest {target}: got {digest}"
                    )
                return Fetched(data, response.content_type, digest)

        try:
            return await self._everywhere(get)
        except Refused as error:
            raise told(asked, error) from error
        except NoCredentials as error:
            # No 401: that would make clients ask for a password, also where nobody sits.
            where = self._endpoints[-1].url
            text = f'Head "{where}/v2/{self.path}/manifests/{target}": {error}'
            raise InternalError(text) from error

    async def tags(self) -> list[str]:
        """All tags, page by page."""

        async def get(endpoint: Endpoint) -> list[str]:
            tags: list[str] = []
            url = f"/v2/{self.path}/tags/list"
            while url:
                async with self.request("GET", url, endpoint=endpoint) as response:
                    data = await _read(response, MAX_DOCUMENT)
                    tags += msgspec.json.decode(data, type=_Tags).tags or []
                    found = re.search(
                        r'<([^>]*)>;\s*rel="?next"?', response.headers.get("Link", "")
                    )
                    url = found[1] if found else ""
            return tags

        try:
            return await self._everywhere(get)
        except Refused as error:
            raise pull_error(self.reference, error) from error
        except msgspec.MsgspecError as error:
            raise InternalError(f"invalid list of tags: {error}") from error

    async def document(self, digest: str, size: int) -> bytes:
        """A small blob (a config) whole, verified."""
        if size > MAX_DOCUMENT:
            raise InternalError(f"blob {digest} of {size} bytes: at most {MAX_DOCUMENT} expected")
        pieces = [piece async for piece in self.blob(digest, size)]
        data = b"".join(pieces)
        if digest_of(data) != digest:
            raise InternalError(f"filesystem layer verification failed for digest {digest}")
        return data

    async def blob(
        self, digest: str, size: int, *, offset: int = 0, urls: Sequence[str] = ()
    ) -> AsyncIterator[bytes]:
        """A blob's bytes from `offset`; the caller verifies them. Resumed when it breaks.

        `urls` are where a foreign layer may be had.
        """
        at = offset
        failures = 0
        where = [*self._endpoints]
        while at < size:
            endpoint = where[0]
            try:
                async with self._open_blob(endpoint, digest, at, urls) as (response, skip):
                    async for piece in response.content.iter_chunked(1 << 20):
                        if skip:
                            dropped = min(skip, len(piece))
                            skip -= dropped
                            piece = piece[dropped:]
                        if piece:
                            at += len(piece)
                            failures = 0
                            yield piece
                if at < size:
                    raise Unreachable(f"unexpected EOF: {at} of {size} bytes of {digest}")
            except (Refused, Unreachable) as error:
                refused = isinstance(error, Refused)
                if (refused and not error.retryable) or endpoint.mirror:  # type: ignore[union-attr]
                    if len(where) > 1:
                        where.pop(0)
                        continue
                    if refused:
                        raise self._blob_error(digest, error) from error
                if len(where) > 1 and at == offset:
                    where.append(where.pop(0))
                failures += 1
                if failures >= ATTEMPTS + len(where):
                    raise self._blob_error(digest, error) from error
                if failures >= len(where):
                    pause = _pause(failures - len(where), getattr(error, "retry_after", ""))
                    _log.info("registry: %s, trying again in %.1f s", error, pause)
                    await asyncio.sleep(pause)

    def _blob_error(self, digest: str, error: Exception) -> NaruError:
        if isinstance(error, Refused):
            if error.missing:
                return NotFound(f"blob {digest} of {self.reference.familiar_name}: {error.text}")
            return pull_error(self.reference, error)
        return InternalError(str(error))

    @contextlib.asynccontextmanager
    async def _open_blob(
        self, endpoint: Endpoint, digest: str, at: int, urls: Sequence[str]
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, int]]:
        """-> (the answer, how many of its bytes to skip where Range was not honoured)"""
        headers = {"Range": f"bytes={at}-"} if at else {}
        url = f"/v2/{self.path}/blobs/{digest}"
        try:
            async with self.request("GET", url, endpoint=endpoint, headers=headers) as response:
                yield response, 0 if response.status == 206 else at
        except Refused as error:
            outside = [u for u in urls if u.startswith(("http://", "https://"))]
            if not error.missing or not outside:
                raise
            async with self._transport.request("GET", outside[0], headers=headers) as response:
                yield response, 0 if response.status == 206 else at

    # -- requests -------------------------------------------------------------------------------

    async def _everywhere(self, work: Callable[[Endpoint], Awaitable[T]]) -> T:
        """Do `work(endpoint)` at the first endpoint that can; `Refused` of the last that could."""
        last: Exception | None = None
        for attempt in range(ATTEMPTS):
            for endpoint in list(self._endpoints):
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
                        self._endpoints = [e for e in self._endpoints if e.mirror or e is endpoint]
                    return result
            # A registry that is not there is told at once, as Docker does: only its own
            # "later" is worth waiting for.
            if not (isinstance(last, Refused) and last.retryable) or attempt == ATTEMPTS - 1:
                break
            await asyncio.sleep(_pause(attempt, last.retry_after))
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
            return await self._everywhere(ping)
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


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    data = bytearray()
    async for piece in response.content.iter_any():
        data += piece
        if len(data) > limit:
            raise InternalError(f"{response.url}: an answer of more than {limit} bytes")
    return bytes(data)


def _pause(failures: int, retry_after: str) -> float:
    if retry_after.isdigit():
        return min(float(retry_after), 4 * _MAX_PAUSE)
    pause = min(_MAX_PAUSE, _FIRST_PAUSE * 2.0**failures)
    return pause * random.uniform(0.75, 1.25)
