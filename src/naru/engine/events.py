"""The events of `GET /events`: published with the change that they tell of, streamed from any past
moment on. Nothing is lost between history and live, and a slow reader holds up nobody.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from naru.spec.errors import InvalidParameter
from naru.spec.events import Event
from naru.store.records import Records

_PAGE = 512
_WAITING = 1024  # live events kept for a slow reader; beyond, it reads them from the records

_NAMED = (
    "container",
    "plugin",
    "volume",
    "network",
    "daemon",
    "service",
    "node",
    "secret",
    "config",
)
_FILTERS = frozenset({*_NAMED, "event", "image", "label", "scope", "type"})
_FUZZY_ACTIONS = ("exec_create", "exec_start", "exec_die", "health_status")

Filters = Mapping[str, Sequence[str]]


class Events:
    def __init__(self, *, records: Records) -> None:
        self._records = records

    async def publish(self, event: Event) -> Event:
        """Make an event durable that comes with no change of a record."""
        [numbered] = await self._records.commit(events=[event])
        return numbered

    def stream(
        self, since: int | None = None, until: int | None = None, filters: Filters | None = None
    ) -> AsyncIterator[Event]:
        """Events from this call on, or from `since`; without an end, or up to `until` (both in ns).

        As in Docker, `until` without `since` means all of the past up to then.
        """
        wanted = dict(filters or {})
        for name in wanted:
            if name not in _FILTERS:
                raise InvalidParameter(f"invalid filter '{name}'")
        inbox = _Inbox()
        # Subscribed before the first step of the iterator: what happens in between is not lost.
        end = self._records.subscribe(inbox.push)
        delivered = self._records.last_seq
        if since is not None or until is not None:
            inbox.behind = True
            delivered = 0
        events = self._stream(inbox, delivered, since or 0, until, wanted)
        weakref.finalize(events, end)
        return events

    async def _stream(
        self, inbox: _Inbox, delivered: int, since: int, until: int | None, wanted: Filters
    ) -> AsyncIterator[Event]:
        while True:
            if inbox.behind:
                inbox.behind = False
                while page := await asyncio.to_thread(self._page, since, until, delivered):
                    for event in page:
                        delivered = event.seq
                        if matches(event, wanted):
                            yield event
            while inbox.waiting:
                event = inbox.waiting.popleft()
                if event.seq <= delivered:
                    continue
                delivered = event.seq
                if until is not None and event.time > until:
                    return
                if event.time >= since and matches(event, wanted):
                    yield event
            if inbox.behind:
                continue
            left = None if until is None else (until - time.time_ns()) / 1e9
            if left is not None and left <= 0:
                return
            inbox.woken.clear()
            try:
                async with asyncio.timeout(left):
                    await inbox.woken.wait()
            except TimeoutError:
                # Once more through the loop: an event may have come in the last moment.
                continue

    def _page(self, since: int, until: int | None, after: int) -> list[Event]:
        return list(self._records.events(since, until, after=after, limit=_PAGE))


class _Inbox:
    """What one reader has not taken yet. `behind`: it must catch up from the records."""

    def __init__(self) -> None:
        self.waiting: deque[Event] = deque()
        self.behind = False
        self.woken = asyncio.Event()

    def push(self, event: Event) -> None:
        if len(self.waiting) >= _WAITING:
            self.waiting.clear()
            self.behind = True
        if not self.behind:
            self.waiting.append(event)
        self.woken.set()


def matches(event: Event, filters: Filters) -> bool:
    """Docker's rules: values of one filter are alternatives, filters are conditions; names and
    ids match by prefix, labels by key or key=value.
    """
    return all(not values or _matches(event, name, values) for name, values in filters.items())


def encode_event(event: Event) -> dict[str, Any]:
    """The JSON of `GET /events`."""
    return {
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.actor_id, "Attributes": event.attributes},
        "scope": event.scope,
        "time": event.time // 1_000_000_000,
        "timeNano": event.time,
    }


def _matches(event: Event, name: str, values: Sequence[str]) -> bool:
    if name == "type":
        return event.type in values
    if name == "scope":
        return event.scope in values
    if name == "event":
        # "exec_start: sh -c x" and "health_status: healthy" carry their detail in the action.
        verb = event.action.partition(":")[0]
        return event.action in values or (verb in _FUZZY_ACTIONS and verb in values)
    if name == "label":
        return all(_has_label(event.attributes, wanted) for wanted in values)
    if name == "image":
        shown = event.attributes.get("name" if event.type == "image" else "image", "")
        return any(
            value in (event.actor_id, shown, _without_tag(shown)) for value in values if value
        )
    shown = event.attributes.get("name", "")
    return event.type == name and any(
        event.actor_id.startswith(value) or shown.startswith(value) for value in values
    )


def _has_label(attributes: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in attributes and (not equals or attributes[key] == value)


def _without_tag(image: str) -> str:
    head, colon, tag = image.partition("@")[0].rpartition(":")
    return head if colon and "/" not in tag else image.partition("@")[0]
