"""The routes of the engine as a whole, over fakes; and what the real docker CLI makes of them."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest
from tests.harness.edge import Edge

from naru.api.routes.system import SystemRoutes
from naru.engine.events import Events
from naru.spec.events import Event


class FakeEvents:
    """Events that a test pushes; remembers what was asked for."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event] = asyncio.Queue()
        self.asked: list[tuple[int | None, int | None, Mapping[str, Any] | None]] = []
        self.closed = asyncio.Event()

    async def stream(
        self, since: int | None, until: int | None, filters: Mapping[str, Any] | None
    ) -> AsyncIterator[Event]:
        self.asked.append((since, until, filters))
        try:
            while True:
                yield await self.queue.get()
        finally:
            self.closed.set()


def event(action: str, kind: str = "container") -> Event:
    return Event(
        type=kind, action=action, actor_id="abc", attributes={"image": "i"}, time=5_000_000_001
    )


VERSION = {
    "Platform": {"Name": "Naru Engine"},
    "Version": "0.1.0",
    "ApiVersion": "1.55",
    "MinAPIVersion": "1.24",
    "Os": "linux",
    "Arch": "amd64",
    "Components": [{"Name": "Engine", "Version": "0.1.0", "Details": {"ApiVersion": "1.55"}}],
}


@pytest.fixture
def events(edge: Edge) -> FakeEvents:
    async def version() -> dict[str, Any]:
        return VERSION

    async def info() -> dict[str, Any]:
        return {"ID": "x", "FirewallBackend": {"Driver": "nftables"}}

    def part(**members: Any) -> Any:
        async def provide() -> dict[str, Any]:
            return members

        return provide

    fake = FakeEvents()
    SystemRoutes(
        info=info,
        version=version,
        events=cast(Events, fake),
        disk_usage={
            "image": part(ImageUsage={"TotalSize": 7, "Items": [{"Size": 7, "VirtualSize": 7}]}),
            "container": part(ContainerUsage={"TotalSize": 3, "Items": [{"Health": {}}]}),
            "volume": part(VolumeUsage={"TotalSize": 0, "Items": []}),
            "build-cache": part(BuildCacheUsage={"TotalSize": 0, "Items": []}),
        },
    ).register(edge.router)
    return fake


async def get(edge: Edge, path: str, method: str = "GET") -> tuple[int, dict[str, str], Any]:
    client = await edge.connect()
    await client.send(f"{method} {path} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
    status, headers, body = await client.answer()
    return status, headers, json.loads(body) if "json" in headers["content-type"] else body


async def test_ping(edge: Edge, events: FakeEvents) -> None:
    for method, body in (("GET", b"OK"), ("HEAD", b"")):
        status, headers, got = await get(edge, "/_ping", method)
        assert (status, got) == (200, body)
        assert headers["builder-version"] == "1"
        assert headers["cache-control"] == "no-cache, no-store, must-revalidate"
        assert headers["content-type"] == "text/plain; charset=utf-8"
        assert headers["swarm"] == "inactive"


async def test_info_has_the_shape_of_its_version(edge: Edge, events: FakeEvents) -> None:
    assert "FirewallBackend" in (await get(edge, "/info"))[2]
    assert "FirewallBackend" not in (await get(edge, "/v1.47/info"))[2]


SUMS = {
    "ImageUsage": {"TotalSize": 7},
    "ContainerUsage": {"TotalSize": 3},
    "VolumeUsage": {"TotalSize": 0},
    "BuildCacheUsage": {"TotalSize": 0},
}
LISTS = {
    "LayersSize": 7,
    "Images": [{"Size": 7, "VirtualSize": 7}],
    "Containers": [{}],
    "Volumes": [],
    "BuildCache": [],
}


async def test_disk_usage_is_gathered_by_type(edge: Edge, events: FakeEvents) -> None:
    assert (await get(edge, "/system/df"))[2] == SUMS
    part = (await get(edge, "/system/df?type=volume&type=container"))[2]
    assert part == {"VolumeUsage": {"TotalSize": 0}, "ContainerUsage": {"TotalSize": 3}}
    status, _, error = await get(edge, "/system/df?type=x")
    assert (status, error) == (400, {"message": "unknown object type: x"})


@pytest.mark.parametrize("path", ["/v1.52/system/df", "/system/df"])
async def test_disk_usage_in_detail(edge: Edge, events: FakeEvents, path: str) -> None:
    shown = (await get(edge, f"{path}?verbose=1"))[2]
    assert shown["ImageUsage"] == {"TotalSize": 7, "Items": [{"Size": 7}]}
    assert shown["ContainerUsage"] == {"TotalSize": 3, "Items": [{"Health": {}}]}
    assert set(shown) == set(SUMS)
    assert (await get(edge, f"{path}?verbose=0"))[2] == SUMS


async def test_disk_usage_in_lists_for_old_clients(edge: Edge, events: FakeEvents) -> None:
    old = (await get(edge, "/v1.50/system/df"))[2]
    assert old == LISTS
    assert list(old) == list(LISTS)
    assert (await get(edge, "/v1.50/system/df?verbose=1"))[2] == LISTS
    part = (await get(edge, "/v1.50/system/df?type=volume"))[2]
    assert part == {"LayersSize": 0, "Volumes": []}
    both = (await get(edge, "/v1.52/system/df"))[2]
    newer = {"Images": [{"Size": 7}], "Containers": [{"Health": {}}]}
    assert both == {**LISTS, **newer, **SUMS}
    assert (await get(edge, "/v1.41/system/df"))[2]["BuilderSize"] == 0


async def test_events_are_one_json_object_a_line(edge: Edge, events: FakeEvents) -> None:
    client = await edge.connect()
    await client.send(
        b"GET /events?since=1.5&until=1000000000000&filters=%7B%22type%22:%5B%22container%22%5D%7D"
        b" HTTP/1.1\r\nHost: d\r\n\r\n"
    )
    await client.head()  # before any event
    events.queue.put_nowait(event("start"))
    await client.reader.readline()
    line = json.loads(await client.reader.readline())
    assert (line["Action"], line["timeNano"]) == ("start", 5_000_000_001)
    assert "status" not in line
    assert events.asked == [(1_500_000_000, 1_000_000_000_000_000_000_000, {"type": ["container"]})]
    await client.close()
    await events.closed.wait()


@pytest.mark.parametrize(
    ("path", "accept", "answered", "first"),
    [
        ("/events", "application/json-seq", "application/json-seq", b'\x1e{"Type"'),
        ("/events", "*/*", "application/jsonl", b'{"Type"'),
        ("/events", "application/json", "application/json", b'{"Type"'),
        ("/v1.52/events", "*/*", "application/x-ndjson", b'{"Type"'),
        ("/v1.52/events", "application/jsonl", "application/json", b'{"Type"'),
        ("/v1.51/events", "application/json-seq", "application/json", b'{"status"'),
    ],
)
async def test_events_in_the_form_that_a_client_accepts(
    edge: Edge, events: FakeEvents, path: str, accept: str, answered: str, first: bytes
) -> None:
    client = await edge.connect()
    await client.send(f"GET {path} HTTP/1.1\r\nHost: d\r\nAccept: {accept}\r\n\r\n".encode())
    _, headers = await client.head()
    assert headers["content-type"] == answered
    events.queue.put_nowait(event("start"))
    await client.reader.readline()
    assert (await client.reader.readline()).startswith(first)


async def test_old_clients_get_no_image_create_event(edge: Edge, events: FakeEvents) -> None:
    client = await edge.connect()
    await client.send(b"GET /v1.45/events HTTP/1.1\r\nHost: d\r\n\r\n")
    await client.head()
    events.queue.put_nowait(event("create", "image"))
    events.queue.put_nowait(event("pull", "image"))
    await client.reader.readline()
    assert json.loads(await client.reader.readline())["Action"] == "pull"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("since=x", "since: expected seconds since the epoch, got 'x'"),
        ("since=10&until=5", "`since` time (10) cannot be after `until` time (5)"),
        ("filters=x", "filters: invalid JSON"),
    ],
)
async def test_bad_event_queries(edge: Edge, events: FakeEvents, query: str, message: str) -> None:
    status, _, error = await get(edge, f"/events?{query}")
    assert status == 400
    assert message in error["message"]


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs the docker CLI")
async def test_the_docker_cli_reads_our_version(edge: Edge, events: FakeEvents) -> None:
    process = await asyncio.create_subprocess_exec(
        "docker", "-H", f"unix://{edge.path}", "version", "--format", "{{json .Server}}",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert json.loads(out)["ApiVersion"] == "1.55"
