"""Pushing blobs and manifests: ask first, mount what another repository has, else upload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote, urljoin

from naru.registry.access import ATTEMPTS
from naru.registry.answers import Refused, Unreachable, other_error
from naru.registry.endpoints import Endpoint
from naru.registry.repository import Repository
from naru.spec.errors import InternalError, NaruError, Unavailable

if TYPE_CHECKING:
    import aiohttp

_PIECE = 1 << 20
_CHUNK = 16 << 20
_TOO_MUCH_AT_ONCE = (400, 404, 405, 411, 413, 501)

Progress = Callable[[int], None]
"""Told how many bytes of the blob are sent."""


class Uploader:
    """Pushes to one repository. Made by `open`, which logs in."""

    def __init__(self, repository: Repository, endpoint: Endpoint) -> None:
        self._access = repository.access
        self._endpoint = endpoint
        self._base = f"/v2/{repository.path}"

    @classmethod
    async def open(cls, repository: Repository) -> Uploader:
        return cls(repository, await repository.access.settle())

    async def has(self, digest: str) -> bool:
        try:
            async with self._request("HEAD", f"{self._base}/blobs/{digest}"):
                return True
        except Refused as error:
            if error.missing:
                return False
            raise self._failed(error) from error
        except Unreachable as error:
            raise Unavailable(str(error)) from error

    async def mount(self, digest: str, source: str) -> bool:
        """Let the registry share a blob of its repository `source` -> whether it did."""
        url = f"{self._base}/blobs/uploads/?mount={quote(digest)}&from={quote(source)}"
        try:
            async with self._request("POST", url) as response:
                if response.status == 201:
                    return True
                session = response.headers.get("Location", "")
            await self._cancel(session)
        except (Refused, Unreachable):
            pass  # it is an optimization: the upload that follows tells what is wrong
        return False

    async def upload(self, digest: str, size: int, path: Path, progress: Progress) -> None:
        """Send the file at `path`; whole, or in chunks where the registry wants that."""
        failures = 0
        chunked = False
        while True:
            try:
                if chunked:
                    await self._in_chunks(digest, size, path, progress)
                else:
                    await self._at_once(digest, size, path, progress)
                return
            except (Refused, Unreachable) as error:
                if isinstance(error, Refused) and not error.retryable:
                    if chunked or error.status not in _TOO_MUCH_AT_ONCE:
                        raise self._failed(error) from error
                    chunked = True
                    continue
                failures += 1
                if failures >= ATTEMPTS:
                    raise self._failed(error) from error
                await asyncio.sleep(min(10.0, 0.5 * 2**failures))

    async def put_manifest(self, target: str, data: bytes, media_type: str) -> None:
        url = f"{self._base}/manifests/{target}"
        try:
            async with self._request("PUT", url, {"Content-Type": media_type}, data):
                return
        except (Refused, Unreachable) as error:
            raise self._failed(error) from error

    # -- inside ---------------------------------------------------------------------------------

    def _request(
        self, method: str, url: str, headers: dict[str, str] | None = None, data: object = None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._access.request(
            method, url, endpoint=self._endpoint, headers=headers, data=data
        )

    async def _begin(self) -> str:
        async with self._request("POST", f"{self._base}/blobs/uploads/") as response:
            return self._location(response.headers.get("Location", ""))

    def _location(self, header: str) -> str:
        if not header:
            raise InternalError("the registry gave no Location for the upload")
        return urljoin(self._endpoint.url + "/", header)

    async def _cancel(self, session: str) -> None:
        if session:
            async with self._request("DELETE", self._location(session)):
                pass

    async def _at_once(self, digest: str, size: int, path: Path, progress: Progress) -> None:
        where = _with_digest(await self._begin(), digest)
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        async with self._request("PUT", where, headers, lambda: _pieces(path, 0, size, progress)):
            pass

    async def _in_chunks(self, digest: str, size: int, path: Path, progress: Progress) -> None:
        where = await self._begin()
        at = 0
        while at < size:
            length = min(_CHUNK, size - at)
            headers = {
                "Content-Length": str(length),
                "Content-Range": f"{at}-{at + length - 1}",
                "Content-Type": "application/octet-stream",
            }
            start = at

            def body(start: int = start, length: int = length) -> AsyncIterator[bytes]:
                return _pieces(path, start, length, progress)

            async with self._request("PATCH", where, headers, body) as response:
                where = self._location(response.headers.get("Location", where))
            at += length
        async with self._request("PUT", _with_digest(where, digest), {"Content-Length": "0"}):
            pass

    def _failed(self, error: Refused | Unreachable) -> NaruError:
        if isinstance(error, Unreachable):
            return Unavailable(str(error))
        if error.code == "DENIED":
            return InternalError(error.text)
        return other_error(error)


def _with_digest(url: str, digest: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}digest={quote(digest)}"


async def _pieces(path: Path, start: int, length: int, progress: Progress) -> AsyncIterator[bytes]:
    file: BinaryIO = await asyncio.to_thread(path.open, "rb", 0)
    try:
        file.seek(start)
        left = length
        while left:
            piece = await asyncio.to_thread(file.read, min(_PIECE, left))
            if not piece:
                raise InternalError(f"{path.name}: the blob is shorter than its record says")
            left -= len(piece)
            yield piece
            progress(start + length - left)
    finally:
        file.close()
