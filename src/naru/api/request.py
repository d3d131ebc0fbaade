"""One request as a route sees it: `messages.Request` over a connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TypeVar
from urllib.parse import parse_qs, unquote

from naru.api.body import Body
from naru.api.hijack import RawConnection
from naru.api.messages import Hijacked, Query, Version
from naru.engine.pipes import StraightReader
from naru.spec import jsonread
from naru.spec.errors import InvalidParameter

T = TypeVar("T")

BODY_LIMIT = 16 * 1024 * 1024


class HttpRequest:
    """Made by the connection when the headers are in; the dispatcher fills in what it resolved."""

    def __init__(
        self,
        *,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Body,
        take_over: Callable[[bytes], RawConnection],
        watch: Callable[[], asyncio.Future[None]],
        straight: Callable[[], StraightReader | None],
    ) -> None:
        path, _, query = target.partition("?")
        if not path.startswith("/"):
            # The absolute form, as sent to proxies: http://host/path
            _, _, rest = path.partition("://")
            path = "/" + rest.partition("/")[2]
        self.method = method
        self.path = unquote(path)
        self.version: Version = (0, 0)
        self.params: Mapping[str, str] = {}
        self.query = Query(parse_qs(query, keep_blank_values=True))
        self.headers = headers
        self.hijacked: RawConnection | None = None
        self._body = body
        self._read: bytes | None = None
        self._take_over = take_over
        self._watch = watch
        self._straight = straight

    async def body(self) -> bytes:
        """Read once and kept: a handler may look at it in more than one way."""
        if self._read is not None:
            return self._read
        pieces: list[bytes] = []
        size = 0
        while piece := await self._body.read():
            size += len(piece)
            if size > BODY_LIMIT:
                raise InvalidParameter(f"request body too large: more than {BODY_LIMIT} bytes")
            pieces.append(piece)
        self._read = b"".join(pieces)
        return self._read

    async def json(self, shape: type[T]) -> T:
        body = (await self.body()).strip()
        if body:
            self._expect_json()
        return jsonread.decode(body or b"{}", shape)

    def stream(self) -> AsyncIterator[bytes]:
        return _BodyStream(self._body, self._straight)

    async def hijack(
        self, content_type: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Hijacked:
        """Answer and take the connection over. A rest of the body is read and dropped first.

        The handler owns the connection until it returns; then it is closed.
        """
        while await self._body.read():
            pass
        upgrade = self.headers.get("upgrade")
        if upgrade is not None:
            lines = ["HTTP/1.1 101 UPGRADED", "Connection: Upgrade", f"Upgrade: {upgrade}"]
        else:
            lines = ["HTTP/1.1 200 OK"]
        if content_type is not None:
            lines.append(f"Content-Type: {content_type}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.hijacked = self._take_over("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return self.hijacked

    def _expect_json(self) -> None:
        """Docker's rule, and what keeps a web page's form from driving an engine on localhost:
        a browser asks before it sends this type to another site.
        """
        given = self.headers.get("content-type", "")
        kind = given.partition(";")[0].strip().lower()
        if not kind:
            raise InvalidParameter(f"malformed Content-Type header ({given}): mime: no media type")
        if kind != "application/json":
            raise InvalidParameter(
                f"unsupported Content-Type header ({given}): must be 'application/json'"
            )

    def disconnected(self) -> asyncio.Future[None]:
        return self._watch()


class _BodyStream:
    """The body's pieces, or (`engine.pipes.Straight`) a file of them for a thread."""

    def __init__(self, body: Body, straight: Callable[[], StraightReader | None]) -> None:
        self._body = body
        self.straight = straight

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if piece := await self._body.read():
            return piece
        raise StopAsyncIteration
