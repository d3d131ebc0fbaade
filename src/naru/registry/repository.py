"""One repository on one registry: its manifests, blobs and tags (OCI distribution-spec 1.1).

Broken connections are taken up where they broke, by Range.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from naru.registry.access import ATTEMPTS, Access, pause
from naru.registry.answers import Refused, Unreachable, pull_error
from naru.registry.credentials import ANONYMOUS, Credentials
from naru.registry.endpoints import Endpoint
from naru.registry.tokens import NoCredentials
from naru.registry.transport import Transport
from naru.spec.errors import InternalError, NaruError, NotFound
from naru.spec.oci import ACCEPT, MAX_DOCUMENT, digest_of
from naru.spec.reference import Reference

if TYPE_CHECKING:
    import aiohttp

Telling = Callable[[Reference, Refused], NaruError]

_log = logging.getLogger(__name__)


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
    ) -> None:
        """`mount_from`: paths to be read too."""
        self.reference = reference
        self.path = reference.path
        self._transport = transport
        actions = "pull,push" if push else "pull"
        scopes = [f"repository:{self.path}:{actions}"]
        scopes += [f"repository:{path}:pull" for path in mount_from]
        self.access = Access(
            transport, reference.domain, credentials, scopes=tuple(scopes), push=push
        )

    async def manifest(self, target: str, *, told: Telling = pull_error) -> Fetched:
        """A manifest or index by tag or digest; a digest is verified. `told`: how errors read."""
        by_digest = target.startswith("sha256:")
        asked = self.reference.with_digest(target) if by_digest else self.reference
        headers = {"Accept": ", ".join(ACCEPT)}

        async def get(endpoint: Endpoint) -> Fetched:
            url = f"/v2/{self.path}/manifests/{target}"
            async with self.access.request(
                "GET", url, endpoint=endpoint, headers=headers
            ) as response:
                data = await _read(response, MAX_DOCUMENT)
                digest = digest_of(data)
                if by_digest and digest != target:
                    raise InternalError(
                        f"manifest verification failed for digest {target}: got {digest}"
                    )
                return Fetched(data, response.content_type, digest)

        try:
            return await self.access.everywhere(get)
        except Refused as error:
            raise told(asked, error) from error
        except NoCredentials as error:
            # No 401: that would make clients ask for a password, also where nobody sits.
            where = self.access.endpoints[-1].url
            text = f'Head "{where}/v2/{self.path}/manifests/{target}": {error}'
            raise InternalError(text) from error

    async def tags(self) -> list[str]:
        """All tags, page by page."""

        async def get(endpoint: Endpoint) -> list[str]:
            tags: list[str] = []
            url = f"/v2/{self.path}/tags/list"
            while url:
                async with self.access.request("GET", url, endpoint=endpoint) as response:
                    data = await _read(response, MAX_DOCUMENT)
                    tags += msgspec.json.decode(data, type=_Tags).tags or []
                    found = re.search(
                        r'<([^>]*)>;\s*rel="?next"?', response.headers.get("Link", "")
                    )
                    url = found[1] if found else ""
            return tags

        try:
            return await self.access.everywhere(get)
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
        where = [*self.access.endpoints]
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
                    seconds = pause(failures - len(where), getattr(error, "retry_after", ""))
                    _log.info("registry: %s, trying again in %.1f s", error, seconds)
                    await asyncio.sleep(seconds)

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
            async with self.access.request(
                "GET", url, endpoint=endpoint, headers=headers
            ) as response:
                yield response, 0 if response.status == 206 else at
        except Refused as error:
            outside = [u for u in urls if u.startswith(("http://", "https://"))]
            if not error.missing or not outside:
                raise
            async with self._transport.request("GET", outside[0], headers=headers) as response:
                yield response, 0 if response.status == 206 else at


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    data = bytearray()
    async for piece in response.content.iter_any():
        data += piece
        if len(data) > limit:
            raise InternalError(f"{response.url}: an answer of more than {limit} bytes")
    return bytes(data)
