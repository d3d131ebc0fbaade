"""Events: history joins live without a gap, filters are Docker's, slow readers catch up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from naru.engine import events as module
from naru.engine.events import Events, encode_event, matches
from naru.spec.errors import InvalidParameter
from naru.spec.events import Event
from naru.store.records import Records


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[Records]:
    made = Records.open(tmp_path / "records.db")
    yield made
    await made.close()


def event(action: str = "start", **attributes: str) -> Event:
    return Event(type="container", action=action, actor_id="abc123", attributes=attributes)


async def take(stream: AsyncIterator[Event], count: int) -> list[str]:
    async with asyncio.timeout(10):
        return [(await anext(stream)).action for _ in range(count)]


async def test_live_events_from_the_call_on(records: Records) -> None:
    events = Events(records=records)
    await events.publish(event("before"))
    stream = events.stream()
    await events.publish(event("one"))  # before the first step of the iterator
    await events.publish(event("two"))
    assert await take(stream, 2) == ["one", "two"]


async def test_history_then_live(records: Records) -> None:
    events = Events(records=records)
    await events.publish(event("one"))
    since = time.time_ns()
    await events.publish(event("two"))
    stream = events.stream(since=since)
    assert await take(stream, 1) == ["two"]
    await events.publish(event("three"))
    assert await take(stream, 1) == ["three"]


async def test_until_in_the_past_ends(records: Records) -> None:
    events = Events(records=records)
    await events.publish(event("one"))
    until = time.time_ns()
    await events.publish(event("two"))
    assert [found.action async for found in events.stream(until=until)] == ["one"]


async def test_until_in_the_future_ends_then(records: Records) -> None:
    events = Events(records=records)
    stream = events.stream(until=time.time_ns() + 100_000_000)
    await events.publish(event("one"))
    async with asyncio.timeout(10):
        assert [found.action async for found in stream] == ["one"]


async def test_a_slow_reader_misses_nothing(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WAITING", 4)
    events = Events(records=records)
    stream = events.stream()
    for number in range(20):
        await events.publish(event(str(number)))
    assert await take(stream, 20) == [str(number) for number in range(20)]
    await events.publish(event("last"))
    assert await take(stream, 1) == ["last"]


async def test_an_unknown_filter_is_refused_at_once(records: Records) -> None:
    with pytest.raises(InvalidParameter, match="invalid filter 'colour'"):
        Events(records=records).stream(filters={"colour": ["red"]})


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, True),
        ({"type": ["container"]}, True),
        ({"type": ["image"]}, False),
        ({"type": ["image", "container"]}, True),
        ({"event": ["exec_start"]}, True),
        ({"event": ["start"]}, False),
        ({"container": ["abc"]}, True),
        ({"container": ["web"]}, True),
        ({"container": ["other"]}, False),
        ({"volume": ["abc123"]}, False),
        ({"image": ["busybox"]}, True),
        ({"image": ["busybox:1"]}, True),
        ({"image": ["busy"]}, False),
        ({"label": ["a"]}, True),
        ({"label": ["a=1"]}, True),
        ({"label": ["a=2"]}, False),
        ({"label": ["a", "b"]}, False),
        ({"scope": ["local"]}, True),
        ({"type": ["container"], "event": ["die"]}, False),
    ],
)
def test_filters(filters: dict[str, list[str]], expected: bool) -> None:
    found = event("exec_start: sh", name="web1", image="busybox:1", a="1")
    assert matches(found, filters) is expected


def test_the_shape_of_an_event() -> None:
    found = Event(
        type="container", action="start", actor_id="c", attributes={"image": "i"},
        time=1_700_000_000_123_456_789,
    )  # fmt: skip
    assert encode_event(found) == {
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": "c", "Attributes": {"image": "i"}},
        "scope": "local",
        "time": 1_700_000_000,
        "timeNano": 1_700_000_000_123_456_789,
    }
