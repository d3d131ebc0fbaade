"""Routes of the engine as a whole: ping, version, info, events, disk usage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from naru.api import media_types, versions
from naru.api.disconnect import until_gone
from naru.api.messages import Request, Response, Router, Stream, Version
from naru.api.old_shapes import without
from naru.api.timestamps import nanoseconds
from naru.engine.events import Events, encode_event
from naru.spec import jsonread
from naru.spec.errors import InvalidParameter
from naru.spec.events import Event

Document = dict[str, Any]
Provider = Callable[[], Awaitable[Document]]

_USAGE_TYPES = ("image", "container", "volume", "build-cache")
_LISTS_ASKED_FOR_SINCE: Version = (1, 52)  # by `verbose`
_NO_LISTS_SINCE: Version = (1, 53)  # unless asked for

_EVENT_TYPES: tuple[tuple[str, Version], ...] = (
    (media_types.JSON_LINES, (1, 53)),
    (media_types.NEWLINE_DELIMITED, (1, 52)),
    (media_types.JSON_SEQUENCE, (1, 52)),
)


class SystemRoutes:
    """`disk_usage`: for each type of object, what gives its member of the answer, `ImageUsage` and
    so on, with all its `Items`; all are asked at once.
    """

    def __init__(
        self,
        *,
        info: Provider,
        version: Provider,
        events: Events,
        disk_usage: Mapping[str, Provider],
        builder_version: str = "1",
    ) -> None:
        self._info = info
        self._version = version
        self._events = events
        self._disk_usage = disk_usage
        self._builder_version = builder_version

    def register(self, router: Router) -> None:
        router.add("GET", "/_ping", self.ping)
        router.add("HEAD", "/_ping", self.ping)
        router.add("GET", "/version", self.version)
        router.add("GET", "/info", self.info)
        router.add("GET", "/events", self.events)
        router.add("GET", "/system/df", self.df)

    async def ping(self, request: Request) -> Response:
        headers = {
            "Builder-Version": self._builder_version,
            "Cache-Control": "no-cache, no-store, must-revalidate",
            "Pragma": "no-cache",
            "Swarm": "inactive",
        }
        body = b"" if request.method == "HEAD" else b"OK"
        return Response(body, headers=headers, content_type="text/plain; charset=utf-8")

    async def version(self, request: Request) -> Response:
        document = await self._version()
        return Response(versions.shape(request.version, "version", document))

    async def info(self, request: Request) -> Response:
        return Response(versions.shape(request.version, "info", await self._info()))

    async def events(self, request: Request) -> Stream:
        since = nanoseconds(request.query, "since")
        until = nanoseconds(request.query, "until")
        if since is not None and until is not None and until < since:
            raise InvalidParameter(
                f"`since` time ({request.query.text('since')}) cannot be after `until` time"
                f" ({request.query.text('until')})"
            )
        events = self._events.stream(since, until, request.query.filters())
        media_type = media_types.negotiated(
            request.headers.get("accept", ""), _event_types(request.version), media_types.JSON
        )
        return Stream(
            _encoded(until_gone(events, request.disconnected()), request.version, media_type),
            content_type=media_type,
        )

    async def df(self, request: Request) -> Response:
        wanted = request.query.texts("type") or list(_USAGE_TYPES)
        for name in wanted:
            if name not in _USAGE_TYPES:
                raise InvalidParameter(f"unknown object type: {name}")
        providers = [self._disk_usage[name] for name in dict.fromkeys(wanted)]
        parts = await asyncio.gather(*(provider() for provider in providers))
        document: Document = {}
        for part in parts:
            document |= part
        version = request.version
        if version >= _LISTS_ASKED_FOR_SINCE and request.query.text("verbose"):
            version = max(version, _NO_LISTS_SINCE)  # who says it knows the new form
        if version >= _NO_LISTS_SINCE and not request.query.flag("verbose"):
            document = {name: without("Items")(usage) for name, usage in document.items()}
        return Response(versions.shape(version, "df", document))


def _event_types(version: Version) -> list[str]:
    """What a client of a version may choose from."""
    return [media_type for media_type, since in _EVENT_TYPES if version >= since]


async def _encoded(
    events: AsyncIterator[Event], version: Version, media_type: str
) -> AsyncIterator[bytes]:
    changes = versions.changes(version, "event")
    yield b""  # the headers at once: a client may wait for them before it acts
    async for event in events:
        # Before 1.46 there was no such event, and old clients do not know it.
        if version < (1, 46) and (event.type, event.action) == ("image", "create"):
            continue
        document = encode_event(event)
        for change in changes:
            document = change(document)
        yield media_types.framed(jsonread.encode(document), media_type)
