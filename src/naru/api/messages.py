"""What a route sees of HTTP: a request to read, and the kinds of answer it may give."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from naru.kernel.pipes import Piped
from naru.spec import jsonread
from naru.spec.errors import InvalidParameter

T = TypeVar("T")

Version = tuple[int, int]
"""An API version: (1, 50) for `/v1.50/`."""

_FALSE = frozenset({"", "0", "no", "false", "none"})


class Query:
    """The query string, read by type. A parameter that does not parse names itself."""

    def __init__(self, values: Mapping[str, list[str]]) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str = "") -> str:
        return self._values.get(name, [default])[0]

    def texts(self, name: str) -> list[str]:
        return list(self._values.get(name, []))

    def flag(self, name: str, default: bool = False) -> bool:
        """Docker's booleans: everything but "", 0, no, false and none is true."""
        if name not in self._values:
            return default
        return self._values[name][0].strip().lower() not in _FALSE

    def integer(self, name: str, default: int | None = None) -> int | None:
        value = self.text(name)
        if value == "":
            return default
        try:
            return int(value)
        except ValueError:
            raise InvalidParameter(f"{name}: expected an integer, got {value!r}") from None

    def json(self, name: str, shape: type[T]) -> T | None:
        """A parameter that holds JSON, such as `buildargs`."""
        value = self.text(name)
        if not value:
            return None
        try:
            return jsonread.decode(value.encode(), shape)
        except InvalidParameter as error:
            raise InvalidParameter(f"{name}: {error}") from error

    def filters(self) -> dict[str, list[str]]:
        """`filters`: {"label": ["a=b"]} or, from old clients, {"label": {"a=b": true}}."""
        value = self.json("filters", dict[str, list[str] | dict[str, bool]])
        return {
            key: [item for item in items if not isinstance(items, dict) or items[item]]
            for key, items in (value or {}).items()
        }


class Hijacked(Protocol):
    """A connection taken over from HTTP: raw bytes both ways, half-close included."""

    async def read(self, limit: int = 65536) -> bytes:
        """The client's next bytes, those sent right behind the request first; b"" is EOF."""

    async def write(self, data: bytes | memoryview) -> None:
        """Send and wait while the client is slow; `ConnectionError` once it is gone."""

    def write_eof(self) -> None: ...

    async def wait_closed(self) -> None:
        """Return when the client is gone, without reading from it."""

    def close(self) -> None: ...


class Request(Protocol):
    method: str
    path: str  # without the version prefix, percent-decoded
    version: Version
    params: Mapping[str, str]  # what the route's {placeholders} matched
    query: Query
    headers: Mapping[str, str]  # names in lower case

    async def body(self) -> bytes:
        """The whole body; for JSON, not for tars. At most 16 MiB."""

    async def json(self, shape: type[T]) -> T:
        """The body read as `shape`; an empty one is `{}`."""

    def stream(self) -> AsyncIterator[bytes]:
        """The body piece by piece, with back-pressure: for load, import, cp, build."""

    async def hijack(
        self, content_type: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Hijacked:
        """Answer 101 UPGRADED (the client sent `Upgrade`) or 200, then hand over the connection.

        It is the handler's until the handler returns `HIJACKED`; then it is closed. `headers` join
        the answer (a WebSocket's key).
        """

    def disconnected(self) -> asyncio.Future[None]:
        """Done when the client hangs up: to end streams such as events, logs and wait."""


class Response:
    """An answer that is complete. `body`: bytes as they are, anything else as JSON."""

    def __init__(
        self,
        body: Any = None,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> None:
        self.status = status if status is not None else (204 if body is None else 200)
        self.headers = dict(headers or {})
        if body is None:
            self.body = b""
        else:
            raw = isinstance(body, bytes | bytearray)
            self.body = bytes(body) if raw else jsonread.encode(body)
            self.headers.setdefault("Content-Type", content_type)


class Stream:
    """An answer that grows: headers go out at once, then each piece as it comes.

    An error before the first piece becomes an ordinary error answer, so `pieces` should fail early
    and yield `b""` where headers must go out before there is data (`wait`).
    """

    def __init__(
        self,
        pieces: AsyncIterator[bytes | Piped],
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.pieces = pieces
        self.headers = {"Content-Type": content_type, **(headers or {})}


HIJACKED = object()
"""What a handler returns after `request.hijack()`: the connection is no longer HTTP."""

Answer = Response | Stream | object
Handler = Callable[[Request], Awaitable[Answer]]


class Router(Protocol):
    def add(self, method: str, pattern: str, handler: Handler) -> None:
        """`pattern`: "/containers/{id}/start"; "{name:.*}" matches slashes too (images)."""
