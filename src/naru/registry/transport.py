"""HTTP to registries: one pool of connections, proxies, TLS, authorization, and plain errors.

aiohttp is imported with the first request (a fifth of a second), in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from naru.registry.answers import Refused, Unreachable, unreachable_text
from naru.registry.endpoints import Endpoint, Resolver

if TYPE_CHECKING:
    import ssl

    import aiohttp

CONNECT_SECONDS = 30.0
SILENCE_SECONDS = 60.0
_MAX_ERROR = 64 << 10


class Transport:
    """Owned by the daemon; `close()` at its end."""

    def __init__(self, *, resolver: Resolver, user_agent: str) -> None:
        self.resolver = resolver
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        self._tls: dict[tuple[str, bool], ssl.SSLContext] = {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        endpoint: Endpoint | None = None,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, headers read. `Refused` for a status from 400, `Unreachable` for none.

        `endpoint` says how far the host is trusted; without one it must prove its name. The
        body's own errors (a connection that breaks) are `Unreachable` too.
        """
        session = await self._open()
        aiohttp = importlib.import_module("aiohttp")
        try:
            async with session.request(
                method, url, headers=dict(headers or {}), data=data,
                proxy=_proxy(url), ssl=await self._context(endpoint, url),
            ) as response:  # fmt: skip
                if response.status >= 400:
                    body = b""
                    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                        body = await response.content.read(_MAX_ERROR)
                    challenges = response.headers.getall("WWW-Authenticate", [])
                    refused = Refused(method, str(url), response.status, body, challenges)
                    refused.retry_after = response.headers.get("Retry-After", "")
                    raise refused
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(unreachable_text(method, str(url), error)) from error

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> bytes:
        """A small answer whole: how `tokens` reaches its realm."""
        async with self.request(method, url, headers=headers, data=body) as response:
            return await response.content.read(1 << 20)

    async def _open(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None:
                aiohttp = await asyncio.to_thread(importlib.import_module, "aiohttp")
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0, limit_per_host=0),
                    headers={"User-Agent": self._user_agent},
                    auto_decompress=False,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    read_bufsize=1 << 20,
                    timeout=aiohttp.ClientTimeout(
                        total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
                    ),
                )
            return self._session

    async def _context(self, endpoint: Endpoint | None, url: str) -> ssl.SSLContext | bool:
        if not url.startswith("https:"):
            return True
        trusted = endpoint or Endpoint(f"https://{url.split('/')[2]}")
        key = (trusted.host, trusted.verify)
        if key not in self._tls:
            self._tls[key] = await asyncio.to_thread(self.resolver.tls, trusted)
        return self._tls[key]


def _proxy(url: str) -> str | None:
    """HTTP_PROXY, HTTPS_PROXY and NO_PROXY; never for loopback, as Go has it."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    name = host.rpartition("@")[2].rsplit(":", 1)[0].strip("[]")
    if name in ("localhost", "::1") or name.startswith("127."):
        return None
    import urllib.request  # brings http.client and email, which a start can do without

    proxies = urllib.request.getproxies_environment()
    if scheme not in proxies or urllib.request.proxy_bypass(host):
        return None
    return proxies[scheme]
